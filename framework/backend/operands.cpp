#include "framework/backend/operands.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/scalar/blockwise4.h"
#include "framework/scalar/int8.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::backend {
namespace {

using scalar::Blockwise4Weight;
using scalar::ScalarWeight;

constexpr float kLargestHalf = 65504.0f;  // kernels keep scales in float16

int64_t group_size_of(const scalar::ScalarCode& code) {
  return code.group_size < 1 || code.group_size > code.in_features() ? code.in_features() : code.group_size;
}

/// Columns in the order of their groups, or undefined where they lie so already.
/// @return false if groups are not of one size each
bool column_order(const scalar::ScalarCode& code, at::Tensor& order) {
  if (!code.g_idx.defined()) return true;
  const at::Tensor groups = code.g_idx.cpu().to(at::kLong);
  const at::Tensor sorted = at::argsort(groups, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor expected = at::arange(groups.size(0), at::kLong).floor_divide(group_size_of(code));
  if (!groups.index_select(0, sorted).equal(expected)) return false;
  if (!sorted.equal(at::arange(groups.size(0), at::kLong))) order = sorted.to(at::kInt).contiguous();
  return true;
}

}  // namespace

at::Device device_of(const quant::Weight& weight) {
  if (const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(&weight)) return additive->codes().device();
  if (const auto* scalar = dynamic_cast<const ScalarWeight*>(&weight)) return scalar->code().codes.device();
  if (const auto* blocks = dynamic_cast<const Blockwise4Weight*>(&weight)) return blocks->codes().device();
  if (const auto* int8 = dynamic_cast<const scalar::Int8Weight*>(&weight)) return int8->codes().device();
  return weight.dequantise().device();
}

quant::Scheme scheme_of(const quant::Weight& weight) {
  using Kind = quant::Scheme::Kind;
  quant::Scheme scheme;
  if (const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(&weight)) {
    scheme.kind = Kind::kAdditive;
    scheme.code = additive->spec();
  } else if (const auto* code = dynamic_cast<const ScalarWeight*>(&weight)) {
    scheme.kind = Kind::kScalar;
    scheme.nbits = code->code().nbits;
    scheme.group_size = code->code().group_size < code->in_features() ? code->code().group_size : -1;
    scheme.axis = code->code().axis;
  } else if (const auto* blocks = dynamic_cast<const Blockwise4Weight*>(&weight)) {
    scheme.kind = Kind::kTable4;
    scheme.nbits = 4;
    scheme.group_size = blocks->block_size();
  } else if (dynamic_cast<const scalar::Int8Weight*>(&weight) != nullptr) {
    scheme.kind = Kind::kInt8;
  }
  return scheme;
}

additive_matvec::AdditiveShape additive_shape(const quant::CodeSpec& code) {
  additive_matvec::AdditiveShape shape;
  shape.in_group_size = static_cast<int32_t>(code.in_group_size);
  shape.out_group_size = static_cast<int32_t>(code.out_group_size);
  shape.num_codebooks = static_cast<int32_t>(code.num_codebooks);
  shape.nbits_per_codebook = static_cast<int32_t>(code.nbits_per_codebook);
  shape.out_features = 16 * code.out_group_size;
  shape.in_features = 32 * code.in_group_size;
  return shape;
}

additive_matvec::AdditiveShape additive_shape(const quant::AdditiveWeight& weight) {
  additive_matvec::AdditiveShape shape = additive_shape(weight.spec());
  shape.out_features = weight.out_features();
  shape.in_features = weight.in_features();
  return shape;
}

at::Tensor natural_codes(const quant::AdditiveWeight& weight) {
  return weight.codes().to(weight.spec().nbits_per_codebook <= 8 ? at::kByte : at::kShort).contiguous();
}

std::string scalar_problem(const quant::Weight& weight) {
  if (const auto* blocks = dynamic_cast<const Blockwise4Weight*>(&weight)) {
    if (blocks->in_features() % blocks->block_size() != 0) {
      return fmt::format("its blocks of {} cross rows of {} weights", blocks->block_size(), blocks->in_features());
    }
    if (blocks->block_maxima().max().item<float>() > kLargestHalf) return "a block's scale exceeds float16";
    return {};
  }
  const auto* code = dynamic_cast<const ScalarWeight*>(&weight);
  if (code == nullptr) return "it is no scalar code";
  if (code->code().axis != 1) return "its groups run across rows (axis 0)";
  if (code->code().nbits < 2 || code->code().nbits > 4) {
    return fmt::format("it has {} bits a weight; kernels have 2, 3 and 4", code->code().nbits);
  }
  at::Tensor order;
  if (!column_order(code->code(), order)) return "its g_idx makes groups of several sizes";
  return {};
}

ScalarOperands scalar_operands(const quant::Weight& weight) {
  if (const std::string problem = scalar_problem(weight); !problem.empty()) {
    throw InternalError(fmt::format("[backend] \"{}\": {}", weight.format(), problem));
  }
  ScalarOperands out;
  out.shape.out_features = weight.out_features();
  out.shape.in_features = weight.in_features();
  if (const auto* blocks = dynamic_cast<const Blockwise4Weight*>(&weight)) {
    out.shape.nbits = 4;
    out.shape.group_size = blocks->block_size();
    out.codes = blocks->codes().cpu().contiguous();
    out.scales = blocks->block_maxima().to(at::kFloat).cpu().reshape({weight.out_features(), -1}).contiguous();
    const auto& table = scalar::table4_values(blocks->table());
    out.levels = at::tensor(std::vector<float>(table.begin(), table.end()), at::kFloat);
    return out;
  }
  const scalar::ScalarCode& code = dynamic_cast<const ScalarWeight&>(weight).code();
  out.shape.nbits = static_cast<int32_t>(code.nbits);
  out.shape.group_size = group_size_of(code);
  out.codes = code.codes.cpu();
  column_order(code, out.x_perm);
  if (out.x_perm.defined()) out.codes = out.codes.index_select(1, out.x_perm.to(at::kLong));
  out.codes = out.codes.contiguous();
  out.scales = code.scales.cpu().to(at::kFloat).contiguous();
  out.zero_points = code.zero_points.cpu().to(at::kFloat).contiguous();
  return out;
}

}  // namespace aqlm_exp::backend
