#include "framework/eval/windows.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/checkpoint/model_config.h"
#include "framework/eval/wikitext.h"
#include "framework/text/chat_template.h"
#include "framework/text/text_set.h"

namespace aqlm_exp::eval {
namespace {

at::Tensor tensor_of(std::span<const int32_t> ids, at::Device device) {
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  return at::tensor(wide, at::kLong).to(device);
}

void add_hqq(WindowSet& set, const EvalText& text, at::Device device) {
  const auto num_tokens = static_cast<int64_t>(text.ids.size());
  const std::span<const int32_t> ids(text.ids);
  const Convention& rule = set.convention;
  for (int64_t start = 0; start < num_tokens; start += rule.stride) {
    if (rule.max_windows > 0 && static_cast<int64_t>(set.windows.size()) == rule.max_windows) break;
    const int64_t end = std::min(start + rule.stride, num_tokens);
    const int64_t begin = std::max<int64_t>(start + rule.stride - rule.seq_len, 0);
    // The very first token of the text has nothing in front of it; a step of one token there has nothing to score.
    const int64_t first_target = std::max<int64_t>(start - begin, 1);
    if (end - begin <= first_target) continue;
    set.windows.push_back(
        {.ids = tensor_of(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), device),
         .first_target = first_target,
         .last_position = end - begin - 2,
         .weight = static_cast<double>(end - start)});
  }
  if (set.windows.empty()) throw DataError(fmt::format("[eval] the text has {} tokens, need at least 2", num_tokens));
  set.divisor = 0;
  for (const Window& window : set.windows) set.divisor += window.weight;
}

void add_llamacpp(WindowSet& set, const EvalText& text, at::Device device) {
  const std::span<const int32_t> ids(text.ids);
  const int64_t seq_len = set.convention.seq_len;
  set.divisor = 0;
  for (const int64_t start : window_starts(set.convention, static_cast<int64_t>(ids.size()))) {
    std::vector<int32_t> tokens(ids.begin() + start, ids.begin() + start + seq_len);
    if (text.bos) tokens.front() = *text.bos;
    const int64_t first_target = seq_len / 2 + 1, num_targets = seq_len - first_target;
    set.windows.push_back({.ids = tensor_of(tokens, device),
                           .first_target = first_target,
                           .last_position = seq_len - 2,
                           .weight = static_cast<double>(num_targets)});
    set.divisor += static_cast<double>(num_targets);
  }
}

void add_word(WindowSet& set, const EvalText& text, at::Device device) {
  if (text.documents.empty()) throw InternalError("[eval] the text was loaded without its documents");
  const int64_t seq_len = set.convention.seq_len;
  int64_t words = 0, bytes = 0;
  for (size_t d = 0; d < text.documents.size(); ++d) {
    if (set.convention.max_windows > 0 && static_cast<int64_t>(set.windows.size()) >= set.convention.max_windows) break;
    const EvalText::Document& document = text.documents[d];
    std::vector<int32_t> ids = {text.prefix};
    ids.insert(ids.end(), document.ids.begin(), document.ids.end());
    // Tokens [begin, end) of the document are scored; ids holds one more in front of each.
    const auto num_tokens = static_cast<int64_t>(document.ids.size());
    for (int64_t begin = 0; begin < num_tokens; begin += seq_len) {
      const int64_t end = std::min(begin + seq_len, num_tokens);
      // A last, short step reaches back for context as far as a full window does.
      const int64_t from = begin == 0 ? 0 : end - seq_len;
      const std::span<const int32_t> span(ids.begin() + from, ids.begin() + end + 1);
      set.windows.push_back({.ids = tensor_of(span, device),
                             .first_target = begin - from + 1,
                             .last_position = end - from - 1,
                             .weight = static_cast<double>(end - begin),
                             .document = static_cast<int64_t>(d)});
    }
    words += document.num_words;
    bytes += document.num_bytes;
  }
  if (set.windows.empty()) throw DataError("[eval] the text's documents hold no tokens");
  set.divisor = static_cast<double>(words);
  set.num_bytes = bytes;
}

}  // namespace

