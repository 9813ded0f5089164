#include "framework/method/bit_allocation.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/block_loop.h"
#include "framework/method/objective.h"
#include "framework/method/stage_inputs.h"
#include "framework/method/token_weights.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kMostStates = int64_t{1} << 26;  // of all linears together
constexpr double kCurveDamping = 0.1;              // of the problems behind the curves

int64_t least_bits(const std::vector<BitChoice>& curve) {
  return std::min_element(curve.begin(), curve.end(), [](const auto& a, const auto& b) { return a.bits < b.bits; })
      ->bits;
}

}  // namespace

BitPlan allocate_bits(const std::vector<std::vector<BitChoice>>& curves, int64_t budget_bits) {
  int64_t base = 0, unit = 0;
  for (const auto& curve : curves) {
    if (curve.empty()) throw InternalError("[allocate_bits] a linear without choices");
    const int64_t least = least_bits(curve);
    base += least;
    for (const BitChoice& choice : curve) unit = std::gcd(unit, choice.bits - least);
  }
  if (base > budget_bits) {
    throw ConfigError(fmt::format(
        "allocation.target_bits: the smallest choices take {} bits, the budget has {}; raise target_bits or "
        "add smaller choices",
        base, budget_bits));
  }
  unit = std::max<int64_t>(unit, 1);
  const int64_t room = budget_bits - base;
  const int64_t most_states =
      std::max<int64_t>(1, kMostStates / std::max<int64_t>(1, static_cast<int64_t>(curves.size())));
  if (room / unit + 1 > most_states) unit = (room + most_states - 1) / most_states;
  const auto num_states = static_cast<size_t>(room / unit + 1);
  // best[u]: least error of the linears so far with at most u units above their smallest choices
  std::vector<double> best(num_states, 0.0);
  std::vector<std::vector<uint16_t>> taken(curves.size(), std::vector<uint16_t>(num_states, 0));
  for (size_t i = 0; i < curves.size(); ++i) {
    const int64_t least = least_bits(curves[i]);
    std::vector<size_t> order(curves[i].size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return curves[i][a].bits < curves[i][b].bits; });
    std::vector<double> next(num_states, std::numeric_limits<double>::infinity());
    for (const size_t c : order) {
      const auto cost = static_cast<size_t>((curves[i][c].bits - least + unit - 1) / unit);
      for (size_t u = cost; u < num_states; ++u) {
        const double error = best[u - cost] + curves[i][c].error;
        if (error < next[u]) {
          next[u] = error;
          taken[i][u] = static_cast<uint16_t>(c);
        }
      }
    }
    best = std::move(next);
  }
  BitPlan plan;
  plan.choice.resize(curves.size());
  // The fewest units that reach the least error.
  auto u = static_cast<size_t>(std::min_element(best.begin(), best.end()) - best.begin());
  for (size_t i = curves.size(); i-- > 0;) {
    const size_t c = taken[i][u];
    plan.choice[i] = c;
    plan.bits += curves[i][c].bits;
    plan.error += curves[i][c].error;
    u -= static_cast<size_t>((curves[i][c].bits - least_bits(curves[i]) + unit - 1) / unit);
  }
  return plan;
}

std::optional<double> read_allocation(config::Reader& root, const std::function<void(config::Reader&)>& read_choice) {
  config::Reader in = root.section("allocation", {.doc = "bits linear by linear, to a budget over all of them"});
  const std::optional<double> target = in.optional_number(
      "target_bits", {.min = 0.1, .max = 16.0, .unit = "bits", .doc = "a weight, over all linears; null: all alike"});
  size_t num_choices = 0;
  in.sections("choices", {.doc = "what a linear can be stored as"}, [&](config::Reader& entry) {
    read_choice(entry);
    ++num_choices;
  });
  if (!root.describing() && target && num_choices == 0) {
    throw ConfigError("allocation.choices: got none with allocation.target_bits set, need at least one");
  }
  return target;
}

std::map<std::string, size_t> allocate_linears(
    const model::Model& model, const Calibration& calibration, Context& context, size_t num_choices, double target_bits,
    const std::function<std::shared_ptr<quant::Weight>(const quant::LayerProblem& problem, size_t c)>& make) {
  const c10::NoGradGuard no_grad;
  for (const model::DecoderBlock& block : model.blocks) {
    if (block.moe.empty()) continue;
    throw ConfigError(fmt::format(
        "allocation: {} is a mixture of experts, whose tokens cannot be weighted; need allocation.target_bits: null",
        block.name));
  }
  const StageTimes::Scope scope(context.times, "allocation");
  model::Model original = model.clone();
  const auto weights = token_weights(original, calibration, {}, context.cache);
  at::Tensor inputs = embed_calibration(original, calibration);
  std::vector<std::vector<BitChoice>> curves;
  std::vector<std::string> names;
  int64_t num_weights = 0;
  for (size_t i = 0; i < original.blocks.size(); ++i) {
    model::DecoderBlock& block = original.blocks[i];
    const Stages stages = block.stages();
    std::map<std::string, MomentAccumulator> sums;
    inputs = stream_stage_inputs(
        *original.rotary, block, inputs, stages, /*want_outputs=*/true,
        [&](size_t stage, int64_t sample, const at::Tensor& x) {
          for (const model::Linear* linear : stages[stage]) {
            sums[linear->role].add(x, {}, weights[i].at(linear->role).weights.slice(0, sample, sample + x.size(0)));
          }
        });
    for (const model::Linear* linear : block.linears()) {
      const at::Tensor weight = linear->weight->dequantise().detach().to(at::kFloat);
      const Moments moments = sums.at(linear->role).mean();
      const quant::LayerProblem problem = make_problem(weight, moments, {.damping = kCurveDamping}, linear->name);
      std::vector<BitChoice> curve;
      for (size_t c = 0; c < num_choices; ++c) {
        const std::shared_ptr<quant::Weight> trial = make(problem, c);
        const double error = quant::output_error(trial->dequantise().detach(), weight, moments.xtx);
        curve.push_back({trial->bits().total_bits(), 0.5 * weights[i].at(linear->role).mean_square * error});
      }
      curves.push_back(std::move(curve));
      names.push_back(linear->name);
      num_weights += weight.numel();
    }
    report_progress("error curves", static_cast<int64_t>(i) + 1, static_cast<int64_t>(original.blocks.size()));
  }
  const auto budget = static_cast<int64_t>(std::floor(target_bits * static_cast<double>(num_weights)));
  const BitPlan plan = allocate_bits(curves, budget);
  context.metrics["allocation_bits_per_weight"] = static_cast<double>(plan.bits) / static_cast<double>(num_weights);
  context.metrics["allocation_predicted_loss"] = plan.error;
  std::map<std::string, size_t> out;
  for (size_t i = 0; i < names.size(); ++i) {
    out[names[i]] = plan.choice[i];
    log_debug("{}: choice {} of {}", names[i], plan.choice[i] + 1, num_choices);
  }
  for (size_t c = 0; c < num_choices; ++c) {
    const auto count = std::count(plan.choice.begin(), plan.choice.end(), c);
    context.notes.push_back(fmt::format("allocation: {} of {} linears take choice {}", count, names.size(), c + 1));
  }
  return out;
}

}  // namespace aqlm_exp::method
