// Level "portable": four codes a step, in vectors as gcc and clang write them for any CPU (SSE2, NEON, ...).
#include <cstdint>
#include <cstring>

#include "kernels/platform/half.h"

namespace {

struct Lanes {
  static constexpr int kWidth = 4;
  static constexpr int kMaxTokens = 2;  // whose sums fit sixteen registers
  typedef float Floats __attribute__((vector_size(16)));
  typedef uint32_t Integers __attribute__((vector_size(16)));
  typedef int32_t Signed __attribute__((vector_size(16)));
  static inline Integers load_words(const uint32_t* p) {
    Integers v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static inline void load_halves(const uint16_t* halves, float* out) {
    for (int i = 0; i < 8; ++i) out[i] = aqlm_exp::kernels::half_to_float(halves[i]);
  }
  using Four = Floats;
  /// offset[r] - scales[r] zero_points[r] x: scales[4 + r] are the zero points.
  static inline Four less_product(Four offset, const float* scales, float x) {
    return offset - load(scales) * load(scales + 4) * x;
  }
  static inline Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static inline Integers keep(Integers v, uint32_t bits) { return v & bits; }
  static inline Integers either(Integers a, Integers b) { return a | b; }
  static inline Integers left(Integers v, int n) { return v << static_cast<uint32_t>(n); }
  static inline Integers right(Integers v, int n) { return v >> static_cast<uint32_t>(n); }
  static inline Floats convert(Integers v) { return __builtin_convertvector(reinterpret_cast<Signed>(v), Floats); }
  static inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
  static inline Floats add(Floats a, Floats b) { return a + b; }
  static inline Floats set(float v) { return Floats{v, v, v, v}; }
  static inline Floats zero() { return Floats{}; }
  static inline float sum(Floats v) { return (v[0] + v[1]) + (v[2] + v[3]); }
};

}  // namespace

#include "kernels/scalar_matvec/scalar_cpu_integers.h"

namespace aqlm_exp::scalar_matvec::cpu {

void portable_integer_quads(const Pass& p, int nbits, int64_t begin, int64_t end) {
  if (nbits == 4)
    quads_of_integers<4>(p, begin, end);
  else if (nbits == 3)
    quads_of_integers<3>(p, begin, end);
  else
    quads_of_integers<2>(p, begin, end);
}

}  // namespace aqlm_exp::scalar_matvec::cpu
