// Runs a parsed chat template.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "framework/text/jinja_parser.h"

namespace aqlm_exp::text::jinja {

/// @param now  seconds since 1970, UTC
/// @throws DataError: see ChatTemplate::render
std::string render(const Node& root, std::string_view where, Dict variables, int64_t now);

}  // namespace aqlm_exp::text::jinja
