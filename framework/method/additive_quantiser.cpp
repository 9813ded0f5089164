#include "framework/method/additive_quantiser.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "framework/base/error.h"

namespace aqlm_exp::method {
namespace {

double loss_of(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  return quant::output_error(weight.dequantise(), problem.weight, problem.xtx) /
         static_cast<double>(weight.out_features());
}

/// One layer on its way through a schedule.
class Run {
 public:
  Run(const quant::LayerProblem& problem, const Schedule& schedule, Rng& rng, StageTimes& times, AdditiveResult& result)
      : problem_(problem), schedule_(schedule), rng_(rng), times_(times), result_(result) {}

  void add(char letter, std::unique_ptr<encoder::Encoding> encoding) { encodings_.emplace(letter, std::move(encoding)); }
  void add(char letter, std::unique_ptr<tuner::Tuning> tuning) { tunings_.emplace(letter, std::move(tuning)); }

  void run(const std::vector<ScheduleStep>& steps) {
    for (const ScheduleStep& step : steps) {
      if (step.letter != 0) {
        apply(step.letter);
      } else if (step.count == ScheduleStep::kUntilTolerance) {
        repeat_until_tolerance(step.steps);
      } else {
        for (int64_t i = 0; i < step.count; ++i) run(step.steps);
        result_.num_rounds += step.count;
      }
    }
  }

  /// Called once more at the end: losses.back() is that of the finished weight.
  void measure() {
    if (measured_) return;
    result_.losses.push_back(loss_of(problem_, *result_.weight));
    measured_ = true;
  }

  void collect_metrics() {
    for (const auto& [letter, encoding] : encodings_) result_.metrics.merge(encoding->metrics());
  }

 private:
  void apply(char letter) {
    measured_ = false;
    if (const auto encoding = encodings_.find(letter); encoding != encodings_.end()) {
      const StageTimes::Scope scope(times_, letter == 'D' ? "encoder" : "refiner");
      encoding->second->encode(*result_.weight, rng_);
      return;
    }
    const StageTimes::Scope scope(times_, letter == 'L' ? "tuner" : "scale_tuner");
    tunings_.at(letter)->tune();
  }

  void repeat_until_tolerance(const std::vector<ScheduleStep>& steps) {
    double best = std::numeric_limits<double>::infinity();
    for (int64_t round = 0; round < schedule_.max_rounds; ++round) {
      // The reference tests at the start of a round, so that it always ends with codes just searched.
      measure();
      const double loss = result_.losses.back();
      if (schedule_.relative_mse_tolerance && loss >= best * (1.0 - *schedule_.relative_mse_tolerance)) break;
      best = std::min(best, loss);
      run(steps);
      ++result_.num_rounds;
      measure();
    }
  }

  const quant::LayerProblem& problem_;
  const Schedule& schedule_;
  Rng& rng_;
  StageTimes& times_;
  AdditiveResult& result_;
  std::map<char, std::unique_ptr<encoder::Encoding>> encodings_;
  std::map<char, std::unique_ptr<tuner::Tuning>> tunings_;
  bool measured_ = false;
};

}  // namespace

AdditiveQuantiser::AdditiveQuantiser(config::Reader& root) {
  config::Reader quant = root.section("quant", {.doc = "the shape of the code"});
  spec_ = quant::read_code_spec(quant);
  initialiser_ = root.component("codebook", codebook::initialisers(), "first codes and codebooks", "residual_kmeans");
  encoder_ = root.component("encoder", encoder::encoders(), "chooses codes: D in schedule.steps", "beam_search");
  refiner_ = root.component("refiner", encoder::encoders(), "chooses codes: I in schedule.steps", "icm");
  tuner_ = root.component("tuner", tuner::tuners(), "improves codebooks and scales: L in schedule.steps", "adam");
  scale_tuner_ = root.component("scale_tuner", tuner::tuners(), "improves scales: S in schedule.steps",
                                "closed_form_scales");
  config::Reader schedule = root.section("schedule", {.doc = "how the parts alternate"});
  const std::string steps = schedule.text(
      "steps", {.fallback = "(L D)*",
                .doc = "D encoder, I refiner, L tuner, S scale tuner; (...)*5 repeats, (...)* repeats until the tolerance"});
  schedule_.max_rounds = schedule.integer(
      "max_rounds", {.fallback = 1000, .min = 0, .max = 1000000, .doc = "repetitions of a (...)* group at most"});
  schedule_.relative_mse_tolerance = schedule.optional_number(
      "relative_mse_tolerance", {.fallback = 0.01,
                                 .min = 0.0,
                                 .max = 1.0,
                                 .doc = "end (...)* when a round lowers the loss by less than this part; null: never"});
  if (!root.describing()) schedule_.steps = parse_schedule(steps);
}

AdditiveResult AdditiveQuantiser::quantise(const quant::LayerProblem& problem, Rng& rng, StageTimes& times) const {
  quant::check_problem(problem);
  spec_.check_shape(problem.name, problem.weight.size(0), problem.weight.size(1));
  AdditiveResult result;
  {
    const StageTimes::Scope scope(times, "codebook");
    const codebook::ScaledGroups scaled = codebook::divide_out_scales(problem.weight, spec_);
    const codebook::Weighting weighting{codebook::group_metric(problem.xtx, spec_.in_group_size),
                                        scaled.scales.flatten().square()};
    const quant::AdditiveCode code = initialiser_->initialise(scaled.groups, weighting, spec_, rng);
    result.weight = std::make_shared<quant::AdditiveWeight>(
        spec_, code.codes,
        code.codebooks.view({spec_.num_codebooks, spec_.codebook_size(), spec_.out_group_size, spec_.in_group_size}),
        scaled.scales);
  }
  Run run(problem, schedule_, rng, times, result);
  {
    const StageTimes::Scope scope(times, "prepare");
    if (uses_step(schedule_.steps, 'D')) run.add('D', encoder_->start(problem, spec_));
    if (uses_step(schedule_.steps, 'I')) run.add('I', refiner_->start(problem, spec_));
    if (uses_step(schedule_.steps, 'L')) run.add('L', tuner_->start(problem, *result.weight));
    if (uses_step(schedule_.steps, 'S')) run.add('S', scale_tuner_->start(problem, *result.weight));
  }
  run.measure();
  run.run(schedule_.steps);
  run.measure();
  run.collect_metrics();
  return result;
}

}  // namespace aqlm_exp::method
