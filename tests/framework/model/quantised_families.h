// Golden family checkpoints with random additive codes in place of their linears.
#pragma once

#include <filesystem>
#include <string>

#include "framework/model/model.h"
#include "framework/quant/code_spec.h"

namespace aqlm_exp::test {

/// tests/golden/families/NAME
std::filesystem::path family_folder(const std::string& name);

/// Loads a family and gives every linear random codes, codebooks and scales, rounded to what is stored; sized so that
/// activations stay as they were.
model::Model quantised_family(const std::string& name, const quant::CodeSpec& spec);

}  // namespace aqlm_exp::test
