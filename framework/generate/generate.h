// Answers: prompts in, tokens out, one by one to whoever listens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "framework/generate/decoder.h"

namespace aqlm_exp::generate {

enum class StopReason {
  kMaxTokens,    ///< max_new_tokens were made
  kStopToken,    ///< the model ended its answer
  kContextFull,  ///< the sequence has as many tokens as it may have
  kInterrupted,  ///< the listener said so
};
const char* stop_reason_name(StopReason reason);

struct GenerateOptions {
  int64_t max_new_tokens = 50;
  SamplingOptions sampling;
  std::vector<int32_t> stop_tokens = {};  ///< end an answer and are not part of it
};

struct Answer {
  std::vector<int32_t> tokens;
  StopReason reason = StopReason::kMaxTokens;
  int64_t prompt_tokens = 0;  ///< computed now; those that the decoder held already are not counted
  double prefill_s = 0;       ///< prompt and first token; of all sequences together
  double decode_s = 0;        ///< the tokens after the first; of all sequences together
  double prefill_tokens_per_s() const;
  double decode_tokens_per_s() const;  ///< of this sequence
};

/// Gets each token as it is chosen. @return false to stop this answer
using Listener = std::function<bool(int64_t sequence, int32_t token)>;

/// Feeds each sequence of the decoder with its prompt and answers all of them, one token each a step. With one seed,
/// sequence i draws with seed + i. @param prompts one a sequence of the decoder, none empty
std::vector<Answer> generate(Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                             const GenerateOptions& options, const Listener& listener = {});

/// Answers one prompt; the decoder must have batch 1. Tokens that it holds are reused as far as they are the prompt's.
/// @param held what the decoder holds; afterwards: prompt and answer, as far as they are in the decoder
Answer continue_text(Decoder& decoder, std::vector<int32_t>& held, std::span<const int32_t> prompt,
                     const GenerateOptions& options, const Listener& listener = {});

}  // namespace aqlm_exp::generate
