#include "framework/base/strict_json.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/utf8.h"

namespace aqlm_exp {
namespace {

using Json = nlohmann::json;

/// Walks the text and tells how far the parser has read: SAX callbacks do not carry a position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* position, const char** furthest) : position_(position), furthest_(furthest) {}
  reference operator*() const { return *position_; }
  CountingIterator& operator++() {
    *furthest_ = ++position_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return position_ == other.position_; }
  bool operator!=(const CountingIterator& other) const { return position_ != other.position_; }

 private:
  const char* position_;
  const char** furthest_;
};

class Builder {
 public:
  Builder(std::string_view text, std::string_view where, const JsonLimits& limits, const JsonCodes& codes)
      : text_(text), where_(where), limits_(limits), codes_(codes), furthest_(text.data()) {}

  Json take() { return std::move(root_); }
  const char** furthest() { return &furthest_; }

  [[noreturn]] void fail(const std::string& code, size_t offset, const std::string& message) const {
    offset = std::min(offset, text_.size());
    size_t line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < offset; ++i) {
      if (text_[i] == '\n') {
        ++line;
        line_start = i + 1;
      }
    }
    throw DataError(fmt::format("{}:{}:{}: {}", where_, line, offset - line_start + 1, message), code);
  }

  // nlohmann's SAX interface.
  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string& raw) {
    if (raw.find_first_of(".eE") == std::string::npos && !limits_.big_integers_as_double) {
      fail(codes_.syntax, offset(), fmt::format("integer {} does not fit 64 bits", shorten(raw)));
    }
    return add(value);
  }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool key(std::string& name) {
    auto [place, inserted] = stack_.back()->get_ref<Json::object_t&>().emplace(name, nullptr);
    if (!inserted) {
      fail(codes_.duplicate, offset(),
           fmt::format("key \"{}\" appears twice in one object; keep one of them", shorten(name)));
    }
    slot_ = &place->second;
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    std::string reason = error.what();
    if (const size_t at = reason.find(": "); at != std::string::npos) reason.erase(0, at + 2);
    if (reason.rfind("syntax error ", 0) == 0) reason.erase(0, std::strlen("syntax error "));
    fail(codes_.syntax, position > 0 ? position - 1 : 0, "not valid JSON: " + reason);
  }

 private:
  static std::string shorten(const std::string& value) {
    return value.size() <= 80 ? value : value.substr(0, utf8_valid_prefix(value.substr(0, 80))) + "...";
  }
  size_t offset() const {
    const auto read = static_cast<size_t>(furthest_ - text_.data());
    return read > 0 ? read - 1 : 0;
  }
  Json* put(Json&& value) {
    if (++num_values_ > limits_.max_values) {
      fail(codes_.limit, offset(), fmt::format("more than {} values", limits_.max_values));
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.get_ref<Json::array_t&>().push_back(std::move(value));
      return &parent.get_ref<Json::array_t&>().back();
    }
    *slot_ = std::move(value);
    return slot_;
  }
  template <typename Value>
  bool add(Value&& value) {
    put(Json(std::forward<Value>(value)));
    return true;
  }
  bool open(Json&& container) {
    if (static_cast<int>(stack_.size()) >= limits_.max_depth) {
      fail(codes_.depth, offset(), fmt::format("nested deeper than {} levels", limits_.max_depth));
    }
    stack_.push_back(put(std::move(container)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_;
  std::string_view where_;
  const JsonLimits& limits_;
  const JsonCodes& codes_;
  const char* furthest_;
  Json root_;
  std::vector<Json*> stack_;  // open containers; a container never moves while it is open
  Json* slot_ = nullptr;      // where the value of the last key goes
  uint64_t num_values_ = 0;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, std::string_view where, const JsonLimits& limits,
                                 const JsonCodes& codes) {
  if (text.size() > limits.max_bytes) {
    throw DataError(fmt::format("{}: {} bytes of JSON, need at most {}", where, text.size(), limits.max_bytes),
                    codes.limit);
  }
  Builder builder(text, where, limits, codes);
  if (const size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    builder.fail(codes.utf8, valid, "not valid UTF-8");
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    builder.fail(codes.syntax, 0, "starts with a byte order mark; save it as UTF-8 without one");
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    builder.fail(codes.syntax, nul, "NUL byte");  // nlohmann would take it for the end of the input
  }
  const CountingIterator begin(text.data(), builder.furthest());
  const CountingIterator end(text.data() + text.size(), builder.furthest());
  if (!Json::sax_parse(begin, end, &builder, Json::input_format_t::json, /*strict=*/true)) {
    throw InternalError(fmt::format("{}: JSON parser stopped without a reason", where));
  }
  return builder.take();
}

nlohmann::json read_strict_json(const std::filesystem::path& path, std::string_view file_area, const JsonLimits& limits,
                                const JsonCodes& codes) {
  return parse_strict_json(read_regular_file(path, limits.max_bytes, file_area), path.string(), limits, codes);
}

}  // namespace aqlm_exp
