// What a generating model offers: sequences side by side, fed with tokens, asked for the next one of each.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/generate/sampling.h"
#include "framework/model/model.h"

namespace aqlm_exp::generate {

struct DecoderOptions {
  int64_t batch = 1;
  int64_t capacity = 2048;  ///< tokens that a sequence may have, prompt and answer together
  /// On a GPU: the whole step as a CUDA graph with fused kernels, where the model is of a kind that they know.
  bool cuda_graph = true;
};

class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Appends tokens to a sequence and computes what follows them. Sequences may have different lengths.
  /// @throws DataError if they do not fit the capacity, or are none
  virtual void feed(int64_t sequence, std::span<const int32_t> tokens) = 0;
  /// Starts answers, one for each sequence, all of which have been fed: `next` then chooses up to `max_tokens` times.
  /// @param sampling one a sequence
  /// @param context  the tokens of each sequence that a repetition penalty counts; may be empty
  virtual void start(std::span<const SamplingOptions> sampling, std::span<const std::vector<int32_t>> context,
                     int64_t max_tokens) = 0;
  /// The next token of each sequence, which joins it. @throws NumericalError if logits are not numbers
  virtual std::vector<int32_t> next() = 0;

  /// Tokens whose keys and values are held: all that were fed, and all that next() gave but the last one.
  virtual int64_t num_tokens(int64_t sequence) const = 0;
  /// Forgets all but the first `num_tokens`. What follows must be fed again before `start`.
  virtual void truncate(int64_t sequence, int64_t num_tokens) = 0;
  /// Waits until the device has done everything asked of it.
  virtual void finish() = 0;

  virtual int64_t capacity() const = 0;
  virtual int64_t batch() const = 0;
  /// What runs a step: "eager", "CUDA graph, ...".
  virtual std::string description() const = 0;
};

/// @param model must outlive the decoder, and may get its separate q/k/v and gate/up matrices stored as one
/// @throws DataError if the capacity is beyond the model's positions
std::unique_ptr<Decoder> make_decoder(const model::Model& model, const DecoderOptions& options);

}  // namespace aqlm_exp::generate
