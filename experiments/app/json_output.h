// JSON documents on stdout.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace aqlm_exp::app {

using Json = nlohmann::ordered_json;

inline void print_json(const Json& json) { fmt::print("{}\n", json.dump(2)); }

}  // namespace aqlm_exp::app
