// Tables of text for a terminal: columns that line up whatever the script, within a width.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::analysis {

/// Cells a terminal uses for a text: 2 for East Asian wide characters and emoji, 0 for combining marks.
size_t display_width(std::string_view text);
/// Safe to print: control characters (escape sequences among them) and ill-formed UTF-8 become visible.
std::string printable(std::string_view text);
/// Cut to `width` cells, the last being "…" when something was cut.
std::string shortened(std::string_view text, size_t width);

enum class Align { kLeft, kRight };

struct TableColumn {
  std::string title;
  Align align = Align::kLeft;
  int importance = 0;    ///< columns of the lowest importance go first when the width is short
  bool shrinks = false;  ///< may be cut, down to 8 cells
};

class TextTable {
 public:
  explicit TextTable(std::vector<TableColumn> columns) : columns_(std::move(columns)) {}
  /// One cell a column. @param strong  drawn bold where that is possible
  void add_row(std::vector<std::string> cells, bool strong = false);
  /// A line across the table.
  void add_heading(std::string text);
  /// @param width cells a line may take; 0: any. @param bold whether escape sequences may be used
  /// The last line names columns that were left out for want of room.
  std::string str(size_t width, bool bold) const;

 private:
  struct Line {
    std::vector<std::string> cells;  // empty: heading
    std::string heading;
    bool strong = false;
  };
  std::vector<TableColumn> columns_;
  std::vector<Line> lines_;
};

}  // namespace aqlm_exp::analysis
