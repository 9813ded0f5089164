// A random linear in additive codes, and its answer in double.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "kernels/additive_matvec/additive_matvec_ref.h"

namespace aqlm_exp::additive_matvec {

/// 64-byte aligned storage for packed codes, codebooks and workspaces.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t count, unsigned char fill = 0)
      : bytes_((static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64),
        data_(static_cast<T*>(std::aligned_alloc(64, bytes_ ? bytes_ : 64)), std::free) {
    for (size_t i = 0; i < bytes_; ++i) reinterpret_cast<unsigned char*>(data_.get())[i] = fill;
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  size_t bytes_;
  std::unique_ptr<T, void (*)(void*)> data_;
};

struct AdditiveCase {
  AdditiveShape shape;
  int64_t batch;
  std::vector<uint16_t> codes;
  std::vector<uint8_t> codes8;  // as stored for nbits <= 8: wrapped to int8, so unused high bits are sign bits
  std::vector<float> codebooks, scales, bias, residual, x;
  std::vector<double> expected;  // with bias and residual

  AdditiveCase(const AdditiveShape& s, int64_t b, uint64_t seed, bool extras = true) : shape(s), batch(b) {
    Rng rng(seed);
    const auto fill = [&](std::vector<float>& v, int64_t n, double sigma) {
      v.resize(static_cast<size_t>(n));
      for (float& value : v) value = static_cast<float>(rng.normal() * sigma);
    };
    codes.resize(static_cast<size_t>(s.num_codes()));
    for (uint16_t& code : codes) code = static_cast<uint16_t>(rng.below(static_cast<uint64_t>(s.codebook_size())));
    if (s.nbits_per_codebook <= 8)
      for (uint16_t code : codes) {
        const int half = 1 << (s.nbits_per_codebook - 1), value = code;
        codes8.push_back(static_cast<uint8_t>(value < half ? value : value - 2 * half));
      }
    fill(codebooks, s.num_codebooks * s.codebook_size() * s.out_group_size * s.in_group_size, 0.5);
    fill(scales, s.num_out_groups() * s.scale_groups, 0.1);
    if (extras) {
      fill(bias, s.out_features, 1);
      fill(residual, b * s.out_features, 1);
    }
    fill(x, b * s.in_features, 1);
    answer();
  }
  void answer() {
    expected.resize(static_cast<size_t>(batch * shape.out_features));
    std::vector<double> wide(residual.begin(), residual.end());
    additive_matvec_ref(shape, codes.data(), codebooks.data(), scales.data(), bias.empty() ? nullptr : bias.data(),
                        wide.empty() ? nullptr : wide.data(), x.data(), batch, expected.data());
  }
  std::string name() const {
    return std::to_string(shape.num_codebooks) + "x" + std::to_string(shape.nbits_per_codebook) + " g" +
           std::to_string(shape.in_group_size) + " og" + std::to_string(shape.out_group_size) + " " +
           std::to_string(shape.out_features) + "x" + std::to_string(shape.in_features) + " batch " +
           std::to_string(batch);
  }
};

}  // namespace aqlm_exp::additive_matvec
