#include "framework/results/summary_table.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "framework/results/hdf5_io.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::results {
namespace {

const char* direction_name(Direction direction) {
  return direction == Direction::kMin ? "min" : direction == Direction::kMax ? "max" : "none";
}

size_t longest(const std::vector<std::string>& texts) {
  size_t length = 1;
  for (const std::string& text : texts) length = std::max(length, text.size() + 1);
  return length;
}

bool parse_number(const std::string& text, double& value) {
  if (text.empty() || std::strchr("+-.0123456789", text.front()) == nullptr) return false;
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return *end == '\0';
}

/// Texts and numbers of one row, laid out one after another.
class RowBuffer {
 public:
  void add_text(const std::string& name, const std::vector<std::string>& texts) {
    const size_t length = longest(texts);
    types_.push_back(h5::fixed_text_type(length));
    columns_.push_back({.name = name, .type = types_.back().get(), .offset = row_bytes_});
    cells_.push_back([&texts, length](size_t row, char* at) { texts[row].copy(at, length - 1); });
    row_bytes_ += length;
  }
  template <typename T>
  void add_plain(const std::string& name, hid_t type, const std::vector<T>& values) {
    columns_.push_back({.name = name, .type = type, .offset = row_bytes_});
    cells_.push_back([&values](size_t row, char* at) { std::memcpy(at, &values[row], sizeof(T)); });
    row_bytes_ += sizeof(T);
  }
  void write(hid_t parent, const std::string& name, size_t num_rows, const h5::ArrayInfo& info) const {
    std::string rows(row_bytes_ * num_rows, '\0');
    for (size_t row = 0; row < num_rows; ++row) {
      for (size_t i = 0; i < cells_.size(); ++i) cells_[i](row, rows.data() + row * row_bytes_ + columns_[i].offset);
    }
    h5::Handle set = h5::put_table(parent, name, columns_, row_bytes_, rows, num_rows);
    h5::put_attribute(set.get(), "unit", info.unit);
    h5::put_attribute(set.get(), "description", info.description);
    h5::put_attribute(set.get(), "dims", info.dims);
    set.close("H5Dclose " + name);
  }

 private:
  std::vector<h5::Handle> types_;
  std::vector<h5::Column> columns_;
  std::vector<std::function<void(size_t, char*)>> cells_;
  size_t row_bytes_ = 0;
};

}  // namespace

std::string plain_name(std::string_view text) {
  std::string name;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    name += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '_';
  }
  return name.empty() ? "_" : name;
}

SummaryTable::Column& SummaryTable::column(const ColumnInfo& info, Kind kind) {
  const auto [found, added] = index_.emplace(info.name, columns_.size());
  if (added) {
    columns_.push_back({.info = info, .kind = kind, .texts = {}, .numbers = {}, .integers = {}});
    Column& column = columns_.back();
    if (kind == Kind::kText || kind == Kind::kParameter) column.texts.resize(num_rows_);
    if (kind == Kind::kNumber) column.numbers.resize(num_rows_, kAbsent);
    if (kind == Kind::kInteger) column.integers.resize(num_rows_, 0);
  }
  return columns_[found->second];
}

void SummaryTable::set_text(const ColumnInfo& info, size_t row, const std::string& value) {
  column(info, Kind::kText).texts.at(row) = clean_text(value);
}
void SummaryTable::set_number(const ColumnInfo& info, size_t row, double value) {
  column(info, Kind::kNumber).numbers.at(row) = value;
}
void SummaryTable::set_integer(const ColumnInfo& info, size_t row, int64_t value) {
  column(info, Kind::kInteger).integers.at(row) = value;
}
void SummaryTable::set_parameter(const ColumnInfo& info, size_t row, const std::string& value) {
  column(info, Kind::kParameter).texts.at(row) = clean_text(value);
}

void SummaryTable::settle(Column& column) {
  if (column.kind != Kind::kParameter) return;
  column.kind = Kind::kText;
  std::vector<double> numbers;
  for (const std::string& text : column.texts) {
    double value = kAbsent;
    if (!text.empty() && !parse_number(text, value)) return;
    numbers.push_back(value);
  }
  column.kind = Kind::kNumber;
  column.numbers = std::move(numbers);
}

void SummaryTable::write(hid_t summary) const {
  std::vector<Column> columns = columns_;
  for (Column& column : columns) settle(column);
  RowBuffer table;
  h5::Handle group = h5::create_group(summary, "columns");
  std::vector<std::string> names, units, descriptions, directions, dtypes;
  std::vector<int64_t> since;
  std::vector<uint8_t> deterministic;
  for (const Column& column : columns) {
    const ColumnInfo& info = column.info;
    const h5::ArrayInfo about{
        .unit = info.unit, .description = info.description, .dims = "trial", .deterministic = info.deterministic};
    const std::vector<hsize_t> shape = {num_rows_};
    switch (column.kind) {
      case Kind::kNumber:
        table.add_plain(info.name, H5T_NATIVE_DOUBLE, column.numbers);
        h5::put_array(group.get(), info.name, column.numbers, shape, about);
        dtypes.push_back("float64");
        break;
      case Kind::kInteger:
        table.add_plain(info.name, H5T_NATIVE_INT64, column.integers);
        h5::put_array(group.get(), info.name, column.integers, shape, about);
        dtypes.push_back("int64");
        break;
      default:
        table.add_text(info.name, column.texts);
        h5::put_texts(group.get(), info.name, column.texts, about);
        dtypes.push_back("string");
    }
    names.push_back(info.name);
    units.push_back(info.unit);
    descriptions.push_back(info.description);
    directions.push_back(direction_name(info.direction));
    since.push_back(1);
    deterministic.push_back(info.deterministic ? 1 : 0);
  }
  group.close("H5Gclose columns");
  table.write(
      summary, "table", num_rows_,
      {.unit = "", .description = "one row a planned trial; NaN: absent; units in summary/fields", .dims = "trial"});
  RowBuffer fields;
  fields.add_text("name", names);
  fields.add_text("unit", units);
  fields.add_text("description", descriptions);
  fields.add_text("direction", directions);
  fields.add_text("dtype", dtypes);
  fields.add_plain("since_version", H5T_NATIVE_INT64, since);
  fields.add_plain("deterministic", H5T_NATIVE_UINT8, deterministic);
  fields.write(summary, "fields", names.size(),
               {.unit = "", .description = "what each column of summary/table means", .dims = "column"});
}

}  // namespace aqlm_exp::results
