// Random residual groups as codewords, codes by greedy residual assignment: the baseline that shows what a better
// initialiser is worth.

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "framework/codebook/initialiser.h"
#include "framework/codebook/kmeans.h"

namespace aqlm_exp::codebook {
namespace {

class RandomInitialiser final : public Initialiser {
 public:
  quant::AdditiveCode initialise(const at::Tensor& groups, const Weighting&, const quant::CodeSpec& spec,
                                 Rng& rng) const override {
    check_groups("random", groups, spec);
    at::Tensor residual = groups.reshape({-1, spec.group_size()}).clone();  // [num_groups, group_size]
    std::vector<at::Tensor> codes, codebooks;
    for (int64_t m = 0; m < spec.num_codebooks; ++m) {
      std::vector<int64_t> picks = rng.permutation(residual.size(0));
      const int64_t count = std::min(spec.codebook_size(), residual.size(0));
      picks.resize(static_cast<size_t>(count));
      at::Tensor book = at::zeros({spec.codebook_size(), spec.group_size()}, residual.options());
      book.slice(0, 0, count).copy_(residual.index_select(0, at::tensor(picks, at::kLong).to(residual.device())));
      const at::Tensor assignment = nearest_centroid(residual, book);
      residual.sub_(book.index_select(0, assignment.to(at::kLong)));
      codes.push_back(assignment.view({groups.size(0), groups.size(1)}));
      codebooks.push_back(book);
    }
    return {.codes = at::stack(codes, /*dim=*/2), .codebooks = at::stack(codebooks)};
  }
};

}  // namespace

void register_random(InitialiserRegistry& registry) {
  registry.add("random", "random residual groups as codewords",
               [](config::Reader&) { return std::make_unique<RandomInitialiser>(); });
}

}  // namespace aqlm_exp::codebook
