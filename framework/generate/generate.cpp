#include "framework/generate/generate.h"

#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/timer.h"

namespace aqlm_exp::generate {
namespace {

bool ends(const GenerateOptions& options, int32_t token) {
  return std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end();
}

/// Everything after the prompts were fed. `answers` has one entry a sequence.
void answer_all(Decoder& decoder, std::span<const std::vector<int32_t>> context, const GenerateOptions& options,
                const Listener& listener, const Stopwatch& since_prompt, std::vector<Answer>& answers) {
  int64_t longest = 0;
  for (int64_t i = 0; i < decoder.batch(); ++i) longest = std::max(longest, decoder.num_tokens(i));
  // The last token of an answer need not enter the cache, but the decoder may put it there.
  const int64_t room = decoder.capacity() - longest;
  const int64_t most = std::min(options.max_new_tokens, room);
  std::vector<bool> done(answers.size(), false);
  if (most <= 0) {
    for (Answer& answer : answers) {
      answer.reason = options.max_new_tokens <= 0 ? StopReason::kMaxTokens : StopReason::kContextFull;
    }
    return;
  }
  std::vector<SamplingOptions> sampling(answers.size(), options.sampling);
  for (size_t i = 0; i < sampling.size(); ++i) sampling[i].seed += i;
  decoder.start(sampling, context, most);
  double first_s = 0;
  for (int64_t made = 0; made < most; ++made) {
    const std::vector<int32_t> tokens = decoder.next();
    if (made == 0) first_s = since_prompt.elapsed_s();
    bool all_done = true;
    for (size_t i = 0; i < answers.size(); ++i) {
      if (done[i]) continue;
      if (ends(options, tokens[i])) {
        answers[i].reason = StopReason::kStopToken;
        done[i] = true;
        continue;
      }
      answers[i].tokens.push_back(tokens[i]);
      if (listener && !listener(static_cast<int64_t>(i), tokens[i])) {
        answers[i].reason = StopReason::kInterrupted;
        done[i] = true;
        continue;
      }
      all_done = false;
    }
    if (all_done) break;
  }
  const double all_s = since_prompt.elapsed_s();
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].prefill_s = first_s;
    answers[i].decode_s = all_s - first_s;
    if (!done[i])
      answers[i].reason = most == options.max_new_tokens ? StopReason::kMaxTokens : StopReason::kContextFull;
  }
}

}  // namespace

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kMaxTokens:
      return "max_tokens";
    case StopReason::kStopToken:
      return "stop_token";
    case StopReason::kContextFull:
      return "context_full";
    case StopReason::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

double Answer::prefill_tokens_per_s() const {
  return prefill_s > 0 ? static_cast<double>(prompt_tokens) / prefill_s : 0.0;
}
double Answer::decode_tokens_per_s() const {
  return decode_s > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / decode_s : 0.0;
}

std::vector<Answer> generate(Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                             const GenerateOptions& options, const Listener& listener) {
  if (static_cast<int64_t>(prompts.size()) != decoder.batch()) {
    throw InternalError(fmt::format("[generate] {} prompts for {} sequences", prompts.size(), decoder.batch()));
  }
  const Stopwatch watch;
  std::vector<Answer> answers(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) throw DataError("[generate] the prompt is empty; give at least one token");
    decoder.truncate(static_cast<int64_t>(i), 0);
    decoder.feed(static_cast<int64_t>(i), prompts[i]);
    answers[i].prompt_tokens = static_cast<int64_t>(prompts[i].size());
  }
  answer_all(decoder, prompts, options, listener, watch, answers);
  return answers;
}

Answer continue_text(Decoder& decoder, std::vector<int32_t>& held, std::span<const int32_t> prompt,
                     const GenerateOptions& options, const Listener& listener) {
  if (prompt.empty()) throw DataError("[generate] the prompt is empty; give at least one token");
  const Stopwatch watch;
  size_t common = 0;
  while (common < held.size() && common < prompt.size() && held[common] == prompt[common]) ++common;
  common = std::min(common, prompt.size() - 1);  // the last token is computed anew: its logits choose the next one
  decoder.truncate(0, static_cast<int64_t>(common));
  held.resize(common);
  decoder.feed(0, prompt.subspan(common));
  held.assign(prompt.begin(), prompt.end());
  std::vector<Answer> answers(1);
  answers[0].prompt_tokens = static_cast<int64_t>(prompt.size() - common);
  const std::vector<int32_t> context(prompt.begin(), prompt.end());
  answer_all(decoder, {&context, 1}, options, listener, watch, answers);
  held.insert(held.end(), answers[0].tokens.begin(), answers[0].tokens.end());
  // The last token chosen, and one that ended the answer, may not have been computed yet.
  const auto computed = static_cast<size_t>(decoder.num_tokens(0));
  if (held.size() > computed) held.resize(computed);
  decoder.truncate(0, static_cast<int64_t>(held.size()));
  return std::move(answers[0]);
}

}  // namespace aqlm_exp::generate
