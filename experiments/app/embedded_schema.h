// The schema that `aqlm-exp-trial describe --json` printed while the driver was built.
#pragma once

#include <string_view>

namespace aqlm_exp::app {

/// Empty when the driver was built without a worker.
extern const std::string_view kEmbeddedTrialSchema;

}  // namespace aqlm_exp::app
