#include "framework/quant/additive_weight.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/quant/bitpack.h"

namespace aqlm_exp::quant {
namespace {

std::string shape_of(const at::Tensor& tensor) {
  std::string out = "[";
  for (int64_t i = 0; i < tensor.dim(); ++i) out += fmt::format("{}{}", i ? ", " : "", tensor.size(i));
  return out + "]";
}

}  // namespace

AdditiveWeight::AdditiveWeight(CodeSpec spec, at::Tensor codes, at::Tensor codebooks, at::Tensor scales)
    : spec_(spec), codes_(std::move(codes)), codebooks_(std::move(codebooks)), scales_(std::move(scales)) {
  const bool fits = codes_.dim() == 3 && codebooks_.dim() == 4 && scales_.dim() == 4 &&
                    codes_.size(2) == spec.num_codebooks && codebooks_.size(0) == spec.num_codebooks &&
                    codebooks_.size(1) == spec.codebook_size() && codebooks_.size(2) == spec.out_group_size &&
                    codebooks_.size(3) == spec.in_group_size && scales_.size(0) == codes_.size(0) &&
                    scales_.numel() == codes_.size(0);
  if (!fits) {
    throw DataError(fmt::format("[AdditiveWeight] codes {}, codebooks {} and scales {} do not fit {}", shape_of(codes_),
                                shape_of(codebooks_), shape_of(scales_), spec.str()));
  }
}

at::Tensor sum_codewords(const at::Tensor& codes, const at::Tensor& codebooks) {
  const int64_t num_codebooks = codebooks.size(0), codebook_size = codebooks.size(1);
  const at::Tensor offsets =
      at::arange(num_codebooks, codes.options().dtype(at::kLong)).mul_(codebook_size);   // [num_codebooks]
  const at::Tensor flat_codes = (codes.to(at::kLong) + offsets).flatten();               // [O * G * M]
  const at::Tensor flat_books = codebooks.reshape({num_codebooks * codebook_size, -1});  // [M * K, group_size]
  return at::index_select(flat_books, 0, flat_codes)
      .view({codes.size(0), codes.size(1), num_codebooks, flat_books.size(1)})
      .sum(2);
}

at::Tensor group_weight(const at::Tensor& weight, const CodeSpec& spec) {
  const int64_t num_out_groups = weight.size(0) / spec.out_group_size,
                num_in_groups = weight.size(1) / spec.in_group_size;
  return weight.reshape({num_out_groups, spec.out_group_size, num_in_groups, spec.in_group_size})
      .transpose(1, 2)
      .reshape({num_out_groups, num_in_groups, spec.group_size()});
}

at::Tensor ungroup(const at::Tensor& groups, const CodeSpec& spec) {
  return groups.view({groups.size(0), groups.size(1), spec.out_group_size, spec.in_group_size})
      .transpose(1, 2)
      .reshape({groups.size(0) * spec.out_group_size, groups.size(1) * spec.in_group_size});
}

at::Tensor AdditiveWeight::dequantise() const {
  return ungroup(sum_codewords(codes_, codebooks_) * scales_.view({-1, 1, 1}), spec_);
}

void AdditiveWeight::round_to_storage() {
  const c10::NoGradGuard no_grad;
  codebooks_.copy_(codebooks_.to(at::kHalf));
  scales_.copy_(scales_.to(at::kHalf));
}

BitCount AdditiveWeight::bits() const {
  return {.num_weights = out_features() * in_features(),
          .code_bits = 8 * packed_size_bytes(codes_.numel(), spec_.nbits_per_codebook),
          .codebook_bits = 16 * codebooks_.numel(),
          .scale_bits = 16 * scales_.numel()};
}

std::unique_ptr<Weight> AdditiveWeight::to(at::Device device) const {
  return std::make_unique<AdditiveWeight>(spec_, codes_.to(device), codebooks_.to(device), scales_.to(device));
}

int64_t AdditiveWeight::num_unused_codewords() const {
  int64_t unused = 0;
  for (int64_t m = 0; m < spec_.num_codebooks; ++m) {
    const at::Tensor counts = at::bincount(codes_.select(2, m).flatten().to(at::kLong), {}, spec_.codebook_size());
    unused += counts.eq(0).sum().item<int64_t>();
  }
  return unused;
}

}  // namespace aqlm_exp::quant
