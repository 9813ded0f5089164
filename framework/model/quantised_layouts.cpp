#include "framework/model/quantised_layouts.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>

#include "framework/base/error.h"
#include "framework/model/mapped_weight.h"
#include "framework/quant/additive_weight.h"
#include "framework/scalar/bitpack.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::model {
namespace {

constexpr std::array<int64_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};  // column in the i-th field of a word

std::shared_ptr<quant::Weight> read_additive(const checkpoint::Checkpoint& files, const checkpoint::AqlmLayout& layout,
                                             const std::string& path, at::Device device) {
  const quant::CodeSpec spec{layout.num_codebooks, layout.nbits_per_codebook, layout.in_group_size,
                             layout.out_group_size};
  // Codes are stored as signed integers wrapped in nbits: the low bits are the code.
  const at::Tensor codes =
      read_tensor(files, path + ".codes").to(at::kInt).bitwise_and(spec.codebook_size() - 1).to(device);
  const auto floats = [&](const char* part) { return read_tensor(files, path + part).to(at::kFloat).to(device); };
  return std::make_shared<quant::AdditiveWeight>(spec, codes, floats(".codebooks"), floats(".scales"));
}

/// Groups that are not simply column / group_size are kept as g_idx.
void set_groups(scalar::ScalarCode& code, const at::Tensor& g_idx, const std::string& path) {
  const at::Tensor wide = g_idx.to(at::kLong);
  const int64_t num_groups = code.scales.size(1);
  if (wide.numel() > 0 && (wide.min().item<int64_t>() < 0 || wide.max().item<int64_t>() >= num_groups)) {
    throw DataError(fmt::format("{}.g_idx: names group {}, there are {}", path, wide.max().item<int64_t>(), num_groups),
                    "J-MISMATCH");
  }
  const at::Tensor plain = at::arange(wide.numel(), at::kLong).floor_divide(code.group_size);
  if (!wide.equal(plain)) code.g_idx = g_idx.to(at::kInt);
}

void check_finite(const at::Tensor& tensor, const std::string& name) {
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw DataError(fmt::format("{}: holds NaN or infinity; the checkpoint is damaged", name), "J-MISMATCH");
  }
}

scalar::ScalarCode read_gptq(const checkpoint::Checkpoint& files, const checkpoint::ScalarLayout& layout,
                             const std::string& path) {
  const at::Tensor words = read_tensor(files, path + ".qweight").t().contiguous();  // [out, in * nbits / 32]
  const int64_t out = words.size(0), in = words.size(1) * 32 / layout.nbits;
  scalar::ScalarCode code;
  code.nbits = layout.nbits;
  code.group_size = layout.group_size == -1 ? in : layout.group_size;
  code.symmetric = layout.symmetric;
  code.codes = scalar::unpack_rows(words, layout.nbits, in);
  code.scales = read_tensor(files, path + ".scales").to(at::kHalf).t().contiguous();                // [out, groups]
  at::Tensor zeros = scalar::unpack_rows(read_tensor(files, path + ".qzeros"), layout.nbits, out);  // [groups, out]
  if (layout.zeros_minus_one) zeros = (zeros + 1).bitwise_and((1 << layout.nbits) - 1);
  code.zero_points = zeros.t().contiguous();
  if (files.find(path + ".g_idx") != nullptr) set_groups(code, read_tensor(files, path + ".g_idx"), path);
  return code;
}

scalar::ScalarCode read_awq(const checkpoint::Checkpoint& files, const checkpoint::ScalarLayout& layout,
                            const std::string& path) {
  scalar::ScalarCode code;
  code.codes = unpack_awq(read_tensor(files, path + ".qweight")).t().contiguous();       // [out, in]
  code.zero_points = unpack_awq(read_tensor(files, path + ".qzeros")).t().contiguous();  // [out, groups]
  code.scales = read_tensor(files, path + ".scales").to(at::kHalf).t().contiguous();
  code.nbits = layout.nbits;
  code.group_size = layout.group_size == -1 ? code.codes.size(1) : layout.group_size;
  return code;
}

scalar::ScalarCode read_hqq(const checkpoint::Checkpoint& files, const checkpoint::ScalarLayout& layout,
                            const std::string& path, int64_t out, int64_t in) {
  const int64_t group = layout.group_size == -1 ? (layout.axis == 1 ? in : out) : layout.group_size;
  const int64_t rows = layout.axis == 1 ? out * in / group : group;
  scalar::ScalarCode code;
  code.codes = unpack_hqq(read_tensor(files, path + ".W_q"), layout.nbits, rows).reshape({out, in});
  const std::vector<int64_t> shape =
      layout.axis == 1 ? std::vector<int64_t>{out, in / group} : std::vector<int64_t>{1, out * in / group};
  code.scales = read_tensor(files, path + ".scale").to(at::kHalf).reshape(shape);
  code.zero_points = read_tensor(files, path + ".zero").to(at::kHalf).reshape(shape);
  code.nbits = layout.nbits;
  code.group_size = group;
  code.axis = layout.axis;
  code.packing = scalar::CodePacking::kHqq;
  return code;
}

