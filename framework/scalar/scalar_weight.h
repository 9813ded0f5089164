// A ScalarCode as the weight of a model's linear layer.
#pragma once

#include <memory>
#include <string>

#include "framework/quant/weight.h"
#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {

class ScalarWeight final : public quant::Weight {
 public:
  /// @param method what made it: "gptq"; part of format()
  ScalarWeight(ScalarCode code, std::string method) : code_(std::move(code)), method_(std::move(method)) {}

  std::string format() const override;  ///< "gptq 4 bits g128"
  int64_t out_features() const override { return code_.out_features(); }
  int64_t in_features() const override { return code_.in_features(); }
  at::Tensor dequantise() const override { return code_.dequantise(); }
  quant::BitCount bits() const override { return code_.bits(); }
  std::unique_ptr<quant::Weight> to(at::Device device) const override;
  const ScalarCode& code() const { return code_; }

 private:
  ScalarCode code_;
  std::string method_;
};

}  // namespace aqlm_exp::scalar
