#include "analysis/markdown_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analysis/number_text.h"
#include "analysis/plot/canvas.h"
#include "analysis/provenance_table.h"
#include "analysis/report_table.h"

namespace aqlm_exp::analysis {
namespace {

constexpr size_t kMaxRows = 200;  // GitHub renders no more of a long document

std::string m(std::string_view text) { return markdown_text(text); }

/// A fence longer than any run of backticks inside.
std::string code_block(const std::string& text) {
  size_t longest = 2, run = 0;
  for (char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fmt::format("{}\n{}\n{}\n", fence, text, fence);
}

void add_row(std::string& out, const std::vector<std::string>& cells) {
  out += "|";
  for (const std::string& cell : cells) out += " " + cell + " |";
  out += "\n";
}

void add_table(std::string& out, const Report& report, const Group& group) {
  const MainTable table = main_table(report, group);
  std::vector<size_t> shown;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (table.columns[i].shown) shown.push_back(i);
  }
  std::vector<std::string> header, rule;
  for (size_t i : shown) {
    const TableColumn& column = table.columns[i];
    header.push_back(m(column.unit.empty() ? column.title : fmt::format("{} [{}]", column.title, column.unit)));
    rule.push_back(column.number ? "---:" : "---");
  }
  add_row(out, header);
  add_row(out, rule);
  for (size_t r = 0; r < std::min(table.rows.size(), kMaxRows); ++r) {
    const TableRow& row = table.rows[r];
    std::vector<std::string> cells;
    for (size_t i : shown) {
      std::string text = m(row.cells[i].text);
      if (row.verdict == "best" && !text.empty()) text = "**" + text + "**";
      cells.push_back(std::move(text));
    }
    add_row(out, cells);
  }
  if (table.rows.size() > kMaxRows) {
    out += fmt::format("\n{} further rows are in summary.csv.\n", table.rows.size() - kMaxRows);
  }
  out += "\n";
}

void add_section(std::string& out, const FigureSection& section) {
  out += fmt::format("## {}\n\n", m(section.title));
  if (!section.intro.empty()) out += m(section.intro) + "\n\n";
  for (const plot::Figure& figure : section.figures) {
    out += fmt::format("### {}\n\n![{}](figures/{}.svg)\n\n{}\n\n", m(figure.title), m(figure.title), figure.id,
                       m(figure.caption));
  }
  if (!section.missing.empty()) out += m(section.missing) + "\n\n";
}

void add_failures(std::string& out, const Report& report) {
  if (report.failures.empty()) return;
  out += "## Trials without a result\n\n";
  add_row(out, {"trial", "configuration", "what happened", "reason"});
  add_row(out, {"---", "---", "---", "---"});
  for (size_t index : report.failures) {
    const TrialRow& row = report.data->rows[index];
    add_row(out, {m(row.id.substr(0, 12)), m(row.name),
                  m(row.status + (row.failure_class.empty() ? "" : ": " + row.failure_class)), m(row.message)});
  }
  out += "\n";
}

}  // namespace

std::string markdown_text(std::string_view text) {
  std::string out;
  for (char c : plot::escape_markup(text)) {
    if (c == '\n' || c == '\t') {
      out += ' ';
      continue;
    }
    if (std::string_view("\\`*_[]|~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string markdown_report(const Report& report, const std::vector<GroupFigures>& figures) {
  const Dataset& data = *report.data;
  std::string out = "# Quantisation report:";
  for (const Source& source : data.sources) out += " " + m(source.path);
  out += fmt::format("\n\n{} trials, {} completed, {} without a result, {} still to be run.\n\n", data.rows.size(),
                     report.num_completed, report.failures.size(), report.num_planned);
  for (const std::string& note : report.notes) out += "- " + m(note) + "\n";
  out += "\n## Which method is best at each bit budget\n\n";
  for (const Group& group : report.groups) {
    out += fmt::format("{} · {}\n\n", m(group.title()), m(group.subtitle()));
    for (const Budget& budget : group.budgets) {
      const Headline text = headline(report, group, budget);
      out += fmt::format("**{}**: {} ({}). ", m(budget.title), m(text.best),
                         m(text.badge == "clear" ? "clear winner" : text.badge));
      for (const std::string& line : {text.measure, text.perplexity, text.bits}) {
        if (!line.empty()) out += m(line) + ". ";
      }
      out += m(text.reason) + "\n\n";
      if (!text.command.empty()) out += code_block(text.command) + "\n";
    }
  }
  for (size_t i = 0; i < report.groups.size(); ++i) {
    const Group& group = report.groups[i];
    if (report.groups.size() > 1) out += fmt::format("---\n\n{} · {}\n\n", m(group.title()), m(group.subtitle()));
    add_section(out, figures[i].differences);
    add_section(out, figures[i].quality);
    out += "## All configurations\n\n";
    add_table(out, report, group);
    for (const FigureSection* section :
         {&figures[i].cost, &figures[i].layers, &figures[i].effects, &figures[i].curves, &figures[i].kernels}) {
      add_section(out, *section);
    }
  }
  add_failures(out, report);
  out += "## Where these numbers come from\n\n";
  for (const ProvenanceField& field : provenance_fields(data)) {
    out += fmt::format("- {}: ", m(field.key));
    for (size_t i = 0; i < field.values.size(); ++i) {
      out += (i == 0 ? "" : "; ") + m(field.values[i].first);
      if (field.values.size() > 1) out += fmt::format(" ({} trials)", field.values[i].second);
    }
    if (field.num_more > 0) out += fmt::format("; {} more values", field.num_more);
    out += "\n";
  }
  out += "\n## What each number means\n\n";
  for (const MetricInfo& info : report.metrics) {
    out += fmt::format("- {} ({}): {}\n", m(info.title), m(info.name), m(info.description));
  }
  for (const auto& [name, text] : report_definitions(data)) out += fmt::format("- {}: {}\n", m(name), m(text));
  return out;
}

}  // namespace aqlm_exp::analysis
