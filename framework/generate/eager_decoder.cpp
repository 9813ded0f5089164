#include "framework/generate/eager_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "kernels/platform/cuda_graph.h"

namespace aqlm_exp::generate {

EagerDecoder::EagerDecoder(const model::Model& model, const DecoderOptions& options)
    : model_(model),
      options_(options),
      lengths_(static_cast<size_t>(options.batch), 0),
      pending_(static_cast<size_t>(options.batch)) {
  const c10::InferenceMode inference;
  cache_ = model.make_cache(options.batch, options.capacity);
}

void EagerDecoder::feed(int64_t sequence, std::span<const int32_t> tokens) {
  if (tokens.empty()) throw DataError("[generate] nothing to feed; give at least one token");
  const c10::InferenceMode inference;
  const auto row = static_cast<size_t>(sequence);
  at::Tensor ids = at::empty({1, static_cast<int64_t>(tokens.size())}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), ids.data_ptr<int64_t>());
  const int64_t largest = ids.max().item<int64_t>(), smallest = ids.min().item<int64_t>();
  if (smallest < 0 || largest >= model_.embedding.size(0)) {
    throw DataError(
        fmt::format("[generate] token id {}: the model has {} tokens; the tokenizer belongs to another model",
                    smallest < 0 ? smallest : largest, model_.embedding.size(0)));
  }
  model::KvCache one = cache_;  // the sequence's rows of the same memory
  if (options_.batch > 1) {
    for (model::LayerCache& layer : one.layers) {
      layer = {layer.keys.slice(0, sequence, sequence + 1), layer.values.slice(0, sequence, sequence + 1)};
    }
  }
  one.num_tokens = lengths_[row];
  const at::Tensor hidden = model_.forward_cached(ids.to(model_.device()), one);
  lengths_[row] = one.num_tokens;
  pending_[row] = model_.logits(hidden.slice(1, -1)).reshape({-1});
}

void EagerDecoder::finish() {
  if (model_.device().is_cuda() && kernels::device_wait() != kernels::Status::kOk) {
    throw InternalError(fmt::format("[generate] waiting for the GPU: {}", kernels::cuda_error_text()));
  }
}

void EagerDecoder::truncate(int64_t sequence, int64_t num_tokens) {
  const auto row = static_cast<size_t>(sequence);
  if (num_tokens < 0 || num_tokens > lengths_[row]) {
    throw InternalError(fmt::format("[generate] truncate to {} of {} tokens", num_tokens, lengths_[row]));
  }
  lengths_[row] = num_tokens;
  pending_[row].reset();
  chosen_.clear();
}

void EagerDecoder::start(std::span<const SamplingOptions> sampling, std::span<const std::vector<int32_t>> context,
                         int64_t) {
  samplers_.clear();
  chosen_.clear();
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (!pending_[i].defined()) throw InternalError("[generate] start: a sequence was not fed");
    samplers_.emplace_back(sampling[i], model_.embedding.size(0));
    if (i < context.size()) samplers_.back().note(context[i]);
  }
}

std::vector<int32_t> EagerDecoder::next() {
  const c10::InferenceMode inference;
  if (!chosen_.empty()) {
    at::Tensor ids = at::empty({options_.batch, 1}, at::kLong);
    std::copy(chosen_.begin(), chosen_.end(), ids.data_ptr<int64_t>());
    const at::Tensor hidden = model_.forward_rows(ids.to(model_.device()), cache_, lengths_);
    for (int64_t& length : lengths_) ++length;
    const at::Tensor logits = model_.logits(hidden).reshape({options_.batch, -1});
    for (size_t i = 0; i < pending_.size(); ++i) pending_[i] = logits[static_cast<int64_t>(i)];
  }
  chosen_.clear();
  for (size_t i = 0; i < pending_.size(); ++i) {
    const at::Tensor logits = pending_[i].to(at::kCPU).contiguous();  // float32; the penalty may change it
    chosen_.push_back(samplers_[i].choose({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())}));
  }
  return chosen_;
}

}  // namespace aqlm_exp::generate
