#include "kernels/decode/sample.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace aqlm_exp::decode {
namespace {

constexpr float kOne = 4294967296.0F;  // 2^32: the weight of the largest logit

void penalise(float penalty, int64_t vocab_size, float* logits, const uint8_t* seen) {
  for (int64_t i = 0; i < vocab_size; ++i) {
    if (seen[i] != 0) logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
  }
}

/// The largest logit t such that the tokens with logit >= t weigh at least `share` of all that weigh anything.
float nucleus_edge(double share, const float* logits, const std::vector<uint64_t>& weights) {
  std::vector<int64_t> order;
  uint64_t total = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    order.push_back(static_cast<int64_t>(i));
    total += weights[i];
  }
  const auto need = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(total))));
  // Most of the weight sits on few tokens: order only as many as are needed.
  const auto larger = [&](int64_t a, int64_t b) { return logits[a] > logits[b]; };
  uint64_t sum = 0;
  for (size_t done = 0, count = 64; done < order.size(); done = count, count *= 4) {
    count = std::min(count, order.size());
    std::partial_sort(order.begin() + static_cast<std::ptrdiff_t>(done),
                      order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), larger);
    for (size_t i = done; i < count; ++i) {
      sum += weights[static_cast<size_t>(order[i])];
      if (sum >= need) return logits[order[i]];
    }
  }
  return -INFINITY;
}

}  // namespace

std::vector<uint64_t> sample_weights_ref(const SampleParams& params, int64_t vocab_size, float* logits,
                                         const uint8_t* seen) {
  if (seen != nullptr && params.repetition_penalty != 1.0F) {
    penalise(params.repetition_penalty, vocab_size, logits, seen);
  }
  int64_t best = -1;
  for (int64_t i = 0; i < vocab_size; ++i) {
    if (!std::isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) best = i;
  }
  if (best < 0 || std::isinf(logits[best])) return {};
  std::vector<uint64_t> weights(static_cast<size_t>(vocab_size), 0);
  if (params.temperature <= 0) {
    weights[static_cast<size_t>(best)] = uint64_t{1} << 32;
    return weights;
  }
  const float largest = logits[best], inverse = 1.0F / params.temperature;
  float edge = -INFINITY;
  if (params.top_k > 0 && params.top_k < vocab_size) {
    std::vector<float> sorted(logits, logits + vocab_size);
    std::replace_if(
        sorted.begin(), sorted.end(), [](float x) { return std::isnan(x); }, -INFINITY);
    std::nth_element(sorted.begin(), sorted.begin() + (params.top_k - 1), sorted.end(), std::greater<>());
    edge = sorted[static_cast<size_t>(params.top_k - 1)];
  }
  for (int64_t i = 0; i < vocab_size; ++i) {
    if (!(logits[i] >= edge)) continue;
    weights[static_cast<size_t>(i)] = static_cast<uint64_t>(std::exp((logits[i] - largest) * inverse) * kOne);
  }
  if (params.top_p < 1.0F) {
    edge = nucleus_edge(static_cast<double>(params.top_p), logits, weights);
    for (int64_t i = 0; i < vocab_size; ++i) {
      if (!(logits[i] >= edge)) weights[static_cast<size_t>(i)] = 0;
    }
  }
  if (params.min_p > 0) {
    const auto least = static_cast<uint64_t>(params.min_p * kOne);
    for (uint64_t& weight : weights) {
      if (weight < least) weight = 0;
    }
  }
  return weights;
}

int64_t sample_ref(const SampleParams& params, int64_t vocab_size, float* logits, const uint8_t* seen, double uniform) {
  const std::vector<uint64_t> weights = sample_weights_ref(params, vocab_size, logits, seen);
  if (weights.empty()) return -1;
  uint64_t total = 0;
  for (const uint64_t weight : weights) total += weight;
  auto target = static_cast<uint64_t>(uniform * static_cast<double>(total));
  target = std::min(target, total - 1);  // the product may round up to the total
  uint64_t sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum > target) return static_cast<int64_t>(i);
  }
  return -1;  // unreachable: the weights sum to more than target
}

}  // namespace aqlm_exp::decode
