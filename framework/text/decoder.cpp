#include "framework/text/decoder.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "framework/base/utf8.h"
#include "framework/text/byte_level.h"
#include "framework/text/normalizer.h"
#include "framework/text/pattern.h"
#include "framework/text/pieces.h"
#include "framework/text/pre_tokenizer.h"

namespace aqlm_exp::text {
namespace {

size_t total_bytes(const std::vector<std::string>& tokens) {
  size_t total = 0;
  for (const std::string& token : tokens) total += token.size();
  return total;
}

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, bool raw) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      // A token with a code point that stands for no byte keeps its own bytes: added tokens in other scripts.
      const std::optional<std::string> decoded =
          utf8_valid_prefix(token) == token.size() ? byte_level_bytes(token) : std::nullopt;
      bytes += decoded ? *decoded : token;
    }
    tokens.assign(1, raw ? bytes : utf8_replace_invalid(bytes));
  }
};

std::optional<char> byte_of(const std::string& token) {
  if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return std::nullopt;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (digit(token[3]) < 0 || digit(token[4]) < 0) return std::nullopt;
  return static_cast<char>(digit(token[3]) * 16 + digit(token[4]));
}

class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, bool raw) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (raw || utf8_valid_prefix(bytes) == bytes.size()) {
        out.push_back(bytes);
      } else {
        for (size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const std::optional<char> byte = byte_of(token)) {
        bytes += *byte;
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens, bool) const override {
    std::string text;
    for (const std::string& token : tokens) text += token;
    tokens.assign(1, std::move(text));
  }
};

class Strip final : public Decoder {
 public:
  Strip(std::string content, size_t start, size_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens, bool raw) const override {
    if (raw) return;
    for (std::string& token : tokens) {
      size_t begin = 0;
      for (size_t i = 0; i < start_ && token.compare(begin, content_.size(), content_) == 0 && begin < token.size();
           ++i) {
        begin += content_.size();
      }
      size_t end = token.size();
      for (size_t i = 0; i < stop_ && end >= begin + content_.size() &&
                         token.compare(end - content_.size(), content_.size(), content_) == 0;
           ++i) {
        end -= content_.size();
      }
      token = token.substr(begin, end - begin);
    }
  }

 private:
  std::string content_;  // one code point
  size_t start_;
  size_t stop_;
};

class Replace final : public Decoder {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens, bool) const override {
    const size_t limit = growth_limit(total_bytes(tokens));
    size_t total = 0;
    for (std::string& token : tokens) {
      // Bytes that a step before this one made of byte tokens need not be whole code points yet.
      if (utf8_valid_prefix(token) == token.size()) token = pattern_.replace_all(token, content_, limit);
      total += token.size();
      check_growth(total, limit);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Metaspace final : public Decoder {
 public:
  explicit Metaspace(MetaspaceOptions options) : options_(std::move(options)) {}
  void apply(std::vector<std::string>& tokens, bool raw) const override {
    bool first = !raw;
    for (std::string& token : tokens) {
      const bool drop = first && options_.prepend != PrependScheme::kNever;
      std::string out;
      for (size_t at = 0; at < token.size();) {
        if (token.compare(at, options_.replacement.size(), options_.replacement) == 0) {
          if (!drop) out += ' ';
          at += options_.replacement.size();
        } else {
          out += token[at++];
        }
      }
      token = std::move(out);
      first = false;
    }
  }

 private:
  MetaspaceOptions options_;
};

class Sequence final : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& tokens, bool raw) const override {
    for (const auto& step : steps_) step->apply(tokens, raw);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

std::unique_ptr<Decoder> make(const JsonFields& in, int depth) {
  if (depth > kMaxNestedSteps) in.fail("type", "NESTED", fmt::format("nested deeper than {} levels", kMaxNestedSteps));
  const std::string type = in.text("type");
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Metaspace") return std::make_unique<Metaspace>(read_metaspace(in));
  if (type == "Replace") return std::make_unique<Replace>(Pattern(in), in.text("content"));
  if (type == "Strip") {
    const std::string content = in.text("content");
    if (content.empty() || utf8_decode(content, 0).size_bytes != content.size())
      in.fail("content", "RANGE", "need one code point");
    return std::make_unique<Strip>(content, static_cast<size_t>(in.integer("start", 0, 1 << 20)),
                                   static_cast<size_t>(in.integer("stop", 0, 1 << 20)));
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    size_t index = 0;
    for (const auto& step : in.array("decoders", kMaxNestedSteps)) {
      steps.push_back(
          make(JsonFields(step, in.where(), fmt::format("{}.{}", in.path_of("decoders"), index++), "K"), depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  in.fail(
      "type", "UNKNOWN",
      fmt::format("unknown decoder \"{}\"; known: ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, Sequence",
                  type.substr(0, 64)));
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const JsonFields& in) { return make(in, 1); }

}  // namespace aqlm_exp::text
