// report.json: everything a report says as data; docs/report.schema.json describes it.
#pragma once

#include <string>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// One JSON document; NaN is null.
std::string json_report(const Report& report);

}  // namespace aqlm_exp::analysis
