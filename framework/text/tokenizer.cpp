#include "framework/text/tokenizer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/json_fields.h"
#include "framework/base/sha256.h"
#include "framework/base/strict_json.h"
#include "framework/base/utf8.h"
#include "framework/text/added_tokens.h"
#include "framework/text/decoder.h"
#include "framework/text/model.h"
#include "framework/text/normalizer.h"
#include "framework/text/pieces.h"
#include "framework/text/post_processor.h"
#include "framework/text/pre_tokenizer.h"

namespace aqlm_exp::text {
namespace {

constexpr uint64_t kMaxFileBytes = 64ULL << 20;
constexpr size_t kMaxAddedBytes = 4 << 20;
constexpr size_t kCachedPieceBytes = 64;
constexpr size_t kCachedPieces = 1 << 16;

/// Ids of short pieces that were met before in the same text: most words of a language come again and again.
class PieceCache {
 public:
  explicit PieceCache(const Model& model) : model_(model) {}
  void encode(std::string_view piece, std::vector<int32_t>& ids) {
    if (piece.size() > kCachedPieceBytes) {
      model_.encode(piece, ids);
      return;
    }
    if (const auto known = pieces_.find(piece); known != pieces_.end()) {
      ids.insert(ids.end(), known->second.begin(), known->second.end());
      return;
    }
    const size_t first = ids.size();
    model_.encode(piece, ids);
    if (pieces_.size() < kCachedPieces) {
      pieces_.emplace(piece, std::vector<int32_t>(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end()));
    }
  }

 private:
  const Model& model_;
  std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>> pieces_;
};

}  // namespace

struct Tokenizer::State {
  std::string sha256;
  std::unique_ptr<Normalizer> normalizer;       // or none
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // or none
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;  // or none
  SpecialFrame frame;
  std::vector<AddedToken> added;
  TokenMatcher plain;       // added tokens looked for in the text as it is
  TokenMatcher normalised;  // and those looked for behind the normaliser
  std::unordered_map<int32_t, const AddedToken*> added_by_id;
  std::unordered_map<std::string_view, const AddedToken*> added_by_content;
  int64_t max_id = -1;
  int64_t num_tokens = 0;

  void load_added(const JsonFields& in) {
    const Vocabulary& vocabulary = model->vocabulary();
    added = read_added_tokens(in, vocabulary);
    const size_t count = vocabulary.size() + added.size();
    size_t bytes = 0;
    std::vector<TokenMatcher::Entry> plain_entries;
    std::vector<TokenMatcher::Entry> normalised_entries;
    max_id = vocabulary.max_id();
    num_tokens = static_cast<int64_t>(vocabulary.size());
    for (AddedToken& token : added) {
      token.shown = token.content;
      const auto fail = [&](const char* code, const std::string& message) {
        throw DataError(fmt::format("{}: added token \"{}\": {}", in.where(), token.content.substr(0, 60), message),
                        code);
      };
      bytes += token.content.size();
      if (token.content.size() > kMaxTokenBytes)
        fail("K-TOKEN", fmt::format("has {} bytes, need at most {}", token.content.size(), kMaxTokenBytes));
      if (bytes > kMaxAddedBytes)
        fail("K-LIMIT", fmt::format("added tokens of more than {} bytes in all", kMaxAddedBytes));
      if (vocabulary.id_of(token.content) == kNoToken) {
        if (vocabulary.has_id(token.id))
          fail("K-ID", fmt::format("id {} belongs to \"{}\"", token.id, vocabulary.token(token.id).substr(0, 60)));
        if (static_cast<uint64_t>(token.id) >= 2 * count) {
          fail("K-ID", fmt::format("id {} with only {} tokens; ids may leave at most half unused", token.id, count));
        }
        ++num_tokens;
        max_id = std::max<int64_t>(max_id, token.id);
      }
      if (!added_by_id.emplace(token.id, &token).second)
        fail("K-ID", fmt::format("id {} belongs to another added token", token.id));
      added_by_content.emplace(token.content, &token);
      if (!token.normalized) {
        plain_entries.push_back({token.content, &token});
        continue;
      }
      if (normalizer) normalizer->apply(token.shown, growth_limit(token.shown.size()));
      if (!token.shown.empty()) normalised_entries.push_back({token.shown, &token});
    }
    plain = TokenMatcher(std::move(plain_entries));
    normalised = TokenMatcher(std::move(normalised_entries));
  }

  /// A stretch without added tokens, already normalised.
  void encode_stretch(std::string_view stretch, bool starts_input, size_t max_bytes, PieceCache& cache,
                      std::vector<int32_t>& ids) const {
    Pieces pieces{std::string(stretch), {{0, stretch.size()}}, starts_input, max_bytes};
    if (pre_tokenizer) pre_tokenizer->apply(pieces);
    for (const Range& range : pieces.ranges) cache.encode(pieces.at(range), ids);
  }

