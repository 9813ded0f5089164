// Codebook tuners: better codebooks and scales for fixed codes.
#pragma once

#include <memory>

#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::tuner {

/// One layer being tuned; optimiser state lives here from round to round.
class Tuning {
 public:
  virtual ~Tuning() = default;
  /// One round on the weight given to start(): changes its codebooks and scales in place.
  virtual void tune() = 0;
};

class Tuner {
 public:
  virtual ~Tuner() = default;
  /// `problem` and `weight` must outlive the result. The codes of `weight` may change between rounds.
  virtual std::unique_ptr<Tuning> start(const quant::LayerProblem& problem, quant::AdditiveWeight& weight) const = 0;
};

using TunerRegistry = config::Registry<Tuner>;

void register_adam(TunerRegistry& registry);
void register_least_squares(TunerRegistry& registry);
void register_closed_form_scales(TunerRegistry& registry);
void register_none(TunerRegistry& registry);

/// Every built-in tuner.
const TunerRegistry& tuners();

}  // namespace aqlm_exp::tuner
