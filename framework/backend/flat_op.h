// What all operations with kernels of their own share: any shape of x in, a matrix of tokens to the kernel, back again;
// and a linear that stays a plain matrix.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "framework/backend/backend.h"

namespace aqlm_exp::backend {

class FlatOp : public LinearOp {
 public:
  at::Tensor forward(const at::Tensor& x) const final;
  bool is_self_contained() const override { return true; }
  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }

  /// x as the kernels want it: [tokens, in_features], contiguous, 16-byte aligned, of the kernel's dtype.
  /// @throws DataError if x has another width or lies on another device
  at::Tensor flatten(const at::Tensor& x) const;
  /// The kernel's [tokens, out_features] in the shape and dtype that belong to x.
  at::Tensor unflatten(const at::Tensor& y, const at::Tensor& x) const;

 protected:
  FlatOp(int64_t out_features, int64_t in_features, at::Device device, at::ScalarType kernel_dtype)
      : out_features_(out_features), in_features_(in_features), device_(device), kernel_dtype_(kernel_dtype) {}
  /// @param x [tokens >= 1, in_features] from flatten() @param y [tokens, out_features], uninitialised
  virtual void run(const at::Tensor& x, at::Tensor& y) const = 0;
  at::Device device() const { return device_; }

 private:
  int64_t out_features_, in_features_;
  at::Device device_;
  at::ScalarType kernel_dtype_;
};

/// The library's matrix product with a dense copy of the weight.
class DenseOp final : public LinearOp {
 public:
  DenseOp(const quant::Weight& weight, const at::Tensor& bias, at::ScalarType dtype);
  at::Tensor forward(const at::Tensor& x) const override;
  int64_t resident_bytes() const override { return static_cast<int64_t>(matrix_.nbytes()); }
  std::string kernel() const override { return "dense"; }
  bool is_self_contained() const override { return true; }

 private:
  at::Tensor matrix_;  // [out_features, in_features]
  at::Tensor bias_;    // [out_features] or undefined
};

}  // namespace aqlm_exp::backend
