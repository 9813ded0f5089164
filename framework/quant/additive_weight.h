// A weight as a scaled sum of codewords, and what is computed from it. Source: AQLM, arXiv:2401.06118 §3.1; the layout
// is that of the Hugging Face AQLM checkpoints.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/quant/code_spec.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::quant {

/// What a codebook initialiser returns.
struct AdditiveCode {
  at::Tensor codes;      ///< [num_out_groups, num_in_groups, num_codebooks] int32
  at::Tensor codebooks;  ///< [num_codebooks, codebook_size, group_size] float32, scales divided out
};

class AdditiveWeight final : public Weight {
 public:
  /// @param codes [num_out_groups, num_in_groups, num_codebooks] int32, 0..codebook_size-1
  /// @param codebooks [num_codebooks, codebook_size, out_group_size, in_group_size] float32
  /// @param scales [num_out_groups, 1, 1, 1] float32
  /// @throws DataError if the three disagree
  AdditiveWeight(CodeSpec spec, at::Tensor codes, at::Tensor codebooks, at::Tensor scales);

  std::string format() const override { return "aqlm " + spec_.str(); }
  int64_t out_features() const override { return num_out_groups() * spec_.out_group_size; }
  int64_t in_features() const override { return num_in_groups() * spec_.in_group_size; }
  at::Tensor dequantise() const override;
  std::vector<at::Tensor> parameters() override { return {codebooks_, scales_}; }
  void round_to_storage() override;
  BitCount bits() const override;
  std::unique_ptr<Weight> to(at::Device device) const override;

  const CodeSpec& spec() const { return spec_; }
  int64_t num_out_groups() const { return codes_.size(0); }
  int64_t num_in_groups() const { return codes_.size(1); }
  const at::Tensor& codes() const { return codes_; }
  const at::Tensor& codebooks() const { return codebooks_; }
  const at::Tensor& scales() const { return scales_; }
  void set_codes(at::Tensor codes) { codes_ = std::move(codes); }
  /// Codewords that no group uses, over all codebooks.
  int64_t num_unused_codewords() const;

 private:
  CodeSpec spec_;
  at::Tensor codes_, codebooks_, scales_;
};

/// [out, in] → [num_out_groups, num_in_groups, group_size]; the inverse of ungroup().
at::Tensor group_weight(const at::Tensor& weight, const CodeSpec& spec);
/// [num_out_groups, num_in_groups, group_size] → [out, in].
at::Tensor ungroup(const at::Tensor& groups, const CodeSpec& spec);

/// Sum of codewords per group, scales left out; differentiable in `codebooks`.
/// @param codes [num_out_groups, num_in_groups, num_codebooks] int32
/// @param codebooks [num_codebooks, codebook_size, out_group_size, in_group_size]
/// @return [num_out_groups, num_in_groups, group_size]
at::Tensor sum_codewords(const at::Tensor& codes, const at::Tensor& codebooks);

}  // namespace aqlm_exp::quant
