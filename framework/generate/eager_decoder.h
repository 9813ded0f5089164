// Decoding through the model's own forward pass, operator by operator: any model, any device.
#pragma once

#include <optional>

#include "framework/generate/decoder.h"

namespace aqlm_exp::generate {

class EagerDecoder : public Decoder {
 public:
  EagerDecoder(const model::Model& model, const DecoderOptions& options);

  void feed(int64_t sequence, std::span<const int32_t> tokens) override;
  void start(std::span<const SamplingOptions> sampling, std::span<const std::vector<int32_t>> context,
             int64_t max_tokens) override;
  std::vector<int32_t> next() override;
  int64_t num_tokens(int64_t sequence) const override { return lengths_[static_cast<size_t>(sequence)]; }
  void truncate(int64_t sequence, int64_t num_tokens) override;
  void finish() override;
  int64_t capacity() const override { return cache_.capacity; }
  int64_t batch() const override { return options_.batch; }
  std::string description() const override { return "eager"; }

 protected:
  const model::Model& model_;
  DecoderOptions options_;
  model::KvCache cache_;
  std::vector<int64_t> lengths_;     // tokens of each sequence in the cache
  std::vector<at::Tensor> pending_;  // logits [vocab_size] float32 behind each sequence's last token; undefined: none

 private:
  std::vector<Sampler> samplers_;
  std::vector<int32_t> chosen_;  // given by next() and not yet in the cache
};

}  // namespace aqlm_exp::generate
