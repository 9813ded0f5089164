#include "analysis/write_report.h"

#include <set>

#include "analysis/csv_report.h"
#include "analysis/html_report.h"
#include "analysis/json_report.h"
#include "analysis/latex_report.h"
#include "analysis/markdown_report.h"
#include "analysis/plot/canvas.h"
#include "framework/base/file.h"
#include "framework/results/storage.h"

namespace aqlm_exp::analysis {

namespace fs = std::filesystem;

std::vector<fs::path> write_report(const Dataset& data, const ModelOptions& options, const ReportFormats& formats,
                                   const fs::path& folder) {
  const Report report = build_report(data, options);
  results::make_folders(folder);
  std::vector<fs::path> written;
  const auto put = [&](const fs::path& name, const std::string& text) {
    write_file_atomically(folder / name, text);
    written.push_back(folder / name);
  };
  std::vector<GroupFigures> figures;
  if (formats.html || formats.markdown) {
    for (const Group& group : report.groups) figures.push_back(draw_group(report, group));
  }
  if (formats.html) put("report.html", html_report(report, figures));
  if (formats.markdown) {
    const fs::path pictures = folder / "figures";
    results::make_folders(pictures);
    std::set<std::string> names;
    for (const GroupFigures& group : figures) {
      for (const FigureSection* section : group.all()) {
        for (const plot::Figure& figure : section->figures) {
          names.insert(figure.id + ".svg");
          write_file_atomically(pictures / (figure.id + ".svg"), plot::svg_document(figure));
        }
      }
    }
    std::error_code ignored;
    std::vector<fs::path> stale;
    for (fs::directory_iterator it(pictures, ignored), end; !ignored && it != end; it.increment(ignored)) {
      const std::string name = it->path().filename().string();
      // Only names that this program gives: g0-....svg
      const bool ours = name.size() > 2 && name.front() == 'g' && name[1] >= '0' && name[1] <= '9' &&
                        it->path().extension() == ".svg";
      if (ours && names.count(name) == 0) stale.push_back(it->path());
    }
    for (const fs::path& path : stale) fs::remove(path, ignored);
    put("report.md", markdown_report(report, figures));
  }
  if (formats.csv) {
    put("summary.csv", summary_csv(report));
    put("layers.csv", layers_csv(report));
  }
  if (formats.latex) put("table.tex", latex_table(report));
  if (formats.json) put("report.json", json_report(report));
  return written;
}

}  // namespace aqlm_exp::analysis
