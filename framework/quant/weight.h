// The weight of one linear layer, in whatever form a method leaves it. Models run it, fine-tuners train it, backends
// turn it into something fast, reports count its bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/quant/bit_count.h"
#include "framework/quant/scheme.h"

namespace aqlm_exp::quant {

class Weight {
 public:
  virtual ~Weight() = default;
  /// "dense", "aqlm 2x8 g8", "gptq 4 bits g128".
  virtual std::string format() const = 0;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  /// [out_features, in_features] float32 on the weight's device; differentiable in parameters().
  virtual at::Tensor dequantise() const = 0;
  /// Continuous float32 parameters that fine-tuning may train (leaf tensors, changed in place); codes are not among
  /// them.
  virtual std::vector<at::Tensor> parameters() { return {}; }
  /// Rounds continuous parameters to the precision in which they are stored (in place).
  virtual void round_to_storage() {}
  /// What the stored form takes. num_weights counts out_features * in_features.
  virtual BitCount bits() const = 0;
  /// False for a weight that no method has touched: it does not enter bits_per_weight.
  virtual bool is_quantised() const { return true; }
  virtual std::unique_ptr<Weight> to(at::Device device) const = 0;
  /// The only backend whose results are the method's, for methods that quantise activations too; empty: any.
  virtual std::string needed_backend() const { return {}; }
};

/// A plain matrix.
class DenseWeight final : public Weight {
 public:
  /// @param stored_bits bits an element takes in the checkpoint it came from (16 for bf16 and fp16)
  explicit DenseWeight(at::Tensor matrix, int64_t stored_bits = 16)
      : matrix_(std::move(matrix)), stored_bits_(stored_bits) {}
  std::string format() const override { return "dense"; }
  int64_t out_features() const override { return matrix_.size(0); }
  int64_t in_features() const override { return matrix_.size(1); }
  at::Tensor dequantise() const override { return matrix_; }
  std::vector<at::Tensor> parameters() override { return {matrix_}; }
  BitCount bits() const override {
    return {.num_weights = matrix_.numel(), .other_bits = matrix_.numel() * stored_bits_};
  }
  bool is_quantised() const override { return false; }
  std::unique_ptr<Weight> to(at::Device device) const override {
    return std::make_unique<DenseWeight>(matrix_.to(device), stored_bits_);
  }
  int64_t stored_bits() const { return stored_bits_; }

 private:
  at::Tensor matrix_;  // [out_features, in_features] float32
  int64_t stored_bits_;
};

}  // namespace aqlm_exp::quant
