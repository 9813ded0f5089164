#include "framework/eval/wikitext.h"

#include <string_view>

#include "framework/text/unicode.h"

namespace aqlm_exp::eval {
namespace {

/// Python's \s: the property White_Space and four separators of ASCII.
bool is_python_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || text::is_space(c); }

/// The code point at `at` of valid UTF-8, and its bytes.
std::pair<char32_t, size_t> code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (at + size > text.size()) return {0xFFFD, text.size() - at};
  char32_t c = first & (0xFF >> (size + 1));
  for (size_t i = 1; i < size; ++i) c = c << 6 | (byte(i) & 0x3F);
  return {c, size};
}

/// Without white space at both ends.
std::string_view stripped(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size()) {
    const auto [c, size] = code_point(text, begin);
    if (!is_python_space(c)) break;
    begin += size;
  }
  size_t end = begin;
  for (size_t at = begin; at < text.size();) {
    const auto [c, size] = code_point(text, at);
    at += size;
    if (!is_python_space(c)) end = at;
  }
  return text.substr(begin, end - begin);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t start = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, start)) {
    out.append(text, start, at - start);
    out += to;
    start = at + from.size();
  }
  if (start == 0) return;
  out.append(text, start);
  text = std::move(out);
}

/// re.sub(r"OPEN\s*([^CLOSE]*?)\s*CLOSE", r"OPEN\1CLOSE", text)
void tighten(std::string& text, char open, char close) {
  std::string out;
  size_t start = 0;
  while (true) {
    const size_t at = text.find(open, start);
    const size_t end = at == std::string::npos ? at : text.find(close, at + 1);
    if (end == std::string::npos) break;
    out.append(text, start, at - start);
    out += open;
    out += stripped(std::string_view(text).substr(at + 1, end - at - 1));
    out += close;
    start = end + 1;
  }
  out.append(text, start);
  text = std::move(out);
}

/// re.sub(r"/' [0-9]/", r"/'[0-9]/", text): the replacement is text, brackets and all, in the original.
void replace_slashes(std::string& text) {
  for (size_t at = text.find("/' "); at != std::string::npos; at = text.find("/' ", at + 1)) {
    if (at + 4 < text.size() && text[at + 3] >= '0' && text[at + 3] <= '9' && text[at + 4] == '/') {
      text.replace(at, 5, "/'[0-9]/");
      at += 7;
    }
  }
}

/// " = Title = ", but not " = = Section = = ".
bool is_title(std::string_view line) {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
  return line.size() > 5 && line.starts_with(" = ") && line.ends_with(" =") && line[3] != '=' &&
         line[line.size() - 3] != '=';
}

}  // namespace

std::vector<std::string> split_documents(const std::string& text) {
  std::vector<std::string> documents;
  size_t start = 0;  // of the document being read
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (is_title(std::string_view(text).substr(at, end - at))) {
      if (at > start && !stripped(std::string_view(text).substr(start, at - start)).empty()) {
        documents.push_back(text.substr(start, at - start));
      }
      start = at;
    }
    at = end + 1;
  }
  documents.push_back(text.substr(start));
  return documents;
}

std::string detokenise_wikitext(const std::string& page) {
  std::string text = page;
  replace_all(text, "s '", "s'");
  replace_slashes(text);
  replace_all(text, " @-@ ", "-");
  replace_all(text, " @,@ ", ",");
  replace_all(text, " @.@ ", ".");
  for (const char* mark : {":", ";", ".", "!", "?", ","}) {
    replace_all(text, std::string(" ") + mark + " ", std::string(mark) + " ");
  }
  tighten(text, '(', ')');
  tighten(text, '[', ']');
  tighten(text, '{', '}');
  tighten(text, '"', '"');
  tighten(text, '\'', '\'');
  replace_all(text, "= = = =", "====");
  replace_all(text, "= = =", "===");
  replace_all(text, "= =", "==");
  replace_all(text, " \u00B0 ", "\u00B0");
  replace_all(text, " \n", "\n");
  replace_all(text, "\n ", "\n");
  replace_all(text, " N ", " 1 ");
  replace_all(text, " 's", "'s");
  return text;
}

int64_t count_words(const std::string& text) {
  int64_t pieces = 1;
  bool in_space = false;
  for (size_t at = 0; at < text.size();) {
    const auto [c, size] = code_point(text, at);
    at += size;
    const bool space = is_python_space(c);
    if (space && !in_space) ++pieces;
    in_space = space;
  }
  return pieces;
}

}  // namespace aqlm_exp::eval
