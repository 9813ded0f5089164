// One linear layer to an additive code: initialise, then encoders and tuners in the order of a schedule.
// Source: AQLM, arXiv:2401.06118, algorithm 1, and the reference implementation.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "framework/base/timer.h"
#include "framework/codebook/initialiser.h"
#include "framework/config/reader.h"
#include "framework/encoder/encoder.h"
#include "framework/method/schedule.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/layer_problem.h"
#include "framework/tuner/tuner.h"

namespace aqlm_exp::method {

struct Schedule {
  std::vector<ScheduleStep> steps;
  int64_t max_rounds = 1000;                     ///< repetitions of a (...)* group at most
  std::optional<double> relative_mse_tolerance;  ///< end such a group when a repetition lowers the loss by less
};

struct AdditiveResult {
  std::shared_ptr<quant::AdditiveWeight> weight;
  /// tr((Ŵ−W)H(Ŵ−W)ᵀ)/out_features after initialisation, after each repetition of a (...)* group, and at the end
  std::vector<double> losses;
  int64_t num_rounds = 0;                 ///< repetitions of groups
  std::map<std::string, double> metrics;  ///< of the encoders, such as extra_damping
};

class AdditiveQuantiser {
 public:
  /// Reads the sections quant, codebook, encoder, refiner, tuner, scale_tuner and schedule of the config's root.
  explicit AdditiveQuantiser(config::Reader& root);
  /// @throws DataError for shapes the spec does not tile, NaN or infinite values
  AdditiveResult quantise(const quant::LayerProblem& problem, Rng& rng, StageTimes& times) const;
  const quant::CodeSpec& spec() const { return spec_; }

 private:
  quant::CodeSpec spec_;
  std::unique_ptr<codebook::Initialiser> initialiser_;
  std::unique_ptr<encoder::Encoder> encoder_, refiner_;
  std::unique_ptr<tuner::Tuner> tuner_, scale_tuner_;
  Schedule schedule_;
};

}  // namespace aqlm_exp::method
