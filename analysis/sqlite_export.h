// A sweep as an SQLite database.
#pragma once

#include <filesystem>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// Tables: trials (one row a planned trial), layers (one a quantised linear), metrics and fields (what columns mean),
/// samples (values per window or repeat), provenance (trial, key, value). Numbers are REAL, NaN is NULL. Written beside
/// `path` and renamed over it.
/// @throws StorageError
void export_sqlite(const Report& report, const std::filesystem::path& path);

}  // namespace aqlm_exp::analysis
