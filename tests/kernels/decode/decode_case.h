// Numbers for the tests of a decoding step, rounded to the element type, so that the reference sees what the device
// sees.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "kernels/decode/decode_cuda.h"
#include "kernels/platform/half.h"

namespace aqlm_exp::decode {

inline std::vector<float> normals(int64_t count, uint64_t seed, float sigma = 1.0F) {
  Rng rng(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(rng.normal()) * sigma;
  return out;
}

inline float rounded(Element element, float x) {
  if (element == Element::kF16) return kernels::half_to_float(kernels::float_to_half(x));
  if (element == Element::kBF16) return kernels::bfloat_to_float(kernels::float_to_bfloat(x));
  return x;
}
inline std::vector<float> rounded(Element element, std::vector<float> values) {
  for (float& x : values) x = rounded(element, x);
  return values;
}
/// Half the distance between neighbouring numbers near 1, relative.
inline double rounding(Element element) {
  return element == Element::kF16 ? 0x1p-11 : element == Element::kBF16 ? 0x1p-8 : 0x1p-24;
}
inline int64_t element_bytes(Element element) { return element == Element::kF32 ? 4 : 2; }

/// The bytes of values that are exact in the element type.
inline std::vector<char> packed(Element element, const std::vector<float>& values) {
  std::vector<char> out(values.size() * static_cast<size_t>(element_bytes(element)));
  for (size_t i = 0; i < values.size(); ++i) {
    if (element == Element::kF32) {
      std::memcpy(out.data() + 4 * i, &values[i], 4);
    } else {
      const uint16_t bits =
          element == Element::kF16 ? kernels::float_to_half(values[i]) : kernels::float_to_bfloat(values[i]);
      std::memcpy(out.data() + 2 * i, &bits, 2);
    }
  }
  return out;
}
inline std::vector<float> unpacked(Element element, const std::vector<char>& bytes) {
  std::vector<float> out(bytes.size() / static_cast<size_t>(element_bytes(element)));
  for (size_t i = 0; i < out.size(); ++i) {
    if (element == Element::kF32) {
      std::memcpy(&out[i], bytes.data() + 4 * i, 4);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, bytes.data() + 2 * i, 2);
      out[i] = element == Element::kF16 ? kernels::half_to_float(bits) : kernels::bfloat_to_float(bits);
    }
  }
  return out;
}

inline std::string element_name(const testing::TestParamInfo<Element>& info) {
  return info.param == Element::kF16 ? "cuda_f16" : info.param == Element::kBF16 ? "cuda_bf16" : "cuda_f32";
}

}  // namespace aqlm_exp::decode
