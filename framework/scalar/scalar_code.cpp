#include "framework/scalar/scalar_code.h"

#include <ATen/ATen.h>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {
namespace {

constexpr int64_t kWordBits = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t hqq_code_bits(int64_t nbits, int64_t rows, int64_t columns) {
  switch (nbits) {
    case 1:
    case 2:
    case 4:
      return ceil_div(rows, 8 / nbits) * columns * 8;
    case 3:
      return ceil_div(rows, 10) * columns * kWordBits;  // ten codes a word: 3.2 bits each
    default:
      return rows * columns * 8;
  }
}

}  // namespace

int64_t num_row_groups(int64_t in_features, int64_t group_size) {
  return group_size == -1 ? 1 : ceil_div(in_features, group_size);
}

at::Tensor ScalarCode::dequantise() const {
  const at::Tensor s = scales.to(at::kFloat);
  const at::Tensor z = zero_points.to(at::kFloat);
  if (axis == 0) {
    const at::Tensor grouped = codes.reshape({group_size, -1}).to(at::kFloat);  // [group_size, num_groups]
    return ((grouped - z) * s).reshape(codes.sizes());
  }
  const at::Tensor group_of_column =
      g_idx.defined()
          ? g_idx.to(at::kLong)
          : at::arange(in_features(), codes.options().dtype(at::kLong)).floor_divide(group_size);  // [in_features]
  return (codes.to(at::kFloat) - z.index_select(1, group_of_column)) * s.index_select(1, group_of_column);
}

quant::BitCount ScalarCode::bits() const {
  quant::BitCount bits{.num_weights = codes.numel()};
  if (packing == CodePacking::kHqq) {
    const int64_t num_groups = codes.numel() / group_size;
    bits.code_bits =
        axis == 0 ? hqq_code_bits(nbits, group_size, num_groups) : hqq_code_bits(nbits, num_groups, group_size);
  } else {
    bits.code_bits = out_features() * ceil_div(in_features() * nbits, kWordBits) * kWordBits;
  }
  bits.scale_bits = scales.numel() * scales.element_size() * 8;
  if (!symmetric) {
    if (zero_points.scalar_type() == at::kByte) {
      bits.zero_point_bits = zero_points.size(1) * ceil_div(zero_points.size(0) * nbits, kWordBits) * kWordBits;
    } else {
      bits.zero_point_bits = zero_points.numel() * zero_points.element_size() * 8;
    }
  }
  if (g_idx.defined()) bits.other_bits = g_idx.numel() * g_idx.element_size() * 8;
  return bits;
}

ScalarCode make_scalar_code(const std::string& where, const at::Tensor& codes, const at::Tensor& scales,
                            const at::Tensor& zero_points, int64_t nbits, int64_t group_size, bool symmetric,
                            bool integer_zero_points) {
  if (codes.dim() != 2 || scales.dim() != 2 || scales.sizes() != zero_points.sizes()) {
    throw InternalError(
        fmt::format("[{}] codes have {} dimensions, scales {}, zero points {}; need matrices, the last "
                    "two of one shape",
                    where, codes.dim(), scales.dim(), zero_points.dim()));
  }
  ScalarCode code;
  code.codes = codes.to(at::kByte).contiguous();
  code.scales = scales.to(at::kHalf).contiguous();
  code.zero_points = zero_points.to(integer_zero_points ? at::kByte : at::kHalf).contiguous();
  code.nbits = nbits;
  code.group_size = group_size;
  code.symmetric = symmetric;
  const auto require_finite = [&](const at::Tensor& stored, const at::Tensor& exact, const char* what) {
    if (at::isfinite(stored).all().item<bool>()) return;
    throw NumericalError(fmt::format(
        "[{}] {}: the largest is {:g} in size, need at most 65504 to be stored as float16; check the layer's weights "
        "for outliers, or leave the layer unquantised",
        where, what, exact.abs().max().item<double>()));
  };
  require_finite(code.scales, scales, "scales");
  if (!integer_zero_points) require_finite(code.zero_points, zero_points, "zero points");
  return code;
}

void check_weight(const std::string& where, const at::Tensor& weight) {
  if (!weight.defined() || weight.dim() != 2 || weight.numel() == 0 || !weight.is_floating_point()) {
    throw DataError(
        fmt::format("[{}] weight: got {} dimensions and {} elements, need a non-empty floating-point matrix "
                    "[out_features, in_features]",
                    where, weight.defined() ? weight.dim() : 0, weight.defined() ? weight.numel() : 0));
  }
  if (!at::isfinite(weight).all().item<bool>()) {
    throw NumericalError(
        fmt::format("[{}] weight [{}, {}]: got NaN or infinity, need finite numbers; check the "
                    "checkpoint this layer came from",
                    where, weight.size(0), weight.size(1)));
  }
}

void check_format(const std::string& where, int64_t nbits, int64_t group_size, int64_t min_nbits) {
  if (nbits < min_nbits || nbits > 8) {
    throw ConfigError(fmt::format("[{}] quant.nbits: got {}, need {} to 8", where, nbits, min_nbits));
  }
  if (group_size != -1 && group_size < 1) {
    throw ConfigError(
        fmt::format("[{}] quant.group_size: got {}, need >= 1, or -1 for one group per row", where, group_size));
  }
}

}  // namespace aqlm_exp::scalar
