#include "framework/text/normalizer.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "framework/base/utf8.h"
#include "framework/text/byte_level.h"
#include "framework/text/pattern.h"
#include "framework/text/pieces.h"
#include "framework/text/precompiled.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text {
namespace {

class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  void apply(std::string& text, size_t max_bytes) const override {
    text = to_normal_form(text, form_);
    check_growth(text.size(), max_bytes);
  }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(std::string& text, size_t) const override { text = to_lower(text); }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text, size_t) const override {
    size_t begin = 0;
    while (left_ && begin < text.size()) {
      const CodePoint c = utf8_decode(text, begin);
      if (!is_space(c.value)) break;
      begin += c.size_bytes;
    }
    size_t end = text.size();
    while (right_ && end > begin) {
      size_t last = end - 1;
      while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
      if (!is_space(utf8_decode(text, last).value)) break;
      end = last;
    }
    text = text.substr(begin, end - begin);
  }
  bool may_strip_front() const override { return left_; }

 private:
  bool left_;
  bool right_;
};

class StripAccents final : public Normalizer {
 public:
  void apply(std::string& text, size_t) const override {
    std::string out;
    for (size_t offset = 0; offset < text.size();) {
      const CodePoint c = utf8_decode(text, offset);
      if (!is_mark(c.value)) out.append(text, offset, c.size_bytes);
      offset += c.size_bytes;
    }
    text = std::move(out);
  }
  bool may_strip_front() const override { return true; }
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, size_t max_bytes) const override {
    if (text.empty()) return;
    text.insert(0, prefix_);
    check_growth(text.size(), max_bytes);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text, size_t max_bytes) const override {
    text = pattern_.replace_all(text, content_, max_bytes);
  }
  bool may_strip_front() const override { return content_.empty(); }

 private:
  Pattern pattern_;
  std::string content_;
};

class ByteLevel final : public Normalizer {
 public:
  void apply(std::string& text, size_t max_bytes) const override {
    std::string out;
    append_byte_level(out, text);
    check_growth(out.size(), max_bytes);
    text = std::move(out);
  }
};

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(PrecompiledCharsMap map) : map_(std::move(map)) {}
  void apply(std::string& text, size_t max_bytes) const override { text = map_.normalize(text, max_bytes); }
  bool may_strip_front() const override { return true; }

 private:
  PrecompiledCharsMap map_;
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(std::string& text, size_t max_bytes) const override {
    for (const auto& step : steps_) step->apply(text, max_bytes);
  }
  bool may_strip_front() const override {
    for (const auto& step : steps_) {
      if (step->may_strip_front()) return true;
    }
    return false;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make(const JsonFields& in, int depth) {
  if (depth > kMaxNestedSteps) in.fail("type", "NESTED", fmt::format("nested deeper than {} levels", kMaxNestedSteps));
  const std::string type = in.text("type");
  if (type == "NFC") return std::make_unique<UnicodeForm>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<UnicodeForm>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<UnicodeForm>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<UnicodeForm>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Strip") return std::make_unique<Strip>(in.boolean("strip_left"), in.boolean("strip_right"));
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Prepend") return std::make_unique<Prepend>(in.text("prepend"));
  if (type == "Replace") return std::make_unique<Replace>(Pattern(in), in.text("content"));
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Precompiled") {
    if (!in.has("precompiled_charsmap")) return std::make_unique<Sequence>(std::vector<std::unique_ptr<Normalizer>>{});
    return std::make_unique<Precompiled>(PrecompiledCharsMap(in));
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    size_t index = 0;
    for (const auto& step : in.array("normalizers", kMaxNestedSteps)) {
      steps.push_back(
          make(JsonFields(step, in.where(), fmt::format("{}.{}", in.path_of("normalizers"), index++), "K"), depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  in.fail(
      "type", "UNKNOWN",
      fmt::format(
          "unknown normaliser \"{}\"; known: NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, "
          "ByteLevel, Precompiled, Sequence",
          type.substr(0, 64)));
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonFields& in) { return make(in, 1); }

}  // namespace aqlm_exp::text
