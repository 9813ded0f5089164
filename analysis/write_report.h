// Writes a report in every format into a folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

struct ReportFormats {
  bool html = true, markdown = true, csv = true, latex = true, json = true;
};

/// report.html, report.md with figures/*.svg, summary.csv, layers.csv, table.tex, report.json. Each file is replaced as
/// a whole; pictures of an earlier report that are no longer drawn are removed.
/// @return the paths written, report.html first
/// @throws StorageError
std::vector<std::filesystem::path> write_report(const Dataset& data, const ModelOptions& options,
                                                const ReportFormats& formats, const std::filesystem::path& folder);

}  // namespace aqlm_exp::analysis
