// Random weights of every scheme, and the answer that every backend is held to.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/backend/backend.h"
#include "framework/quant/code_spec.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::backend {

using WeightPtr = std::shared_ptr<const quant::Weight>;

/// Codes uniform, codewords normal, scales around 0.05; floats rounded to float16 as they are stored.
WeightPtr random_additive(const quant::CodeSpec& spec, int64_t out_features, int64_t in_features,
                          at::Device device = at::kCPU);
struct ScalarKind {
  int64_t nbits = 4, group_size = 64;
  bool real_zero_points = false, act_order = false;
};
WeightPtr random_scalar(const ScalarKind& kind, int64_t out_features, int64_t in_features,
                        at::Device device = at::kCPU);
WeightPtr random_nf4(int64_t block_size, int64_t out_features, int64_t in_features, at::Device device = at::kCPU);

std::unique_ptr<Backend> make_backend(const std::string& type, const std::string& further_keys = {});

/// |y - exact| / |exact| with exact in float64 from dequantise(), for x of this many tokens in this dtype.
double worst_error(const LinearOp& op, const quant::Weight& weight, const at::Tensor& bias, const at::Tensor& x);

/// cuda:0 where libtorch's CUDA half can be opened and a GPU of compute capability 9.0 answers; otherwise nothing, and
/// the reason.
bool has_gpu(std::string* reason);

}  // namespace aqlm_exp::backend
