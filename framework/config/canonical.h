// One spelling for equal data: what identities are hashes of (design/experiments.md 2.1).
#pragma once

#include <string>

#include "framework/config/node.h"

namespace aqlm_exp::config {

/// JSON in the spirit of RFC 8785: UTF-8, keys sorted by byte, no blanks, numbers as ECMAScript prints them (shortest
/// round trip; 1.0 and 1 are both "1"; -0 is "0"), strings with the fewest escapes. Non-finite numbers, which JSON
/// lacks, become the strings "!!float .inf", "!!float -.inf" and "!!float .nan"; a string that starts with "!!" gets a
/// third "!".
std::string canonical_json(const Node& node);

/// A double as ECMAScript's Number::toString prints it.
std::string canonical_number(double value);

}  // namespace aqlm_exp::config
