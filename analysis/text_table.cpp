#include "analysis/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "framework/base/utf8.h"

namespace aqlm_exp::analysis {
namespace {

struct Range {
  char32_t first, last;
};

bool is_in(char32_t c, const Range* begin, const Range* end) {
  return std::any_of(begin, end, [c](const Range& range) { return c >= range.first && c <= range.last; });
}

/// Unicode 15, general categories Mn and Me of the scripts in use, and zero-width controls.
constexpr Range kZeroWidth[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},
                                {0x064B, 0x065F}, {0x0900, 0x0902}, {0x093C, 0x093C}, {0x0941, 0x0948},
                                {0x0E31, 0x0E31}, {0x0E34, 0x0E3A}, {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF},
                                {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x2060, 0x2064}, {0x20D0, 0x20FF},
                                {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}, {0xE0100, 0xE01EF}};
/// East Asian Width W and F.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},  {0x2329, 0x232A}, {0x23E9, 0x23EC}, {0x25FD, 0x25FE},   {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x267F, 0x267F},  {0x26A1, 0x26A1}, {0x2705, 0x2705}, {0x274C, 0x274C},   {0x2E80, 0x303E},
    {0x3041, 0x33FF},   {0x3400, 0x4DBF},  {0x4E00, 0x9FFF}, {0xA000, 0xA4CF}, {0xA960, 0xA97F},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},  {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF},
    {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};

size_t cells_of(char32_t c) {
  if (is_in(c, std::begin(kZeroWidth), std::end(kZeroWidth))) return 0;
  return is_in(c, std::begin(kWide), std::end(kWide)) ? 2 : 1;
}

constexpr size_t kGap = 2;
constexpr size_t kLeastShrunk = 8;

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = utf8_decode(text, at);
    width += cells_of(point.value);
    at += point.size_bytes;
  }
  return width;
}

std::string printable(std::string_view text) {
  const std::string valid = utf8_replace_invalid(text);
  std::string out;
  for (size_t at = 0; at < valid.size();) {
    const CodePoint point = utf8_decode(valid, at);
    // C0, C1, DEL, and the marks that turn the reading direction around
    const bool control = point.value < 0x20 || (point.value >= 0x7F && point.value < 0xA0) ||
                         (point.value >= 0x202A && point.value <= 0x202E) ||
                         (point.value >= 0x2066 && point.value <= 0x2069);
    if (control) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(point.value));
    } else {
      out += valid.substr(at, point.size_bytes);
    }
    at += point.size_bytes;
  }
  return out;
}

std::string shortened(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return "";
  std::string out;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = utf8_decode(text, at);
    if (used + cells_of(point.value) > width - 1) break;
    used += cells_of(point.value);
    out += text.substr(at, point.size_bytes);
    at += point.size_bytes;
  }
  return out + "…";
}

void TextTable::add_row(std::vector<std::string> cells, bool strong) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  lines_.push_back({.cells = std::move(cells), .heading = {}, .strong = strong});
}

void TextTable::add_heading(std::string text) {
  lines_.push_back({.cells = {}, .heading = printable(text), .strong = false});
}

std::string TextTable::str(size_t width, bool bold) const {
  const size_t num_columns = columns_.size();
  std::vector<size_t> widths(num_columns);
  for (size_t i = 0; i < num_columns; ++i) {
    widths[i] = display_width(columns_[i].title);
    for (const Line& line : lines_) {
      if (!line.cells.empty()) widths[i] = std::max(widths[i], display_width(line.cells[i]));
    }
  }
  std::vector<bool> shown(num_columns, true);
  const auto total = [&] {
    size_t sum = 0;
    for (size_t i = 0; i < num_columns; ++i) sum += shown[i] ? widths[i] + kGap : 0;
    return sum > 0 ? sum - kGap : 0;
  };
  std::vector<std::string> hidden;
  while (width > 0 && total() > width) {
    size_t widest = num_columns, least = num_columns;
    for (size_t i = 0; i < num_columns; ++i) {
      if (!shown[i]) continue;
      if (columns_[i].shrinks && widths[i] > kLeastShrunk && (widest == num_columns || widths[i] > widths[widest])) {
        widest = i;
      }
      if (least == num_columns || columns_[i].importance <= columns_[least].importance) least = i;
    }
    if (widest < num_columns) {
      --widths[widest];
    } else if (std::count(shown.begin(), shown.end(), true) > 2) {
      shown[least] = false;
      hidden.push_back(columns_[least].title);
    } else {
      break;  // two columns always stay
    }
  }
  const auto render = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < num_columns; ++i) {
      if (!shown[i]) continue;
      if (!text.empty()) text += std::string(kGap, ' ');
      const std::string cell = shortened(cells[i], widths[i]);
      const std::string padding(widths[i] - display_width(cell), ' ');
      text += columns_[i].align == Align::kRight ? padding + cell : cell + padding;
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  };
  std::vector<std::string> titles;
  for (const TableColumn& column : columns_) titles.push_back(column.title);
  std::string out = render(titles) + "\n";
  for (size_t i = 0; i < total(); ++i) out += "─";
  out += "\n";
  for (const Line& line : lines_) {
    const std::string text = line.cells.empty() ? line.heading : render(line.cells);
    out += bold && line.strong ? "\x1b[1m" + text + "\x1b[0m\n" : text + "\n";
  }
  if (!hidden.empty()) {
    std::string names;
    for (const std::string& name : hidden) names += (names.empty() ? "" : ", ") + name;
    out += fmt::format("(no room for: {})\n", names);
  }
  return out;
}

}  // namespace aqlm_exp::analysis
