// A text as the windows of a convention: what the model reads, which tokens are scored, how much each window counts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/eval/convention.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::eval {

struct Window {
  at::Tensor ids;             ///< [tokens] int64
  int64_t first_target = 1;   ///< tokens from here on are scored, each predicted from all before it in the window
  int64_t last_position = 0;  ///< distributions are compared from position first_target − 1 to this one, inclusive
  double weight = 1;          ///< of the mean loss of the scored tokens in the log-perplexity
  int64_t document = 0;

  int64_t num_targets() const { return ids.size(0) - first_target; }
  int64_t num_positions() const { return last_position - first_target + 2; }
};

struct WindowSet {
  Convention convention;
  std::vector<Window> windows;
  /// log-perplexity = Σ over windows of weight · mean loss / divisor
  double divisor = 1;
  std::optional<int64_t> num_bytes;  ///< of the documents (word), for bits per byte

  int64_t num_positions() const;  ///< of all windows
};

/// A text as conventions need it. `ids` are one tokenisation of all of it, with the special tokens that the tokenizer's
/// post-processor adds; documents are cut and tokenized only where `word` is among the conventions.
struct EvalText {
  std::filesystem::path path;
  std::vector<int32_t> ids;
  std::optional<int32_t> bos;  ///< the token that the tokenizer puts in front of a text
  std::string text_sha256, ids_sha256;

  struct Document {
    std::vector<int32_t> ids;  ///< of the detokenised text
    int64_t num_words = 0;     ///< of the raw text: pieces between runs of white space
    int64_t num_bytes = 0;     ///< of the raw text
  };
  std::vector<Document> documents;
  int32_t prefix = -1;  ///< in front of each document: BOS, else EOS; −1 if documents were not asked for
};

/// From tokens that were made with special tokens. @param tokenizer  asked for only where a convention needs it
/// @param model_folder  tokenizer_config.json and config.json name BOS and EOS for `word`
/// @throws DataError if `word` is asked for and the model names neither BOS nor EOS
EvalText make_eval_text(text::TextSet set, const std::function<const text::Tokenizer&()>& tokenizer,
                        const std::filesystem::path& model_folder, std::span<const Convention> conventions);
/// Reads and tokenizes a text.
/// @throws DataError as text::load_text_set and make_eval_text
EvalText load_eval_text(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                        const std::filesystem::path& model_folder, std::span<const Convention> conventions);

/// BOS, or else EOS, as transformers would take them for the model: what stands before a text that has nothing before
/// it.
/// @throws DataError if the model names neither
int32_t prefix_token(const std::filesystem::path& model_folder, const text::Tokenizer& tokenizer);

/// @throws DataError if the text is too short for one window
WindowSet make_window_set(const EvalText& text, const Convention& convention, at::Device device);

/// The windows of `ids` under `gptq`, each [seq_len] int64 on `device`.
std::vector<at::Tensor> make_windows(std::span<const int32_t> ids, const Convention& convention, at::Device device);
/// The same as a set. @param windows  each [tokens] int64, all predictions of a window scored
WindowSet window_set_of(const std::vector<at::Tensor>& windows, const Convention& convention = {});

}  // namespace aqlm_exp::eval
