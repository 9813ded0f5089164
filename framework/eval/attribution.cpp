#include "framework/eval/attribution.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/eval/evaluate.h"

namespace aqlm_exp::eval {
namespace {

/// A block of the original with one part taken from the quantised model.
struct Part {
  Swap swap;
  model::DecoderBlock block;
};

/// Weights are dequantised once here, not in every forward.
void make_dense(model::Linear& linear) {
  linear.weight = std::make_shared<quant::DenseWeight>(linear.weight->dequantise().detach());
  linear.op.reset();
}

std::vector<Part> make_parts(const model::DecoderBlock& original, const model::DecoderBlock& quantised, int64_t index,
                             SwapUnit unit) {
  std::vector<Part> parts;
  if (unit == SwapUnit::kBlock) {
    bool touched = false;
    for (const model::Linear* linear : quantised.linears()) touched = touched || linear->weight->is_quantised();
    if (!touched) return parts;
    Part part{{quantised.name, "block", index, 0}, quantised};
    for (model::Linear* linear : part.block.linears()) {
      linear->observer = nullptr;
      if (linear->weight->needed_backend().empty()) make_dense(*linear);
    }
    parts.push_back(std::move(part));
    return parts;
  }
  const std::vector<const model::Linear*> from = quantised.linears();
  for (size_t i = 0; i < from.size(); ++i) {
    if (!from[i]->weight->is_quantised()) continue;
    Part part{{from[i]->name, from[i]->role, index, 0}, original};
    model::Linear& linear = *part.block.linears()[i];
    linear = *from[i];
    linear.observer = nullptr;
    if (linear.weight->needed_backend().empty()) make_dense(linear);
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace

std::vector<Swap> swap_attribution(const model::Model& original, const model::Model& quantised, const WindowSet& set,
                                   SwapUnit unit) {
  const c10::NoGradGuard no_grad;
  if (original.blocks.size() != quantised.blocks.size()) {
    throw InternalError(
        fmt::format("[attribution] models of {} and {} blocks", original.blocks.size(), quantised.blocks.size()));
  }
  std::vector<double> sums;
  std::vector<Swap> swaps;
  std::vector<std::vector<size_t>> of_block(original.blocks.size());  // indices into swaps
  for (size_t b = 0; b < original.blocks.size(); ++b) {
    for (const Part& part : make_parts(original.blocks[b], quantised.blocks[b], static_cast<int64_t>(b), unit)) {
      of_block[b].push_back(swaps.size());
      swaps.push_back(part.swap);
    }
  }
  sums.assign(swaps.size(), 0.0);
  const int64_t step = positions_at_once(original.config.vocab_size);
  const auto num_windows = static_cast<int64_t>(set.windows.size());
  int64_t done = 0;
  for (const Window& window : set.windows) {
    std::vector<at::Tensor> before;  // hidden states in front of each block, and behind the last
    before.push_back(original.embed(window.ids.slice(0, 0, window.last_position + 1).unsqueeze(0)));
    for (const model::DecoderBlock& block : original.blocks) {
      before.push_back(block.forward(before.back(), *original.rotary));
    }
    const int64_t start = window.first_target - 1, count = window.num_positions();
    // Distributions of the original, kept for all parts while they fit what is held at once.
    std::vector<at::Tensor> log_p;
    const auto original_at = [&](int64_t first) {
      const int64_t end = std::min(first + step, count);
      return at::log_softmax(original.logits(before.back().squeeze(0).slice(0, start + first, start + end)), -1);
    };
    if (count <= 8 * step) {
      for (int64_t first = 0; first < count; first += step) log_p.push_back(original_at(first));
    }
    for (size_t b = 0; b < original.blocks.size(); ++b) {
      if (of_block[b].empty()) continue;
      const std::vector<Part> parts =
          make_parts(original.blocks[b], quantised.blocks[b], static_cast<int64_t>(b), unit);
      for (size_t p = 0; p < parts.size(); ++p) {
        at::Tensor hidden = parts[p].block.forward(before[b], *original.rotary);
        for (size_t rest = b + 1; rest < original.blocks.size(); ++rest) {
          hidden = original.blocks[rest].forward(hidden, *original.rotary);
        }
        hidden = hidden.squeeze(0);
        double sum = 0;
        for (int64_t first = 0; first < count; first += step) {
          const int64_t end = std::min(first + step, count);
          const at::Tensor log_q = at::log_softmax(original.logits(hidden.slice(0, start + first, start + end)), -1);
          const at::Tensor reference = log_p.empty() ? original_at(first) : log_p[static_cast<size_t>(first / step)];
          sum += kl_divergence(reference, log_q).sum().item<double>();
        }
        sums[of_block[b][p]] += sum / static_cast<double>(count);
      }
    }
    report_progress("attribution", ++done, num_windows);
  }
  for (size_t i = 0; i < swaps.size(); ++i) swaps[i].kl = sums[i] / static_cast<double>(num_windows);
  return swaps;
}

}  // namespace aqlm_exp::eval
