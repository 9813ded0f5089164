// Perplexity conventions by name: the same model and text give quite different numbers under different ones, so a
// number never travels without its convention.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/reader.h"

namespace aqlm_exp::eval {

/// Known names:
/// `gptq`: one tokenisation of the whole text, windows of seq_len without overlap, the tail is dropped; a window's
/// seq_len − 1 predictions are averaged, then windows, then exp. Source: IST-DASLab/gptq; also AWQ, AQLM, QuIP#.
/// `llamacpp`: windows of seq_len without overlap, the first token replaced by BOS where the tokenizer adds one; only
/// the predictions made in the second half of a window count, each alike. Source: ggml-org/llama.cpp tools/perplexity.
/// `hqq`: every token of the text is predicted once, `stride` at a time, behind up to seq_len − stride tokens of
/// context; a step's mean loss counts as often as it has tokens. Source: mobiusml/hqq, examples/llama2_benchmark.
/// `word`: documents, detokenised as lm-evaluation-harness detokenises WikiText-2, every token predicted, behind BOS
/// or else EOS; divided by the words of the raw document. Source: EleutherAI/lm-evaluation-harness, task wikitext.
struct Convention {
  std::string name = "gptq";
  int64_t seq_len = 2048;   ///< tokens in a window
  int64_t stride = 2048;    ///< tokens between window starts
  int64_t max_windows = 0;  ///< 0: all
  /// "gptq-1024 first-24", "hqq-1024/512": what tables print and what must agree before two numbers are compared.
  std::string tag() const;
  /// The tag as a name in a result: "gptq_1024_first_24".
  std::string slug() const;
  /// One sentence: window, stride, BOS rule, scored tokens, mean.
  std::string description() const;
  bool operator==(const Convention&) const = default;
};

/// Reads a tag: "gptq-2048", "llamacpp-512", "hqq-1024/512", "word-2048", each with " first-N" behind it where only N
/// windows count. @throws ConfigError naming the known ones
Convention convention_from_tag(std::string_view tag);

/// Keys convention (a name), seq_len, max_windows. The stride of `hqq` is half of seq_len.
Convention read_convention(config::Reader& in);
/// Key also: list of tags; the same text is scored under each. @throws ConfigError for a tag named twice
std::vector<Convention> read_further_conventions(config::Reader& in, const Convention& first);

/// @throws DataError unless both numbers were made under one convention: they cannot be compared
void require_same_convention(std::string_view tag_a, std::string_view tag_b);

/// Start of each window without overlap in a text of num_tokens (gptq, llamacpp).
/// @throws DataError if not even one fits
std::vector<int64_t> window_starts(const Convention& convention, int64_t num_tokens);

}  // namespace aqlm_exp::eval
