#include "framework/scalar/blockwise4.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {
namespace {

constexpr int64_t kMaximaBlock = 256;  // functional.py: quantize_blockwise(absmax - offset, blocksize=256)
constexpr double kSmallest = 1e-38;    // an all-zero block is divided by this

/// Code of the value nearest to each x; halfway goes to the smaller one (the kernels ask "x > midpoint").
/// @param values what codes stand for, any order
at::Tensor nearest_code(const at::Tensor& x, const std::vector<float>& values) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] < values[static_cast<size_t>(b)];
  });
  std::vector<float> midpoints;
  for (size_t i = 1; i < order.size(); ++i) {
    midpoints.push_back((values[static_cast<size_t>(order[i - 1])] + values[static_cast<size_t>(order[i])]) / 2);
  }
  const at::Tensor bounds = at::tensor(midpoints, at::kFloat).to(x.device());
  const at::Tensor code_of_rank = at::tensor(order, at::kLong).to(x.device(), at::kByte);
  return code_of_rank.index_select(0, at::bucketize(x.flatten(), bounds)).reshape(x.sizes());
}

/// x as [blocks, size]; the last block is filled up with zeros, which change no maximum.
at::Tensor in_blocks(const at::Tensor& x, int64_t size) {
  const at::Tensor flat = x.flatten();
  const int64_t missing = (size - flat.numel() % size) % size;
  return (missing == 0 ? flat : at::cat({flat, at::zeros({missing}, flat.options())})).reshape({-1, size});
}

struct Blocks {
  at::Tensor relative;  // [number of elements] in [-1, 1]
  at::Tensor maxima;    // [num_blocks]
};

Blocks divide_by_maxima(const at::Tensor& x, int64_t size) {
  const at::Tensor blocks = in_blocks(x, size);
  const at::Tensor maxima = blocks.abs().amax(1);
  const at::Tensor relative = (blocks * at::reciprocal(maxima.clamp_min(kSmallest)).unsqueeze(1)).clamp(-1, 1);
  return {relative.flatten().slice(0, 0, x.numel()), maxima};
}

std::vector<float> dynamic_map_values() {
  std::vector<float> values = {0.0f, 1.0f};
  for (int64_t i = 0; i < 7; ++i) {
    const at::Tensor bounds = at::linspace(0.1, 1.0, (int64_t{1} << i) + 1, at::kFloat);
    const at::Tensor means = (bounds.slice(0, 0, -1) + bounds.slice(0, 1)) / 2.0;
    const double power = std::pow(10.0, static_cast<double>(i - 6));
    const at::Tensor scaled = means * power;
    for (int64_t k = 0; k < scaled.size(0); ++k) {
      values.push_back(scaled[k].item<float>());
      values.push_back(-scaled[k].item<float>());
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

const std::array<float, 16>& table4_values(Table4 table) {
  static const std::array<float, 16> nf4 = {-1.0f,
                                            -0.6961928009986877f,
                                            -0.5250730514526367f,
                                            -0.39491748809814453f,
                                            -0.28444138169288635f,
                                            -0.18477343022823334f,
                                            -0.09105003625154495f,
                                            0.0f,
                                            0.07958029955625534f,
                                            0.16093020141124725f,
                                            0.24611230194568634f,
                                            0.33791524171829224f,
                                            0.44070982933044434f,
                                            0.5626170039176941f,
                                            0.7229568362236023f,
                                            1.0f};
  static const std::array<float, 16> fp4 = [] {
    const float magnitudes[8] = {0.0f, 0.0625f, 8.0f, 12.0f, 4.0f, 6.0f, 2.0f, 3.0f};  // in the order of the codes
    std::array<float, 16> values{};
    for (size_t i = 0; i < 8; ++i) {
      values[i] = magnitudes[i] / 12.0f;
      values[i + 8] = -values[i];
    }
    return values;
  }();
  return table == Table4::kNf4 ? nf4 : fp4;
}

at::Tensor dynamic_map8() {
  static const std::vector<float> values = dynamic_map_values();
  return at::tensor(values, at::kFloat);
}

Blockwise4Weight::Blockwise4Weight(const at::Tensor& weight, const Blockwise4Options& options) : options_(options) {
  check_weight("blockwise4", weight);
  const int64_t size = options.block_size;
  if (size < 32 || size > 4096 || (size & (size - 1)) != 0) {
    throw ConfigError(fmt::format("[blockwise4] quant.group_size: got {}, need 32, 64, 128, ... or 4096", size));
  }
  const Blocks blocks = divide_by_maxima(weight.detach().to(at::kFloat), size);
  const auto& table = table4_values(options.table);
  codes_ = nearest_code(blocks.relative, {table.begin(), table.end()}).reshape(weight.sizes());
  if (!options.double_quantise) {
    maxima_ = blocks.maxima;
    return;
  }
  maxima_mean_ = blocks.maxima.mean();
  const Blocks deviations = divide_by_maxima(blocks.maxima - maxima_mean_, kMaximaBlock);
  maxima_codes_ = nearest_code(deviations.relative, dynamic_map_values());
  maxima_scale_ = deviations.maxima;
}

at::Tensor Blockwise4Weight::block_maxima() const {
  if (!options_.double_quantise) return maxima_;
  const at::Tensor relative = dynamic_map8().to(maxima_codes_.device()).index_select(0, maxima_codes_.to(at::kLong));
  const at::Tensor scales = maxima_scale_.repeat_interleave(kMaximaBlock).slice(0, 0, relative.numel());
  return relative * scales + maxima_mean_;
}

at::Tensor Blockwise4Weight::dequantise() const {
  const auto& table = table4_values(options_.table);
  const at::Tensor values = at::tensor(std::vector<float>(table.begin(), table.end()), at::kFloat).to(codes_.device());
  const at::Tensor relative = values.index_select(0, codes_.flatten().to(at::kLong));
  const at::Tensor maxima = block_maxima().repeat_interleave(options_.block_size).slice(0, 0, relative.numel());
  return (relative * maxima).reshape(codes_.sizes());
}

quant::BitCount Blockwise4Weight::bits() const {
  quant::BitCount bits{.num_weights = codes_.numel(), .code_bits = (codes_.numel() + 1) / 2 * 8};
  if (options_.double_quantise) {
    bits.scale_bits = maxima_codes_.numel() * 8 + maxima_scale_.numel() * 32 + 32;
  } else {
    bits.scale_bits = maxima_.numel() * 32;
  }
  return bits;
}

std::string Blockwise4Weight::format() const {
  return fmt::format("{}{} g{}", options_.table == Table4::kNf4 ? "nf4" : "fp4", options_.double_quantise ? "-dq" : "",
                     options_.block_size);
}

std::unique_ptr<quant::Weight> Blockwise4Weight::to(at::Device device) const {
  auto moved = std::make_unique<Blockwise4Weight>(*this);
  for (at::Tensor* tensor :
       {&moved->codes_, &moved->maxima_, &moved->maxima_codes_, &moved->maxima_scale_, &moved->maxima_mean_}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace aqlm_exp::scalar
