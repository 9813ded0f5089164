// One linear layer to an additive code: initialise, then alternate tuner and encoder until it stops paying.
// Source: AQLM, arXiv:2401.06118, algorithm 1, and the reference implementation.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/base/rng.h"
#include "framework/base/timer.h"
#include "framework/codebook/initialiser.h"
#include "framework/config/reader.h"
#include "framework/encoder/encoder.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/layer_problem.h"
#include "framework/tuner/tuner.h"

namespace aqlm_exp::method {

struct Schedule {
  int64_t max_rounds = 1000;                     ///< tuner + encoder rounds at most
  std::optional<double> relative_mse_tolerance;  ///< stop when a round lowers the loss by less than this part of it
};

struct AdditiveResult {
  std::shared_ptr<quant::AdditiveWeight> weight;
  std::vector<double> losses;  ///< tr((Ŵ−W)H(Ŵ−W)ᵀ)/out_features after initialisation and after each round
};

class AdditiveQuantiser {
 public:
  /// Reads the sections quant, codebook, encoder, tuner and schedule of the config's root.
  explicit AdditiveQuantiser(config::Reader& root);
  /// @throws DataError for shapes the spec does not tile, NaN or infinite values
  AdditiveResult quantise(const quant::LayerProblem& problem, Rng& rng, StageTimes& times) const;
  const quant::CodeSpec& spec() const { return spec_; }

 private:
  quant::CodeSpec spec_;
  std::unique_ptr<codebook::Initialiser> initialiser_;
  std::unique_ptr<encoder::Encoder> encoder_;
  std::unique_ptr<tuner::Tuner> tuner_;
  Schedule schedule_;
};

}  // namespace aqlm_exp::method