scalar::ScalarCode read_own(const checkpoint::Checkpoint& files, const checkpoint::ScalarLayout& layout,
                            const std::string& path, int64_t in) {
  scalar::ScalarCode code;
  code.nbits = layout.nbits;
  code.group_size = layout.group_size;
  code.symmetric = layout.symmetric;
  code.axis = layout.axis;
  code.packing = layout.integer_zero_points ? scalar::CodePacking::kInt32Stream : scalar::CodePacking::kHqq;
  code.codes = scalar::unpack_rows(read_tensor(files, path + ".packed_codes"), layout.nbits, in);
  code.scales = read_tensor(files, path + ".scales").to(at::kHalf);
  code.zero_points = layout.symmetric ? at::full_like(code.scales, int64_t{1} << (layout.nbits - 1)).to(at::kByte)
                                      : read_tensor(files, path + ".zero_points");
  if (files.find(path + ".g_idx") != nullptr) set_groups(code, read_tensor(files, path + ".g_idx"), path);
  return code;
}

}  // namespace

at::Tensor pack_awq(const at::Tensor& codes) {
  at::Tensor ordered = at::empty_like(codes);
  for (size_t i = 0; i < kAwqOrder.size(); ++i) {
    ordered.slice(1, static_cast<int64_t>(i), codes.size(1), 8).copy_(codes.slice(1, kAwqOrder[i], codes.size(1), 8));
  }
  return scalar::pack_rows(ordered, 4);
}

at::Tensor unpack_awq(const at::Tensor& words) {
  const at::Tensor ordered = scalar::unpack_rows(words, 4, words.size(1) * 8);
  at::Tensor codes = at::empty_like(ordered);
  for (size_t i = 0; i < kAwqOrder.size(); ++i) {
    codes.slice(1, kAwqOrder[i], codes.size(1), 8).copy_(ordered.slice(1, static_cast<int64_t>(i), codes.size(1), 8));
  }
  return codes;
}

at::Tensor pack_hqq(const at::Tensor& codes, int64_t nbits) {
  if (nbits > 4) return codes.to(at::kByte);
  const int64_t parts = nbits == 3 ? 10 : 8 / nbits;
  const int64_t step = (codes.size(0) + parts - 1) / parts;
  at::Tensor wide = at::zeros({step * parts, codes.size(1)}, at::kInt);
  wide.slice(0, 0, codes.size(0)).copy_(codes);
  at::Tensor packed = at::zeros({step, codes.size(1)}, at::kInt);
  for (int64_t part = 0; part < parts; ++part) {
    const at::Tensor field = wide.slice(0, part * step, (part + 1) * step);
    packed.bitwise_or_(field.mul(int64_t{1} << (nbits * (parts - 1 - part))));
  }
  return nbits == 3 ? packed : packed.to(at::kByte);
}

at::Tensor unpack_hqq(const at::Tensor& packed, int64_t nbits, int64_t rows) {
  if (nbits > 4) return packed.to(at::kByte);
  const int64_t parts = nbits == 3 ? 10 : 8 / nbits;
  const at::Tensor wide = packed.to(at::kInt);
  std::vector<at::Tensor> fields;
  for (int64_t part = 0; part < parts; ++part) {
    fields.push_back(wide.bitwise_right_shift(at::Scalar(nbits * (parts - 1 - part))).bitwise_and((1 << nbits) - 1));
  }
  return at::cat(fields, 0).slice(0, 0, rows).to(at::kByte).contiguous();
}

std::shared_ptr<quant::Weight> read_quantised(const checkpoint::Checkpoint& files,
                                              const checkpoint::ModelConfig& config, const std::string& path,
                                              const std::vector<int64_t>& shape, at::Device device) {
  const auto own = config.own.find(path);
  if (own != config.own.end() && own->second.additive) {
    return read_additive(files, *own->second.additive, path, device);
  }
  if (config.aqlm && files.find(path + ".codes") != nullptr) return read_additive(files, *config.aqlm, path, device);
  scalar::ScalarCode code;
  std::string method;
  if (own != config.own.end()) {
    method = own->second.scalar->method;
    code = read_own(files, *own->second.scalar, path, shape[1]);
  } else if (config.scalar && files.find(path + ".qweight") != nullptr) {
    method = config.scalar->method;
    code = method == "gptq" ? read_gptq(files, *config.scalar, path) : read_awq(files, *config.scalar, path);
  } else if (config.scalar && files.find(path + ".W_q") != nullptr) {
    method = config.scalar->method;
    code = read_hqq(files, *config.scalar, path, shape[0], shape[1]);
  } else {
    return nullptr;
  }
  check_finite(code.scales, path + " scales");
  if (code.zero_points.is_floating_point()) check_finite(code.zero_points, path + " zero points");
  return scalar::ScalarWeight(std::move(code), method).to(device);
}

}  // namespace aqlm_exp::model
