// Code search, level "portable": four lanes by the compiler's vector extension (SSE2, NEON).
#include <cstdint>
#include <cstring>

namespace aqlm_exp::code_search::cpu {
namespace {

struct Vec {
  static constexpr int kWidth = 4;
  static constexpr int kNearestQueries = 2, kNearestVecs = 4, kPairRows = 1, kMultiplyRows = 2, kMultiplyVecs = 4;
  typedef float Float __attribute__((vector_size(16)));
  typedef int32_t Int __attribute__((vector_size(16)));
  static Float load(const float* p) {
    Float v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, Float v) { std::memcpy(p, &v, sizeof v); }
  static Int load_int(const int32_t* p) {
    Int v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store_int(int32_t* p, Int v) { std::memcpy(p, &v, sizeof v); }
  static Float broadcast(float x) { return Float{x, x, x, x}; }
  static Int broadcast_int(int32_t x) { return Int{x, x, x, x}; }
  static Float add(Float a, Float b) { return a + b; }
  static Float fma(Float a, Float b, Float c) { return a * b + c; }
  static Float min(Float a, Float b) { return a < b ? a : b; }
  static void keep_less(Float value, Float& best, Int& where, Int now) {
    const Int less = value < best;
    best = value < best ? value : best;
    where = (now & less) | (where & ~less);
  }
  static float fma1(float a, float b, float c) { return a * b + c; }
};

}  // namespace
}  // namespace aqlm_exp::code_search::cpu

#include "kernels/code_search/code_search_cpu_loops.h"

namespace aqlm_exp::code_search::cpu {

const Level& portable_level() noexcept { return kLoops; }

}  // namespace aqlm_exp::code_search::cpu
