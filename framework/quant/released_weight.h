// What is left of a weight whose buffers went: its name, its size, its bits.
#pragma once

#include <memory>
#include <string>

#include "framework/base/error.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::quant {

class ReleasedWeight final : public Weight {
 public:
  explicit ReleasedWeight(const Weight& weight)
      : format_(weight.format()),
        needed_backend_(weight.needed_backend()),
        out_features_(weight.out_features()),
        in_features_(weight.in_features()),
        bits_(weight.bits()),
        is_quantised_(weight.is_quantised()) {}
  std::string format() const override { return format_; }
  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  /// @throws InternalError always: only the prepared operation can run this linear
  at::Tensor dequantise() const override {
    throw InternalError("[ReleasedWeight] \"" + format_ + "\" was released after its backend had prepared it");
  }
  BitCount bits() const override { return bits_; }
  bool is_quantised() const override { return is_quantised_; }
  std::unique_ptr<Weight> to(at::Device) const override { return std::make_unique<ReleasedWeight>(*this); }
  std::string needed_backend() const override { return needed_backend_; }

 private:
  std::string format_, needed_backend_;
  int64_t out_features_, in_features_;
  BitCount bits_;
  bool is_quantised_;
};

}  // namespace aqlm_exp::quant
