// What the fuzzers of framework/config run on one input. Each aborts when a promise is broken: no crash, no hang, an
// input is either taken or refused with a problem, print → parse is the identity, resolving twice changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace aqlm_exp::config::fuzz {

void yaml(const uint8_t* data, size_t size);           ///< one YAML file
void overrides(const uint8_t* data, size_t size);      ///< one override
void interpolation(const uint8_t* data, size_t size);  ///< a YAML map whose strings hold references
/// Overrides, one a line; then files, each after a line "## group/option"; the first one is the primary file.
void composition(const uint8_t* data, size_t size);

}  // namespace aqlm_exp::config::fuzz
