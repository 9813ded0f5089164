// The columns of summary/table: gathered row by row, written as a compound and column by column.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "framework/results/record.h"

namespace aqlm_exp::results {

/// What a column means; stored in summary/fields.
struct ColumnInfo {
  std::string name;  ///< [a-z0-9_]+
  std::string unit;
  std::string description;
  Direction direction = Direction::kNone;
  bool deterministic = true;
};

class SummaryTable {
 public:
  explicit SummaryTable(size_t num_rows) : num_rows_(num_rows) {}
  /// Rows that are never set hold "", NaN or 0.
  void set_text(const ColumnInfo& info, size_t row, const std::string& value);
  void set_number(const ColumnInfo& info, size_t row, double value);
  void set_integer(const ColumnInfo& info, size_t row, int64_t value);
  /// A swept key's values, kept as numbers when all of them are.
  void set_parameter(const ColumnInfo& info, size_t row, const std::string& value);
  /// Writes table, fields and columns/ below `summary`.
  void write(hid_t summary) const;

 private:
  enum class Kind { kText, kNumber, kInteger, kParameter };
  struct Column {
    ColumnInfo info;
    Kind kind = Kind::kText;
    std::vector<std::string> texts;
    std::vector<double> numbers;
    std::vector<int64_t> integers;
  };
  Column& column(const ColumnInfo& info, Kind kind);
  static void settle(Column& column);

  size_t num_rows_;
  std::vector<Column> columns_;
  std::map<std::string, size_t> index_;
};

/// A name for any text: lower case, everything outside [a-z0-9] becomes "_".
std::string plain_name(std::string_view text);

}  // namespace aqlm_exp::results
