// `aqlm-exp report`: from output folders to documents.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "analysis/write_report.h"
#include "experiments/app/driver_commands.h"
#include "experiments/app/load_dataset.h"
#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::app {
namespace {

struct ReportArguments {
  std::vector<std::string> folders;
  std::string to;
  std::vector<double> budgets;
  bool html = false, markdown = false, csv = false, latex = false, json = false;
  analysis::ModelOptions model;
};

analysis::ReportFormats formats_of(const ReportArguments& arguments) {
  const bool all = !arguments.html && !arguments.markdown && !arguments.csv && !arguments.latex && !arguments.json;
  if (all) return {};
  return {.html = arguments.html,
          .markdown = arguments.markdown,
          .csv = arguments.csv,
          .latex = arguments.latex,
          .json = arguments.json};
}

void report(ReportArguments& arguments) {
  std::sort(arguments.budgets.begin(), arguments.budgets.end());
  const analysis::Dataset data = load_dataset(arguments.folders, arguments.budgets);
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
                shell_quoted(out.root.string()));
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
  command->callback([arguments] { report(*arguments); });
}

}  // namespace aqlm_exp::app
