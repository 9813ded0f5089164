#include "tests/framework/backend/weights.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <numeric>

#include "framework/base/rng.h"
#include "framework/quant/additive_weight.h"
#include "framework/scalar/blockwise4.h"
#include "framework/scalar/scalar_weight.h"
#include "kernels/additive_matvec/additive_cuda.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::backend {
namespace {

at::Tensor random_codes(std::vector<int64_t> sizes, int64_t bound, uint64_t seed) {
  Rng rng(seed);
  at::Tensor out = at::empty(sizes, at::kInt);
  for (int64_t i = 0; i < out.numel(); ++i) {
    out.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(rng.below(static_cast<uint64_t>(bound)));
  }
  return out;
}

}  // namespace

WeightPtr random_additive(const quant::CodeSpec& spec, int64_t out_features, int64_t in_features, at::Device device) {
  const int64_t out_groups = out_features / spec.out_group_size, in_groups = in_features / spec.in_group_size;
  const at::Tensor codes = random_codes({out_groups, in_groups, spec.num_codebooks}, spec.codebook_size(), 11);
  const at::Tensor books =
      test::gaussian({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}, 12);
  const at::Tensor scales = 0.05 + 0.01 * test::gaussian({out_groups, 1, 1, 1}, 13);
  auto weight = std::make_shared<quant::AdditiveWeight>(spec, codes.to(device), books.to(device), scales.to(device));
  weight->round_to_storage();
  return weight;
}

WeightPtr random_scalar(const ScalarKind& kind, int64_t out_features, int64_t in_features, at::Device device) {
  const int64_t groups = scalar::num_row_groups(in_features, kind.group_size);
  const int64_t levels = int64_t{1} << kind.nbits;
  const at::Tensor codes = random_codes({out_features, in_features}, levels, 21);
  const at::Tensor scales = 0.02 + 0.01 * test::gaussian({out_features, groups}, 22).abs();
  at::Tensor zeros = random_codes({out_features, groups}, levels, 23).to(at::kFloat);
  if (kind.real_zero_points) zeros = zeros + 0.37;
  const int64_t group_size = kind.group_size < 1 ? in_features : kind.group_size;
  scalar::ScalarCode code =
      scalar::make_scalar_code("test", codes, scales, zeros, kind.nbits, group_size, false, !kind.real_zero_points);
  if (kind.act_order) {
    Rng rng(24);
    at::Tensor g_idx = at::empty({in_features}, at::kInt);
    const std::vector<int64_t> order = rng.permutation(in_features);
    for (int64_t i = 0; i < in_features; ++i) {
      g_idx.mutable_data_ptr<int32_t>()[order[static_cast<size_t>(i)]] = static_cast<int32_t>(i / group_size);
    }
    code.g_idx = g_idx;
  }
  return scalar::ScalarWeight(code, "test").to(device);
}

WeightPtr random_nf4(int64_t block_size, int64_t out_features, int64_t in_features, at::Device device) {
  const at::Tensor matrix = 0.1 * test::gaussian({out_features, in_features}, 31);
  return scalar::Blockwise4Weight(matrix, {.block_size = block_size}).to(device);
}

std::unique_ptr<Backend> make_backend(const std::string& type, const std::string& further_keys) {
  return test::build<Backend>(backends(), R"({"type":")" + type + "\"" + further_keys + "}");
}

double worst_error(const LinearOp& op, const quant::Weight& weight, const at::Tensor& bias, const at::Tensor& x) {
  at::Tensor exact = at::matmul(x.to(at::kDouble), weight.dequantise().to(at::kDouble).t());
  if (bias.defined()) exact = exact + bias.to(at::kDouble);
  const at::Tensor y = op.forward(x);
  EXPECT_EQ(y.scalar_type(), x.scalar_type());
  EXPECT_EQ(y.sizes(), exact.sizes());
  // By row of x, so that one wrong token cannot hide behind others.
  const at::Tensor error = (y.to(at::kDouble) - exact).norm(2, -1), norm = exact.norm(2, -1);
  return (error / norm).max().item<double>();
}

bool has_gpu(std::string* reason) {
  if (additive_matvec::additive_cuda_available() != kernels::Status::kOk) {
    *reason = "needs a GPU of compute capability 9.0 and a build with CUDA; one of them is missing";
    return false;
  }
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    *reason = ::dlerror();
    return false;
  }
  return true;
}

}  // namespace aqlm_exp::backend
