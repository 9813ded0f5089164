#include "framework/model/rotary.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include "framework/base/error.h"

namespace aqlm_exp::model {
namespace {

using checkpoint::RopeConfig;
using checkpoint::RopeType;

constexpr int64_t kFirstPositions = 4096;  // tables start at this length and double: 131072 positions cost 128 MiB

/// Everything is computed in float32, step by step as the reference does, so that long positions agree in the last bit.
at::Tensor powers(double base, int64_t dim) {  // [dim / 2]: base^(2i / dim)
  return at::pow(base, at::arange(0, dim, 2, at::TensorOptions().dtype(at::kFloat)) / static_cast<double>(dim));
}

at::Tensor yarn(const RopeConfig& rope, int64_t dim) {
  const auto size = static_cast<double>(dim);
  const auto correction = [&](double rotations) {
    return size *
           std::log(static_cast<double>(rope.original_max_position_embeddings) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = correction(rope.beta_fast), high = correction(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;
  const at::Tensor ramp =
      ((at::arange(dim / 2, at::TensorOptions().dtype(at::kFloat)) - low) / (high - low)).clamp(0, 1);
  const at::Tensor keep = 1 - ramp;
  const at::Tensor power = powers(rope.theta, dim);
  return (rope.factor * power).reciprocal() * (1 - keep) + power.reciprocal() * keep;
}

at::Tensor llama3(const RopeConfig& rope, int64_t dim) {
  const at::Tensor plain = powers(rope.theta, dim).reciprocal();
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  const double low_wavelength = original / rope.low_freq_factor, high_wavelength = original / rope.high_freq_factor;
  const at::Tensor wavelength = 2 * std::numbers::pi / plain;
  const at::Tensor slow = at::where(wavelength > low_wavelength, plain / rope.factor, plain);
  const at::Tensor smooth =
      (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor between = (1 - smooth) * slow / rope.factor + smooth * slow;
  const at::Tensor medium = (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(medium, between, slow);
}

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

double attention_factor(const RopeConfig& rope) {
  if (rope.type != RopeType::kYarn && rope.type != RopeType::kLongRope) return 1.0;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.type == RopeType::kLongRope) {
    return rope.factor <= 1.0 ? 1.0
                              : std::sqrt(1 + std::log(rope.factor) /
                                                  std::log(static_cast<double>(rope.original_max_position_embeddings)));
  }
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
    return yarn_scale(rope.factor, *rope.mscale) / yarn_scale(rope.factor, *rope.mscale_all_dim);
  }
  return yarn_scale(rope.factor, 1.0);
}

RopeConfig plain_rope(double theta) {
  RopeConfig rope;
  rope.theta = theta;
  return rope;
}

int64_t position_limit(const RopeConfig& rope, int64_t max_position_embeddings) {
  if (rope.type == RopeType::kDefault) return max_position_embeddings;
  const int64_t original =
      rope.original_max_position_embeddings > 0 ? rope.original_max_position_embeddings : max_position_embeddings;
  return std::max(max_position_embeddings,
                  static_cast<int64_t>(std::ceil(rope.factor * static_cast<double>(original))));
}

}  // namespace

struct RotaryEmbedding::Cache {
  std::mutex mutex;
  struct Entry {
    int64_t key = -1;  // which set of frequencies
    at::Tensor cosines, sines;
  };
  Entry entries[2];  // [0] for short calls, [1] for the last kind of long one
};

RotaryEmbedding::RotaryEmbedding(int64_t head_dim, double theta, int64_t num_positions, at::Device device)
    : RotaryEmbedding(plain_rope(theta), head_dim, num_positions, device) {}

RotaryEmbedding::RotaryEmbedding(const checkpoint::RopeConfig& rope, int64_t head_dim, int64_t max_position_embeddings,
                                 at::Device device)
    : rope_(rope),
      rotary_dim_(static_cast<int64_t>(static_cast<double>(head_dim) * rope.partial_rotary_factor)),
      max_position_embeddings_(max_position_embeddings),
      num_positions_(position_limit(rope, max_position_embeddings)),
      attention_factor_(attention_factor(rope)),
      device_(device),
      cache_(std::make_unique<Cache>()) {}

RotaryEmbedding::~RotaryEmbedding() = default;

at::Tensor RotaryEmbedding::inverse_frequencies(int64_t length) const {
  switch (rope_.type) {
    case RopeType::kLinear:
      return powers(rope_.theta, rotary_dim_).reciprocal() / rope_.factor;
    case RopeType::kDynamic: {
      if (length <= max_position_embeddings_) break;
      const auto dim = static_cast<double>(rotary_dim_);
      const double stretch =
          rope_.factor * static_cast<double>(length) / static_cast<double>(max_position_embeddings_) -
          (rope_.factor - 1);
      return powers(rope_.theta * std::pow(stretch, dim / (dim - 2)), rotary_dim_).reciprocal();
    }
    case RopeType::kYarn:
      return yarn(rope_, rotary_dim_);
    case RopeType::kLlama3:
      return llama3(rope_, rotary_dim_);
    case RopeType::kLongRope: {
      const auto& factors = length > rope_.original_max_position_embeddings ? rope_.long_factor : rope_.short_factor;
      const at::Tensor divisors = at::tensor(factors, at::TensorOptions().dtype(at::kFloat));
      return (divisors * powers(rope_.theta, rotary_dim_)).reciprocal();
    }
    case RopeType::kDefault:
      break;
  }
  return powers(rope_.theta, rotary_dim_).reciprocal();
}

std::pair<at::Tensor, at::Tensor> RotaryEmbedding::tables(int64_t length) const {
  int64_t key = 0;  // which frequencies a call of this length uses
  if (rope_.type == RopeType::kDynamic && length > max_position_embeddings_) key = length;
  if (rope_.type == RopeType::kLongRope && length > rope_.original_max_position_embeddings) key = 1;
  const std::lock_guard lock(cache_->mutex);
  Cache::Entry& entry = cache_->entries[key == 0 ? 0 : 1];
  if (entry.key != key || entry.cosines.size(0) < length) {
    const c10::NoGradGuard no_grad;
    int64_t positions = length;
    if (rope_.type != RopeType::kDynamic || key == 0) {
      const int64_t held = entry.key == key ? entry.cosines.size(0) : 0;
      positions = std::max(length, std::min(std::max(kFirstPositions, 2 * held), num_positions_));
    }
    const at::Tensor angles =
        at::outer(at::arange(positions, at::TensorOptions().dtype(at::kFloat)), inverse_frequencies(length));
    const at::Tensor doubled = at::cat({angles, angles}, 1);  // [positions, rotary_dim]
    entry.cosines = (doubled.cos() * attention_factor_).to(device_);
    entry.sines = (doubled.sin() * attention_factor_).to(device_);
    entry.key = key;
  }
  return {entry.cosines, entry.sines};
}

at::Tensor RotaryEmbedding::apply(const at::Tensor& x, int64_t start) const {
  const int64_t end = start + x.size(2);
  if (end > num_positions()) {
    throw DataError(fmt::format("[rotary] position {}: the model has {} positions; use shorter sequences", end - 1,
                                num_positions()));
  }
  const auto [cosines, sines] = tables(end);
  return rotate(x, cosines.slice(0, start, end), sines.slice(0, start, end));
}

at::Tensor RotaryEmbedding::apply_rows(const at::Tensor& x, const at::Tensor& positions, int64_t length) const {
  if (length > num_positions()) {
    throw DataError(fmt::format("[rotary] position {}: the model has {} positions; use shorter sequences", length - 1,
                                num_positions()));
  }
  const auto [cosines, sines] = tables(length);
  const std::vector<int64_t> size = {positions.size(0), 1, 1, rotary_dim_};
  return rotate(x, cosines.index_select(0, positions).view(size), sines.index_select(0, positions).view(size));
}

at::Tensor RotaryEmbedding::rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) const {
  const bool partial = rotary_dim_ < x.size(-1);
  const at::Tensor turned = partial ? x.slice(-1, 0, rotary_dim_) : x;
  const auto halves = turned.chunk(2, -1);
  const at::Tensor rotated =
      turned * cosine.to(x.scalar_type()) + at::cat({-halves[1], halves[0]}, -1) * sine.to(x.scalar_type());
  return partial ? at::cat({rotated, x.slice(-1, rotary_dim_)}, -1) : rotated;
}

}  // namespace aqlm_exp::model
