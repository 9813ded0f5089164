#include "framework/checkpoint/scalar_tensors.h"

#include <fmt/format.h>

namespace aqlm_exp::checkpoint {
namespace {

using Kind = ScalarTensor::Kind;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t row_group(const ScalarLayout& layout, int64_t in_features) {
  return layout.group_size == -1 ? in_features : layout.group_size;
}

/// HQQ packs along the first dimension of the grouped matrix.
ScalarTensor hqq_codes(const ScalarLayout& layout, int64_t rows, int64_t columns) {
  if (layout.nbits == 3) return {".W_q", Kind::kInt32, {ceil_div(rows, 10), columns}};
  const int64_t in_a_byte = layout.nbits <= 4 ? 8 / layout.nbits : 1;
  return {".W_q", Kind::kByte, {rows / in_a_byte, columns}};
}

}  // namespace

std::string scalar_shape_refusal(const ScalarLayout& layout, int64_t out, int64_t in) {
  const auto misfit = [&](const char* what, int64_t size, int64_t unit) {
    return fmt::format("{} {} is not a multiple of {}", what, size, unit);
  };
  const int64_t group = row_group(layout, in);
  if (layout.method == "gptq") {
    if (in * layout.nbits % 32 != 0) return misfit("in_features * bits", in * layout.nbits, 32);
    if (out * layout.nbits % 32 != 0) return misfit("out_features * bits", out * layout.nbits, 32);
  } else if (layout.method == "awq") {
    if (out % 8 != 0) return misfit("out_features", out, 8);
    if (in % group != 0) return misfit("in_features", in, group);
  } else {
    const int64_t hqq_group = layout.group_size == -1 ? (layout.axis == 1 ? in : out) : layout.group_size;
    if (out * in % hqq_group != 0) return misfit("the number of weights", out * in, hqq_group);
    const int64_t rows = layout.axis == 1 ? out * in / hqq_group : hqq_group;
    const int64_t in_a_byte = layout.nbits <= 4 && layout.nbits != 3 ? 8 / layout.nbits : 1;
    if (rows % in_a_byte != 0) return misfit("the packed dimension", rows, in_a_byte);
  }
  return "";
}

std::vector<ScalarTensor> scalar_tensors(const ScalarLayout& layout, int64_t out, int64_t in) {
  const int64_t groups = ceil_div(in, row_group(layout, in));
  if (layout.method == "gptq") {
    return {{".qweight", Kind::kInt32, {in * layout.nbits / 32, out}},
            {".qzeros", Kind::kInt32, {groups, out * layout.nbits / 32}},
            {".scales", Kind::kFloat, {groups, out}},
            {".g_idx", Kind::kInt32, {in}, false}};
  }
  if (layout.method == "awq") {
    return {{".qweight", Kind::kInt32, {in, out / 8}},
            {".qzeros", Kind::kInt32, {groups, out / 8}},
            {".scales", Kind::kFloat, {groups, out}}};
  }
  const int64_t group = layout.group_size == -1 ? (layout.axis == 1 ? in : out) : layout.group_size;
  const int64_t num_groups = out * in / group;
  std::vector<ScalarTensor> tensors;
  if (layout.axis == 1) {
    tensors = {hqq_codes(layout, num_groups, group),
               {".scale", Kind::kFloat, {num_groups, 1}},
               {".zero", Kind::kFloat, {num_groups, 1}}};
  } else {
    tensors = {hqq_codes(layout, group, num_groups),
               {".scale", Kind::kFloat, {1, num_groups}},
               {".zero", Kind::kFloat, {1, num_groups}}};
  }
  for (const char* suffix :
       {".nbits", ".group_size", ".shape", ".axis", ".packing", ".unpack_view_dtype", ".view_as_float", ".quant_scale",
        ".quant_zero", ".compute_dtype", ".offload_meta", ".encoded_state_dict", ".stores_quant_config",
        ".channel_wise", ".optimize", ".round_zero"}) {
    tensors.push_back({suffix, Kind::kAny, {}, false});
  }
  return tensors;
}

std::vector<ScalarTensor> own_scalar_tensors(const ScalarLayout& layout, int64_t out, int64_t in) {
  const std::vector<int64_t> per_group = layout.axis == 0 ? std::vector<int64_t>{1, out * in / layout.group_size}
                                                          : std::vector<int64_t>{out, ceil_div(in, layout.group_size)};
  std::vector<ScalarTensor> tensors = {{".packed_codes", Kind::kInt32, {out, ceil_div(in * layout.nbits, 32)}},
                                       {".scales", Kind::kFloat, per_group},
                                       {".g_idx", Kind::kInt32, {in}, false}};
  if (!layout.symmetric) {
    tensors.push_back({".zero_points", layout.integer_zero_points ? Kind::kByte : Kind::kFloat, per_group});
  }
  return tensors;
}

}  // namespace aqlm_exp::checkpoint
