#include "tests/framework/model/quantised_families.h"

#include <ATen/ATen.h>

#include <cmath>

#include "framework/quant/additive_weight.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::test {

std::filesystem::path family_folder(const std::string& name) {
  return std::filesystem::path(AQLM_EXP_SOURCE_DIR) / "tests" / "golden" / "families" / name;
}

model::Model quantised_family(const std::string& name, const quant::CodeSpec& spec) {
  model::Model model = model::load_model(family_folder(name), at::kCPU);
  uint64_t seed = 100;
  for (model::Linear* linear : model.linears()) {
    const int64_t out = linear->weight->out_features(), in = linear->weight->in_features();
    const std::vector<int64_t> shape = {out / spec.out_group_size, in / spec.in_group_size, spec.num_codebooks};
    const at::Tensor uniform = gaussian(shape, ++seed).mul(1000).abs().to(at::kInt).remainder(spec.codebook_size());
    const at::Tensor codebooks =
        gaussian({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}, ++seed);
    const at::Tensor scales =
        (gaussian({shape[0], 1, 1, 1}, ++seed) * 0.2 + 1.0) / std::sqrt(static_cast<double>(in * spec.num_codebooks));
    auto weight = std::make_shared<quant::AdditiveWeight>(spec, uniform, codebooks, scales);
    weight->round_to_storage();
    linear->weight = std::move(weight);
  }
  return model;
}

}  // namespace aqlm_exp::test
