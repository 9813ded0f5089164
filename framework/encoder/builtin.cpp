#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/encoder/encoder.h"

namespace aqlm_exp::encoder {

const EncoderRegistry& encoders() {
  static const EncoderRegistry registry = [] {
    EncoderRegistry list;
    register_beam_search(list);
    register_ldlq(list);
    register_icm(list);
    return list;
  }();
  return registry;
}

void check_shapes(const char* where, const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  if (problem.weight.size(0) == weight.out_features() && problem.weight.size(1) == weight.in_features()) return;
  throw DataError(fmt::format("[{}] {}: weight [{}, {}] and its code for [{}, {}] disagree", where, problem.name,
                              problem.weight.size(0), problem.weight.size(1), weight.out_features(),
                              weight.in_features()));
}

}  // namespace aqlm_exp::encoder
