// Encoders: rounds of choosing codes for fixed codebooks and scales.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "framework/base/rng.h"
#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::encoder {

/// One layer being encoded: what depends on the problem alone (factors of xtx, orders) is made once and kept here.
class Encoding {
 public:
  virtual ~Encoding() = default;
  /// One round: replaces the codes of `weight`; codebooks and scales stay.
  virtual void encode(quant::AdditiveWeight& weight, Rng& rng) = 0;
  /// Numbers for the layer's report, such as extra_damping.
  virtual std::map<std::string, double> metrics() const { return {}; }
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  /// `problem` must outlive the result.
  /// @throws DataError if problem and spec disagree; ConfigError for codes this encoder cannot search;
  ///         NumericalError for an xtx it cannot use
  virtual std::unique_ptr<Encoding> start(const quant::LayerProblem& problem, const quant::CodeSpec& spec) const = 0;
  /// A single round.
  void encode(const quant::LayerProblem& problem, quant::AdditiveWeight& weight, Rng& rng) const {
    start(problem, weight.spec())->encode(weight, rng);
  }
};

using EncoderRegistry = config::Registry<Encoder>;

void register_beam_search(EncoderRegistry& registry);
void register_ldlq(EncoderRegistry& registry);
void register_icm(EncoderRegistry& registry);

/// Every built-in encoder.
const EncoderRegistry& encoders();

/// @throws DataError if the weight of `problem` has another shape than `weight`
void check_shapes(const char* where, const quant::LayerProblem& problem, const quant::AdditiveWeight& weight);

}  // namespace aqlm_exp::encoder
