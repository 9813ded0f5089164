// Weights and inputs that tests/golden/scalar/make_goldens.py repeats exactly, and access to the golden file.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "framework/base/rng.h"

namespace aqlm_exp::scalar::testing {

/// The tensors are small: more threads only wait for each other, and sums would depend on how many there are.
inline const bool kOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

/// SplitMix64 of seed + index; the top 24 bits as a number in [-0.5, 0.5).
inline double uniform(uint64_t seed, uint64_t index) {
  uint64_t z = (seed + index) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) / 16777216.0 - 0.5;
}

inline at::Tensor weights(uint64_t seed, int64_t out, int64_t in) {
  at::Tensor w = at::empty({out, in}, at::kFloat);
  auto* data = w.data_ptr<float>();
  for (int64_t i = 0; i < out * in; ++i) {
    const double u = uniform(seed, static_cast<uint64_t>(i));
    double v = u + 4.0 * u * u * u;
    if (i % 10 == 0) v *= 3.0;
    data[i] = static_cast<float>(v * 0.125);
  }
  return w;
}

inline at::Tensor inputs(uint64_t seed, int64_t tokens, int64_t in) {
  at::Tensor x = at::empty({tokens, in}, at::kFloat);
  auto* data = x.data_ptr<float>();
  for (int64_t t = 0; t < tokens; ++t) {
    double before = 0;
    for (int64_t i = 0; i < in; ++i) {
      before = uniform(seed, static_cast<uint64_t>(t * in + i)) + 0.5 * before;
      data[t * in + i] = static_cast<float>(before * (1.0 + static_cast<double>(i % 7)));
    }
  }
  return x;
}

inline const nlohmann::json& goldens() {
  static const nlohmann::json document = [] {
    std::ifstream file(std::string(AQLM_EXP_SOURCE_DIR) + "/tests/golden/scalar/goldens.json");
    return nlohmann::json::parse(file);
  }();
  return document;
}

inline at::Tensor codes_from_hex(const std::string& hex, int64_t out, int64_t in) {
  at::Tensor codes = at::empty({out, in}, at::kByte);
  for (int64_t i = 0; i < out * in; ++i) {
    codes.data_ptr<uint8_t>()[i] =
        static_cast<uint8_t>(std::stoi(hex.substr(static_cast<size_t>(2 * i), 2), nullptr, 16));
  }
  return codes;
}

inline at::Tensor floats(const nlohmann::json& list, at::IntArrayRef shape) {
  const auto values = list.get<std::vector<float>>();
  return at::tensor(values, at::kFloat).reshape(shape);
}

/// Share of elements that differ.
inline double mismatch(const at::Tensor& a, const at::Tensor& b) {
  return a.ne(b).to(at::kDouble).mean().item<double>();
}

inline double max_abs_diff(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

/// max |a - b| / max |b|
inline double relative_diff(const at::Tensor& a, const at::Tensor& b) {
  return max_abs_diff(a, b) / b.to(at::kDouble).abs().max().item<double>();
}

/// float32 scales, zero points and sums go through other vector widths on other processors.
constexpr double kFloatTolerance = 2e-6;
/// Rounding to float16: half a unit in the last of 11 bits.
constexpr double kHalfTolerance = 1.0 / 2048;

}  // namespace aqlm_exp::scalar::testing
