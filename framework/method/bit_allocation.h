// Which linear gets how many bits: a budget over all linears, spent where measured error falls most.
// Sources: HIGGS, arXiv:2411.17525 §4 (the loss is near enough linear in the linears' errors, so a knapsack chooses);
// sensitivities here from the squared gradient of the loss at each linear's output, arXiv:2505.07004.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/method/method.h"

namespace aqlm_exp::method {

struct BitChoice {
  int64_t bits = 0;    ///< of the whole linear
  double error = 0.0;  ///< what it adds to the loss
};

struct BitPlan {
  std::vector<size_t> choice;  ///< one a linear: index into its curve
  int64_t bits = 0;
  double error = 0.0;
};

/// The choices with the least sum of errors whose bits sum to at most `budget_bits`: dynamic programme over the bits in
/// units of their greatest common divisor. Exact, unless that needs more than 2^26 states in all: bits then round up to
/// a coarser unit, so that the budget still holds. Ties: fewer bits, then the lower index.
/// @param curves one a linear, each with at least one choice
/// @throws ConfigError if even the smallest choices exceed the budget
BitPlan allocate_bits(const std::vector<std::vector<BitChoice>>& curves, int64_t budget_bits);

/// Reads `allocation.target_bits`; the choices beside it belong to the method.
/// @param read_choice reads one entry of `allocation.choices`
std::optional<double> read_allocation(config::Reader& root, const std::function<void(config::Reader&)>& read_choice);

/// Measures the error curve of every linear of the float model and allocates target_bits a weight.
/// Error of a choice: ½ Σ over tokens of the squared error of each output times the squared gradient there, as
/// ½ g² tr(E H Eᵀ), H with token weights and g² their mean square. Adds metrics to the context.
/// @param make quantises one linear with choice c, quickly
/// @return choice by the linear's name
std::map<std::string, size_t> allocate_linears(
    const model::Model& model, const Calibration& calibration, Context& context, size_t num_choices, double target_bits,
    const std::function<std::shared_ptr<quant::Weight>(const quant::LayerProblem& problem, size_t c)>& make);

}  // namespace aqlm_exp::method