  const std::string* find_token(int64_t id) const {
    if (const auto place = added_by_id.find(static_cast<int32_t>(id)); place != added_by_id.end())
      return &place->second->shown;
    return model->vocabulary().has_id(id) ? &model->vocabulary().token(id) : nullptr;
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& folder_or_json) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(folder_or_json, error);
  const std::filesystem::path path = folder ? folder_or_json / "tokenizer.json" : folder_or_json;
  if (folder && !std::filesystem::exists(path, error)) {
    for (const char* other : {"tokenizer.model", "vocab.json"}) {  // SentencePiece; GPT-2's two files
      if (!std::filesystem::exists(folder_or_json / other, error)) continue;
      throw DataError(fmt::format("{}: no such file, and {} is not read here; transformers converts it: "
                                  "AutoTokenizer.from_pretrained(\"{}\").save_pretrained(\"{}\")",
                                  path.string(), other, folder_or_json.string(), folder_or_json.string()),
                      "K-MISSING");
    }
  }
  return parse(read_regular_file(path, kMaxFileBytes, "K"), path.string());
}

Tokenizer Tokenizer::parse(std::string_view text, std::string_view where) {
  const JsonLimits limits{.max_bytes = kMaxFileBytes, .max_depth = 64, .max_values = 4 * kMaxTokens + 32'000'000};
  const JsonCodes codes{
      .syntax = "K-SYNTAX", .utf8 = "K-UTF8", .duplicate = "K-DUP", .depth = "K-DEPTH", .limit = "K-LIMIT"};
  const nlohmann::json json = parse_strict_json(text, where, limits, codes);
  const JsonFields in(json, std::string(where), "", "K");
  auto state = std::make_unique<State>();
  state->sha256 = sha256_hex(text);
  if (const auto part = in.object_if("normalizer")) state->normalizer = make_normalizer(*part);
  if (const auto part = in.object_if("pre_tokenizer")) state->pre_tokenizer = make_pre_tokenizer(*part);
  const size_t num_added = in.has("added_tokens") ? in.array("added_tokens", kMaxTokens).size() : 0;
  state->model = make_model(in.object("model"), num_added);
  state->load_added(in);
  if (const auto part = in.object_if("decoder")) state->decoder = make_decoder(*part);
  if (const auto part = in.object_if("post_processor")) state->frame = read_post_processor(*part, state->max_id);
  return Tokenizer(std::move(state));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (const size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    throw DataError(fmt::format("tokenizer: text is not UTF-8 at byte {} of {}; convert it first (iconv -t UTF-8)",
                                valid, text.size()),
                    "K-TEXT");
  }
  const State& state = *state_;
  const size_t max_bytes = growth_limit(text.size());
  PieceCache cache(*state.model);
  std::vector<int32_t> ids = options.add_special_tokens ? state.frame.before : std::vector<int32_t>{};
  state.plain.cut(text, options.parse_special, [&](std::string_view stretch, size_t begin, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
      return;
    }
    std::string normal(stretch);
    if (state.normalizer) state.normalizer->apply(normal, max_bytes);
    const bool at_start = begin == 0 && (!state.normalizer || !state.normalizer->may_strip_front() || normal.empty() ||
                                         normal.compare(0, 1, stretch.substr(0, 1)) == 0);
    state.normalised.cut(normal, options.parse_special,
                         [&](std::string_view part, size_t part_begin, const AddedToken* found) {
                           if (found != nullptr) {
                             ids.push_back(found->id);
                           } else {
                             state.encode_stretch(part, at_start && part_begin == 0, max_bytes, cache, ids);
                           }
                         });
  });
  if (options.add_special_tokens) ids.insert(ids.end(), state.frame.behind.begin(), state.frame.behind.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (int32_t id : ids) {
    const std::string* token = state_->find_token(id);
    if (token == nullptr || (options.skip_special_tokens && is_special(id))) continue;
    tokens.push_back(*token);
  }
  std::string text;
  if (state_->decoder) {
    state_->decoder->apply(tokens, /*raw=*/false);
    for (const std::string& token : tokens) text += token;
    return text;
  }
  for (size_t i = 0; i < tokens.size(); ++i) {  // without a decoder tokens are words
    if (i > 0) text += ' ';
    text += tokens[i];
  }
  return text;
}

int64_t Tokenizer::vocab_size() const { return state_->num_tokens; }
int64_t Tokenizer::max_id() const { return state_->max_id; }
bool Tokenizer::has_id(int64_t id) const {
  return id >= 0 && id <= state_->max_id && state_->find_token(id) != nullptr;
}

std::string Tokenizer::token_bytes(int32_t id) const {
  const std::string* token = state_->find_token(id);
  if (token == nullptr) return {};
  std::vector<std::string> tokens = {*token};
  if (state_->decoder) state_->decoder->apply(tokens, /*raw=*/true);
  std::string bytes;
  for (const std::string& part : tokens) bytes += part;
  return bytes;
}

const std::string& Tokenizer::token(int32_t id) const {
  const std::string* token = state_->find_token(id);
  if (token == nullptr)
    throw DataError(fmt::format("tokenizer: no token has id {}; ids go up to {}", id, state_->max_id), "K-ID");
  return *token;
}

int32_t Tokenizer::id_of(std::string_view token) const {
  if (const auto place = state_->added_by_content.find(token); place != state_->added_by_content.end())
    return place->second->id;
  return state_->model->vocabulary().id_of(token);
}

bool Tokenizer::is_special(int32_t id) const {
  const auto place = state_->added_by_id.find(id);
  return place != state_->added_by_id.end() && place->second->special;
}

const std::string& Tokenizer::sha256() const { return state_->sha256; }

}  // namespace aqlm_exp::text
