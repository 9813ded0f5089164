// A random linear in group-quantised scalar codes, and its answer in double.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "kernels/platform/half.h"
#include "kernels/scalar_matvec/scalar_matvec_ref.h"

namespace aqlm_exp::scalar_matvec {

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

enum class Format { kIntegerZeros, kRealZeros, kSymmetric, kNf4 };

struct ScalarCase {
  ScalarShape shape;
  int64_t batch;
  std::vector<uint8_t> codes;
  std::vector<float> levels, scales, zero_points, bias, residual, x;
  std::vector<int32_t> x_perm;
  std::vector<double> expected;

  ScalarCase(const ScalarShape& s, int64_t b, Format format, bool permuted, uint64_t seed) : shape(s), batch(b) {
    Rng rng(seed);
    const auto round = [](double value) {
      return kernels::half_to_float(kernels::float_to_half(static_cast<float>(value)));
    };
    codes.resize(static_cast<size_t>(s.out_features * s.in_features));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.below(uint64_t{1} << s.nbits));
    const auto cells = static_cast<size_t>(s.out_features * s.num_groups());
    for (size_t i = 0; i < cells; ++i) {
      scales.push_back(round(0.02 * (0.5 + rng.uniform())));
      if (format == Format::kIntegerZeros) zero_points.push_back(static_cast<float>(rng.below(uint64_t{1} << s.nbits)));
      if (format == Format::kRealZeros) zero_points.push_back(round(rng.uniform() * (1 << s.nbits)));
    }
    if (format == Format::kNf4)
      for (int i = 0; i < (1 << s.nbits); ++i) levels.push_back(kNf4Levels[i * 16 / (1 << s.nbits)]);
    for (int64_t i = 0; i < s.out_features; ++i) bias.push_back(static_cast<float>(rng.normal()));
    for (int64_t i = 0; i < b * s.out_features; ++i) residual.push_back(static_cast<float>(rng.normal()));
    for (int64_t i = 0; i < b * s.in_features; ++i) x.push_back(round(rng.normal()));
    if (permuted)
      for (int64_t i : rng.permutation(s.in_features)) x_perm.push_back(static_cast<int32_t>(i));
    answer();
  }
  void answer() {
    expected.resize(static_cast<size_t>(batch * shape.out_features));
    const std::vector<double> wide(residual.begin(), residual.end());
    scalar_matvec_ref(shape, codes.data(), level_data(), scales.data(), zero_data(), perm_data(), bias.data(),
                      wide.data(), x.data(), batch, expected.data());
  }
  const float* level_data() const { return levels.empty() ? nullptr : levels.data(); }
  const float* zero_data() const { return zero_points.empty() ? nullptr : zero_points.data(); }
  const int32_t* perm_data() const { return x_perm.empty() ? nullptr : x_perm.data(); }
  std::string name() const {
    return "int" + std::to_string(shape.nbits) + " g" + std::to_string(shape.group_size) + " " +
           std::to_string(shape.out_features) + "x" + std::to_string(shape.in_features) + " batch " +
           std::to_string(batch);
  }
};

}  // namespace aqlm_exp::scalar_matvec
