// `aqlm-exp report`, `diff` and `export`: from output folders to documents.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "analysis/csv_report.h"
#include "analysis/diff.h"
#include "analysis/json_report.h"
#include "analysis/pivot.h"
#include "analysis/sqlite_export.h"
#include "analysis/write_report.h"
#include "experiments/app/driver_commands.h"
#include "experiments/app/load_dataset.h"
#include "experiments/app/progress_display.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/plan/command.h"
#include "framework/base/log.h"

namespace aqlm_exp::app {
namespace {

struct ReportArguments {
  std::vector<std::string> folders;
  std::string to;
  std::vector<double> budgets;
  bool html = false, markdown = false, csv = false, latex = false, json = false;
  std::vector<std::string> pivot;
  analysis::ModelOptions model;
};

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

analysis::ReportFormats formats_of(const ReportArguments& arguments) {
  const bool all = !arguments.html && !arguments.markdown && !arguments.csv && !arguments.latex && !arguments.json;
  if (all) return {};
  return {.html = arguments.html,
          .markdown = arguments.markdown,
          .csv = arguments.csv,
          .latex = arguments.latex,
          .json = arguments.json};
}

/// A sweep, or one trial of it as OUT:ID.
analysis::Dataset load_side(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || std::filesystem::is_directory(text)) return load_dataset({text}, {});
  const std::string folder = text.substr(0, colon);
  const std::string id = find_trial(open_out({folder}), text.substr(colon + 1)).id;
  analysis::Dataset data = load_dataset({folder}, {});
  std::erase_if(data.rows, [&](const analysis::TrialRow& row) { return row.id != id; });
  return data;
}

/// The kind of file that a name or --format asks for.
std::string export_format(const std::string& file, const std::string& format) {
  if (!format.empty()) return format;
  const std::string extension = std::filesystem::path(file).extension().string();
  if (extension == ".csv") return "csv";
  if (extension == ".json") return "json";
  if (extension == ".sqlite" || extension == ".sqlite3" || extension == ".db") return "sqlite";
  throw UsageError("export: cannot tell the format of \"" + file +
                   "\"; name it .csv, .json or .sqlite, or give --format csv, json or sqlite");
}

struct ExportArguments {
  std::vector<std::string> folders;
  std::string file, format;
  bool layers = false;
  analysis::ModelOptions model;
};

void export_sweep(const ExportArguments& arguments) {
  const std::string format = export_format(arguments.file, arguments.format);
  if (format == "sqlite" && arguments.file == "-") {
    throw UsageError("export: a database does not go to stdout; give -o FILE.sqlite");
  }
  if (arguments.layers && format != "csv") throw UsageError("export: --layers is for CSV; the other formats hold both");
  const analysis::Dataset data = load_dataset(arguments.folders, {});
  const analysis::Report report = analysis::build_report(data, arguments.model);
  if (format == "sqlite") {
    analysis::export_sqlite(report, arguments.file);
  } else {
    const std::string text = format == "json"   ? analysis::json_report(report)
                             : arguments.layers ? analysis::layers_csv(report)
                                                : analysis::summary_csv(report);
    if (arguments.file == "-") {
      print(text);
      return;
    }
    write_file_atomically(arguments.file, text);
  }
  log_info("{}: {} trial(s)", arguments.file, data.rows.size());
}

void report(ReportArguments& arguments) {
  std::sort(arguments.budgets.begin(), arguments.budgets.end());
  const analysis::Dataset data = load_dataset(arguments.folders, arguments.budgets);
  if (!arguments.pivot.empty()) {
    const analysis::PivotSpec spec = analysis::parse_pivot(arguments.pivot);
    const auto tables = analysis::pivot(analysis::build_report(data, arguments.model), spec, arguments.model);
    print(arguments.csv ? analysis::pivot_csv(tables, spec) : analysis::pivot_text(tables, spec, terminal_width(1)));
    return;
  }
  const std::filesystem::path folder = arguments.to.empty()
                                           ? std::filesystem::path(arguments.folders.front()) / "report"
                                           : std::filesystem::path(arguments.to);
  for (const std::filesystem::path& path :
       analysis::write_report(data, arguments.model, formats_of(arguments), folder)) {
    fmt::print("{}\n", path.string());
  }
  std::fflush(stdout);
}

}  // namespace

