// Beam search over codes under xtx. Source: AQLM, arXiv:2401.06118 §3.2 ("beam search"), and the reference
// implementation: one visiting order for all rows, input groups shuffled, codebooks shuffled inside each group; beams
// carry over from group to group; the best hypothesis is returned, so a round cannot raise the loss by more than
// rounding. We differ in cost only: residuals are updated in place where the reference dequantises again at every step.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/encoder/beam_search_step.h"
#include "framework/encoder/encoder.h"

namespace aqlm_exp::encoder {

// B hypotheses, O output groups, K codewords, g = og * ig weights a group.
void beam_search_step(const BeamProblem& problem, int64_t in_group, int64_t codebook, BeamState& state) {
  const at::Tensor book = problem.codebooks[codebook];  // [K, og, ig]
  const int64_t num_codewords = book.size(0), og = book.size(1), ig = book.size(2);
  const int64_t num_hypotheses = state.codes.size(0), num_out_groups = state.codes.size(1);
  const int64_t start = in_group * ig, end = start + ig;
  const at::Tensor h_columns = problem.xtx.slice(1, start, end);               // [in, ig]
  const at::Tensor h_block = h_columns.slice(0, start, end);                   // [ig, ig]
  const at::Tensor flat_book = book.reshape({num_codewords, og * ig});         // [K, g]
  const at::Tensor energy = at::matmul(book, h_block).mul_(book).sum({1, 2});  // [K]: <C_k H_jj, C_k>
  const at::Tensor scales = problem.scales.view({1, num_out_groups, 1});

  const at::Tensor old_codes = state.codes.select(3, codebook).select(2, in_group).to(at::kLong);  // [B, O]
  const at::Tensor old_words =
      flat_book.index_select(0, old_codes.flatten()).view({num_hypotheses, num_out_groups, og, ig});
  // p = R H_j with R the residual without this codeword: (W − Ŵ) H_j + s e H_jj
  const at::Tensor p = at::matmul(state.residual, h_columns)
                           .add_(at::matmul(old_words, h_block).mul_(scales.unsqueeze(3)))
                           .view({num_hypotheses, num_out_groups, og * ig});
  const at::Tensor flat_old = old_words.view({num_hypotheses, num_out_groups, og * ig});
  const at::Tensor old_energy = energy.index_select(0, old_codes.flatten()).view({num_hypotheses, num_out_groups, 1});
  // loss(k) = L_old + s (2 <e, p> − s q_e) + s (s q_k − 2 <C_k, p>)
  const at::Tensor base = state.loss.unsqueeze(2) +
                          scales * (2 * (flat_old * p).sum(2, /*keepdim=*/true) - scales * old_energy);  // [B, O, 1]
  at::Tensor scores = at::matmul(p, flat_book.t()).mul_(-2).add_(scales * energy).mul_(scales);          // [B, O, K]

  const auto take_columns = [&](const at::Tensor& hypothesis_words) {
    return state.residual.slice(3, start, end).sub_(hypothesis_words);
  };
  if (problem.beam_size == 1) {
    const auto [best, choice] = scores.min(2, /*keepdim=*/true);  // [1, O, 1]
    state.loss = (base + best).squeeze(2);
    const at::Tensor words = flat_book.index_select(0, choice.flatten()).view({1, num_out_groups, og, ig});
    take_columns((words - old_words).mul_(scales.unsqueeze(3)));
    state.codes.select(3, codebook).select(2, in_group).copy_(choice.squeeze(2));
    return;
  }
  const int64_t per_hypothesis = std::min(problem.beam_size, num_codewords);
  const auto [candidates, choices] = scores.topk(per_hypothesis, 2, /*largest=*/false, /*sorted=*/true);
  const at::Tensor totals = (base + candidates).permute({1, 0, 2}).reshape({num_out_groups, -1});  // [O, B * c]
  const int64_t kept = std::min(problem.beam_size, totals.size(1));
  const auto [losses, picks] = totals.topk(kept, 1, /*largest=*/false, /*sorted=*/true);  // [O, kept]
  const at::Tensor sources = picks.div(per_hypothesis, "floor").t().contiguous();         // [kept, O]
  const at::Tensor new_codes =
      choices.permute({1, 0, 2}).reshape({num_out_groups, -1}).gather(1, picks).t().contiguous();  // [kept, O]
  const at::Tensor rows = at::arange(num_out_groups, sources.options()).expand_as(sources);
  state.codes = state.codes.index({sources, rows});        // [kept, O, G, M]
  state.residual = state.residual.index({sources, rows});  // [kept, O, og, in]
  const at::Tensor from = old_words.index({sources, rows});
  const at::Tensor words = flat_book.index_select(0, new_codes.flatten()).view({kept, num_out_groups, og, ig});
  take_columns((words - from).mul_(scales.unsqueeze(3)));
  state.codes.select(3, codebook).select(2, in_group).copy_(new_codes);
  state.loss = losses.t().contiguous();
}

namespace {

class BeamSearching final : public Encoding {
 public:
  BeamSearching(const quant::LayerProblem& problem, int64_t beam_size)
      : problem_(problem), xtx_(problem.xtx.to(at::kFloat)), beam_size_(beam_size) {}

  void encode(quant::AdditiveWeight& weight, Rng& rng) override {
    const c10::NoGradGuard no_grad;
    check_shapes("beam_search", problem_, weight);
    const quant::CodeSpec& spec = weight.spec();
    const int64_t num_out_groups = weight.num_out_groups(), num_in_groups = weight.num_in_groups();
    const BeamProblem fixed{.xtx = xtx_,
                            .codebooks = weight.codebooks().detach(),
                            .scales = weight.scales().detach().flatten(),
                            .beam_size = std::min(beam_size_, spec.codebook_size())};
    BeamState state;
    state.codes = weight.codes().unsqueeze(0).clone();
    state.residual = (problem_.weight - weight.dequantise().detach())
                         .view({1, num_out_groups, spec.out_group_size, weight.in_features()})
                         .clone();
    state.loss = at::matmul(state.residual, fixed.xtx).mul_(state.residual).sum({2, 3});
    for (int64_t group : rng.permutation(num_in_groups)) {
      for (int64_t codebook : rng.permutation(spec.num_codebooks)) beam_search_step(fixed, group, codebook, state);
    }
    weight.set_codes(state.codes[0].contiguous());
  }

 private:
  const quant::LayerProblem& problem_;
  at::Tensor xtx_;     // [in, in] float32
  int64_t beam_size_;  // hypotheses per output group
};

class BeamSearch final : public Encoder {
 public:
  explicit BeamSearch(int64_t beam_size) : beam_size_(beam_size) {}
  std::unique_ptr<Encoding> start(const quant::LayerProblem& problem, const quant::CodeSpec&) const override {
    return std::make_unique<BeamSearching>(problem, beam_size_);
  }

 private:
  int64_t beam_size_;
};

}  // namespace

void register_beam_search(EncoderRegistry& registry) {
  registry.add("beam_search", "the reference's beam search over codes under xtx", [](config::Reader& in) {
    return std::make_unique<BeamSearch>(
        in.integer("beam_size", {.fallback = 1, .min = 1, .max = 256, .doc = "hypotheses kept per output group"}));
  });
}

}  // namespace aqlm_exp::encoder
