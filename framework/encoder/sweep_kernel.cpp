#include "framework/encoder/sweep_kernel.h"

#include <ATen/ATen.h>

namespace aqlm_exp::encoder {

bool read_implementation(config::Reader& in) {
  return in.text("implementation", {.fallback = "auto",
                                    .choices = {"auto", "plain"},
                                    .doc = "auto: a fused kernel where there is one for this code and device (recorded "
                                           "per layer as ldlq_kernel and icm_kernel); plain: tensor operations only"}) ==
         "plain";
}

search::Sweep sweep_of(const quant::AdditiveWeight& weight, const SearchOptions& options, search::SweepKind kind) {
  const quant::CodeSpec& spec = weight.spec();
  search::Sweep sweep;
  sweep.kind = kind;
  const SearchKind search = search_kind(options, spec);
  sweep.search = search == SearchKind::kJoint ? search::SweepSearch::kExact : search::SweepSearch::kStages;
  sweep.candidates = search == SearchKind::kGreedy ? 1 : options.candidates;
  sweep.scales = weight.scales().detach().flatten().contiguous();
  sweep.codebooks = weight.codebooks().detach().flatten(2).contiguous();  // [M, K, og * ig]
  return sweep;
}

bool run_sweep(const search::Sweep& sweep, quant::AdditiveWeight& weight) {
  if (weight.spec().out_group_size != 1 || !search::supported(sweep)) return false;
  at::Tensor codes = weight.codes().clone();
  search::run(sweep, codes);
  weight.set_codes(codes);
  return true;
}

}  // namespace aqlm_exp::encoder
