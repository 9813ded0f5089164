#include "framework/method/additive_quantiser.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace aqlm_exp::method {
namespace {

double loss_of(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  return quant::output_error(weight.dequantise(), problem.weight, problem.xtx) /
         static_cast<double>(weight.out_features());
}

}  // namespace

AdditiveQuantiser::AdditiveQuantiser(config::Reader& root) {
  config::Reader quant = root.section("quant", {.doc = "the shape of the code"});
  spec_ = quant::read_code_spec(quant);
  initialiser_ = root.component("codebook", codebook::initialisers(), "first codes and codebooks", "residual_kmeans");
  encoder_ = root.component("encoder", encoder::encoders(), "chooses codes", "beam_search");
  tuner_ = root.component("tuner", tuner::tuners(), "improves codebooks and scales", "adam");
  config::Reader schedule = root.section("schedule", {.doc = "how tuner and encoder alternate"});
  schedule_.max_rounds = schedule.integer(
      "max_rounds", {.fallback = 1000, .min = 0, .max = 1000000, .doc = "rounds of tuner and encoder at most"});
  schedule_.relative_mse_tolerance = schedule.optional_number(
      "relative_mse_tolerance", {.fallback = 0.01,
                                 .min = 0.0,
                                 .max = 1.0,
                                 .doc = "stop when a round lowers the loss by less than this part; null: never"});
}

AdditiveResult AdditiveQuantiser::quantise(const quant::LayerProblem& problem, Rng& rng, StageTimes& times) const {
  quant::check_problem(problem);
  spec_.check_shape(problem.name, problem.weight.size(0), problem.weight.size(1));
  AdditiveResult result;
  {
    const StageTimes::Scope scope(times, "codebook");
    const codebook::ScaledGroups scaled = codebook::divide_out_scales(problem.weight, spec_);
    const at::Tensor metric = codebook::group_metric(problem.xtx, spec_.in_group_size);
    const quant::AdditiveCode code = initialiser_->initialise(scaled.groups, metric, spec_, rng);
    result.weight = std::make_shared<quant::AdditiveWeight>(
        spec_, code.codes,
        code.codebooks.view({spec_.num_codebooks, spec_.codebook_size(), spec_.out_group_size, spec_.in_group_size}),
        scaled.scales);
  }
  result.losses.push_back(loss_of(problem, *result.weight));
  const std::unique_ptr<tuner::Tuning> tuning = tuner_->start(problem, *result.weight);
  double best = std::numeric_limits<double>::infinity();
  for (int64_t round = 0; round < schedule_.max_rounds; ++round) {
    // The reference tests at the start of a round, so that it always ends with codes just searched.
    const double loss = result.losses.back();
    if (schedule_.relative_mse_tolerance && loss >= best * (1.0 - *schedule_.relative_mse_tolerance)) break;
    best = std::min(best, loss);
    {
      const StageTimes::Scope scope(times, "tuner");
      tuning->tune();
    }
    {
      const StageTimes::Scope scope(times, "encoder");
      encoder_->encode(problem, *result.weight, rng);
    }
    result.losses.push_back(loss_of(problem, *result.weight));
  }
  return result;
}

}  // namespace aqlm_exp::method