int32_t prefix_token(const std::filesystem::path& folder, const text::Tokenizer& tokenizer) {
  const text::TokenizerConfig config = text::load_tokenizer_config(folder);
  for (const std::string& token : {config.bos_token, config.eos_token}) {
    if (token.empty()) continue;
    const std::vector<int32_t> ids = tokenizer.encode(token);
    if (ids.size() == 1) return ids.front();
  }
  const checkpoint::ModelConfig model = checkpoint::load_model_config(folder);
  for (const auto* ids : {&model.bos_token_ids, &model.eos_token_ids}) {
    if (!ids->empty()) return static_cast<int32_t>(ids->front());
  }
  throw DataError(
      fmt::format("{}: names neither bos_token nor eos_token, which stands before a text with nothing before it; "
                  "add one to tokenizer_config.json",
                  folder.string()));
}

int64_t WindowSet::num_positions() const {
  int64_t count = 0;
  for (const Window& window : windows) count += window.num_positions();
  return count;
}

EvalText make_eval_text(text::TextSet set, const std::function<const text::Tokenizer&()>& tokenizer,
                        const std::filesystem::path& model_folder, std::span<const Convention> conventions) {
  const auto asked_for = [&](const char* name) {
    return std::any_of(conventions.begin(), conventions.end(), [&](const Convention& c) { return c.name == name; });
  };
  EvalText out;
  out.path = set.path;
  out.ids = std::move(set.ids);
  out.text_sha256 = set.text_sha256;
  out.ids_sha256 = set.ids_sha256;
  if (asked_for("llamacpp")) {
    const std::vector<int32_t> plain = tokenizer().encode("a"),
                               dressed = tokenizer().encode("a", {.add_special_tokens = true});
    if (dressed.size() > plain.size() && dressed.front() != plain.front()) out.bos = dressed.front();
  }
  if (asked_for("word")) {
    constexpr uint64_t kMaxTextBytes = 4ULL << 30;
    out.prefix = prefix_token(model_folder, tokenizer());
    for (const std::string& page : split_documents(read_regular_file(out.path, kMaxTextBytes, "X"))) {
      out.documents.push_back({.ids = tokenizer().encode(detokenise_wikitext(page)),
                               .num_words = count_words(page),
                               .num_bytes = static_cast<int64_t>(page.size())});
    }
  }
  return out;
}

EvalText load_eval_text(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                        const std::filesystem::path& model_folder, std::span<const Convention> conventions) {
  return make_eval_text(
      text::load_text_set(path, tokenizer, {.add_special_tokens = true}),
      [&]() -> const text::Tokenizer& { return tokenizer; }, model_folder, conventions);
}

WindowSet make_window_set(const EvalText& text, const Convention& convention, at::Device device) {
  if (convention.name == "gptq") return window_set_of(make_windows(text.ids, convention, device), convention);
  WindowSet set{.convention = convention, .windows = {}, .divisor = 1, .num_bytes = {}};
  if (convention.name == "hqq") add_hqq(set, text, device);
  if (convention.name == "llamacpp") add_llamacpp(set, text, device);
  if (convention.name == "word") add_word(set, text, device);
  if (set.windows.empty()) throw InternalError("[eval] no rule for convention " + convention.tag());
  return set;
}

std::vector<at::Tensor> make_windows(std::span<const int32_t> ids, const Convention& convention, at::Device device) {
  std::vector<at::Tensor> windows;
  for (int64_t start : window_starts(convention, static_cast<int64_t>(ids.size()))) {
    windows.push_back(
        tensor_of(ids.subspan(static_cast<size_t>(start), static_cast<size_t>(convention.seq_len)), device));
  }
  return windows;
}

WindowSet window_set_of(const std::vector<at::Tensor>& windows, const Convention& convention) {
  WindowSet set{
      .convention = convention, .windows = {}, .divisor = static_cast<double>(windows.size()), .num_bytes = {}};
  for (const at::Tensor& ids : windows) {
    // All positions are compared, the last one too, whose prediction nothing scores: kl.v1.
    set.windows.push_back({.ids = ids, .first_target = 1, .last_position = ids.size(0) - 1, .weight = 1});
  }
  return set;
}

}  // namespace aqlm_exp::eval
