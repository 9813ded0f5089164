#include "analysis/csv_report.h"

#include <fmt/format.h>

#include "analysis/number_text.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::analysis {

std::string csv_text(std::string_view text) {
  std::string cell = utf8_replace_invalid(text);
  if (!cell.empty() && std::string_view("=+-@\t\r").find(cell.front()) != std::string_view::npos) cell.insert(0, "'");
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (char c : cell) {
    quoted += c;
    if (c == '"') quoted += '"';
  }
  return quoted + "\"";
}

std::string csv(const FlatTable& table) {
  std::string out;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const FlatColumn& column = table.columns[i];
    out += (i == 0 ? "" : ",") +
           csv_text(column.unit.empty() ? column.name : fmt::format("{} [{}]", column.name, column.unit));
  }
  out += "\r\n";
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) out += ',';
      out += table.columns[i].number ? exact(row[i].number) : csv_text(row[i].text);
    }
    out += "\r\n";
  }
  return out;
}

std::string summary_csv(const Report& report) { return csv(trial_table(report)); }

std::string layers_csv(const Report& report) { return csv(layer_table(report)); }

}  // namespace aqlm_exp::analysis