void write_out_report(const plan::OutFolder& out) {
  try {
    const analysis::Dataset data = load_dataset({out.root.string()}, {});
    const auto written = analysis::write_report(data, {}, {}, out.root / "report");
    log_info("report: {}", written.front().string());
  } catch (const Error& error) {
    log_warning("no report: {}; the results are safe, `aqlm-exp report {}` makes it", error.what(),
                plan::shell_quoted(out.root.string()));
  }
}

void add_report_commands(CLI::App& app, int& /*exit_code*/) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command =
      app.add_subcommand("report", "tables and pictures of one or several sweeps: HTML, Markdown, CSV, LaTeX, JSON");
  command->add_option("OUT", arguments->folders, "output folders of sweeps")->required();
  command->add_option("--to", arguments->to, "folder to write into [OUT/report]");
  command->add_option("--budgets", arguments->budgets, "upper bounds of the bit budgets, e.g. 2.25,3.25 [of the sweep]")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command->add_flag("--html", arguments->html, "only report.html (these flags add up)");
  command->add_flag("--md", arguments->markdown, "only report.md and its pictures");
  command->add_flag("--csv", arguments->csv, "only summary.csv and layers.csv");
  command->add_flag("--tex", arguments->latex, "only table.tex");
  command->add_flag("--json", arguments->json, "only report.json");
  command->add_flag("--allow-mixed-hardware", arguments->model.allow_mixed_hardware,
                    "rank trials of different hardware together");
  command->add_flag("--allow-mixed-builds", arguments->model.allow_mixed_builds,
                    "rank trials of different builds together");
  command->add_option("--pivot", arguments->pivot,
                      "print a table in place of a report: rows=method cols=quant.nbits value=ppl [agg=median]; with "
                      "--csv as CSV");
  command->callback([arguments] { report(*arguments); });

  struct DiffArguments {
    std::string a, b;
    bool json = false, all = false;
  };
  auto sides = std::make_shared<DiffArguments>();
  CLI::App* diff =
      app.add_subcommand("diff", "what differs between two sweeps, and whether config, code, machine or noise did it");
  diff->add_option("A", sides->a, "output folder, or one trial as OUT:ID")->required();
  diff->add_option("B", sides->b, "the other one")->required();
  diff->add_flag("--json", sides->json, "one JSON document");
  diff->add_flag("--all", sides->all, "also list numbers that are equal or differ by noise");
  diff->callback([sides] {
    const analysis::Dataset a = load_side(sides->a), b = load_side(sides->b);
    const analysis::Diff result = analysis::diff(a, b);
    print(sides->json ? analysis::diff_json(result, a, b)
                      : analysis::diff_text(result, a, b, terminal_width(1), sides->all));
  });

  auto to = std::make_shared<ExportArguments>();
  CLI::App* exporter = app.add_subcommand("export", "all trials as one CSV, JSON or SQLite file");
  exporter->add_option("OUT", to->folders, "output folders of sweeps")->required();
  exporter->add_option("-o,--out", to->file, "file to write; its ending tells the format; - is stdout")->required();
  exporter->add_option("--format", to->format, "csv, json or sqlite")->check(CLI::IsMember({"csv", "json", "sqlite"}));
  exporter->add_flag("--layers", to->layers, "CSV: one row a quantised linear in place of one a trial");
  exporter->add_flag("--allow-mixed-hardware", to->model.allow_mixed_hardware,
                     "rank trials of different hardware together");
  exporter->add_flag("--allow-mixed-builds", to->model.allow_mixed_builds, "rank trials of different builds together");
  exporter->callback([to] { export_sweep(*to); });
}

}  // namespace aqlm_exp::app
