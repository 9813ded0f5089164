// Error feedback over groups of columns: each group's codes are chosen to undo what the groups before it did wrong, as
// seen through xtx. Sources: GPTQ, arXiv:2210.17323; LDLQ, QuIP, arXiv:2307.13304 §3. We differ in three things: the
// codes of a group are searched jointly over all codebooks, groups are visited by falling trace of their part of xtx,
// and several hypotheses a row can be kept. The old codes play no part, so a round can raise the loss.
//
// O output groups of og rows, I inputs, g = in_group_size, B hypotheses.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/encoder/block_ldl.h"
#include "framework/encoder/encoder.h"
#include "framework/encoder/group_search.h"
#include "framework/encoder/sweep_kernel.h"

namespace aqlm_exp::encoder {
namespace {

struct Options {
  GroupOrder order = GroupOrder::kDescending;
  OnNotPositiveDefinite policy = OnNotPositiveDefinite::kError;
  SearchOptions search;
  int64_t beam_size = 1;
  bool plain = false;
};

class LdlqEncoding final : public Encoding {
 public:
  LdlqEncoding(const quant::LayerProblem& problem, const quant::CodeSpec& spec, const Options& options)
      : problem_(problem),
        options_(options),
        factor_(block_ldl(problem.xtx, spec.in_group_size, options.order, options.policy, problem.name)) {
    const int64_t num_out_groups = problem.weight.size(0) / spec.out_group_size;
    target_ = problem.weight.to(at::kFloat)
                  .index_select(1, factor_.columns)
                  .view({num_out_groups, spec.out_group_size, problem.weight.size(1)});
    inverse_order_ = factor_.order.argsort().to(problem.weight.device());
    kernel_order_ = factor_.order.to(problem.weight.device(), at::kInt);
  }

  void encode(quant::AdditiveWeight& weight, Rng&) override {
    const c10::NoGradGuard no_grad;
    check_shapes("ldlq", problem_, weight);
    if (!options_.plain && options_.beam_size == 1) {
      search::Sweep sweep = sweep_of(weight, options_.search, search::SweepKind::kErrorFeedback);
      sweep.target = problem_.weight;
      sweep.feedback = factor_.feedback;
      sweep.metric = factor_.metric;
      sweep.order = kernel_order_;
      used_kernel_ = run_sweep(sweep, weight);
      if (used_kernel_) return;
    }
    const at::Tensor codes = options_.beam_size == 1 ? one_hypothesis(weight) : several_hypotheses(weight);
    weight.set_codes(codes.index_select(1, inverse_order_).to(at::kInt).contiguous());
  }

  std::map<std::string, double> metrics() const override {
    return {{"extra_damping", factor_.extra_damping}, {"ldlq_kernel", used_kernel_ ? 1.0 : 0.0}};
  }

 private:
  /// @return [O, G, M] int64 in visiting order
  at::Tensor one_hypothesis(const quant::AdditiveWeight& weight) const {
    const quant::CodeSpec& spec = weight.spec();
    const int64_t g = spec.in_group_size, in_features = target_.size(2);
    const at::Tensor scales = weight.scales().detach().view({-1, 1, 1});
    GroupSearch search(weight.codebooks().detach(), spec, options_.search);
    at::Tensor aim = target_.clone();  // [O, og, I]: the target plus the feedback so far
    std::vector<at::Tensor> codes;
    for (int64_t j = 0; j < weight.num_in_groups(); ++j) {
      const int64_t start = j * g, end = start + g;
      search.set_metric(factor_.metric[j]);
      const at::Tensor queries = search.times_metric(aim.slice(2, start, end).div(scales).flatten(1));
      codes.push_back(search.best(queries, 1).codes.select(1, 0));  // [O, M]
      if (end == in_features) break;
      const at::Tensor words = search.words(codes.back()).view({-1, spec.out_group_size, g});
      const at::Tensor error = target_.slice(2, start, end) - words * scales;  // [O, og, g]
      aim.slice(2, end).add_(at::matmul(error, factor_.feedback.slice(0, start, end).slice(1, end)));
    }
    return at::stack(codes, 1);
  }

  at::Tensor several_hypotheses(const quant::AdditiveWeight& weight) const {
    const quant::CodeSpec& spec = weight.spec();
    const int64_t g = spec.in_group_size, in_features = target_.size(2), num_rows = target_.size(0);
    const at::Tensor scales = weight.scales().detach().view({-1, 1, 1, 1});
    const at::Tensor squares = weight.scales().detach().view({-1, 1, 1}).square();
    GroupSearch search(weight.codebooks().detach(), spec, options_.search);
    const int64_t tried = std::min(options_.beam_size, search.max_count());  // continuations of each hypothesis
    at::Tensor aim = target_.unsqueeze(1).clone();                           // [O, B, og, I]
    at::Tensor cost = at::zeros({num_rows, 1}, target_.options());           // [O, B]
    at::Tensor codes =
        at::empty({num_rows, 1, 0, spec.num_codebooks}, target_.options().dtype(at::kLong));  // [O, B, j, M]
    const at::Tensor rows = at::arange(num_rows, codes.options()).unsqueeze(1);
    for (int64_t j = 0; j < weight.num_in_groups(); ++j) {
      const int64_t start = j * g, end = start + g, held = aim.size(1);
      search.set_metric(factor_.metric[j]);
      const at::Tensor aims = aim.slice(3, start, end).div(scales).flatten(2).flatten(0, 1);  // [O * B, og * g]
      const at::Tensor queries = search.times_metric(aims);
      const GroupSearch::Found found = search.best(queries, tried);
      // The cost of a continuation is ‖aim − s q‖² in the group's metric = s² (score + aim M aimᵀ / s²).
      const at::Tensor added = (found.scores + (queries * aims).sum(1, /*keepdim=*/true)).view({num_rows, held, tried});
      const at::Tensor totals = (cost.unsqueeze(2) + added * squares).flatten(1);  // [O, B * tried]
      const int64_t kept = std::min(options_.beam_size, totals.size(1));
      at::Tensor picks;
      std::tie(cost, picks) = totals.topk(kept, 1, /*largest=*/false, /*sorted=*/true);  // [O, kept]
      const at::Tensor sources = picks.div(tried, "floor");
      const at::Tensor chosen =
          found.codes.view({num_rows, held * tried, spec.num_codebooks})
              .gather(1, picks.unsqueeze(2).expand({-1, -1, spec.num_codebooks}));  // [O, kept, M]
      codes = at::cat({codes.index({rows, sources}), chosen.unsqueeze(2)}, 2);
      if (end == in_features) break;
      aim = aim.index({rows, sources});
      const at::Tensor words = search.words(chosen).view({num_rows, kept, spec.out_group_size, g});
      const at::Tensor error = target_.slice(2, start, end).unsqueeze(1) - words * scales;
      aim.slice(3, end).add_(at::matmul(error, factor_.feedback.slice(0, start, end).slice(1, end)));
    }
    return codes.select(1, 0);  // hypotheses are sorted by cost
  }

  const quant::LayerProblem& problem_;
  Options options_;
  BlockLdl factor_;
  at::Tensor target_;         // [O, og, I] float32, columns in visiting order
  at::Tensor inverse_order_;  // [G] int64
  at::Tensor kernel_order_;   // [G] int32
  bool used_kernel_ = false;  // in the last round
};

class Ldlq final : public Encoder {
 public:
  explicit Ldlq(Options options) : options_(options) {}
  std::unique_ptr<Encoding> start(const quant::LayerProblem& problem, const quant::CodeSpec& spec) const override {
    search_kind(options_.search, spec);  // refuses impossible searches before any work
    return std::make_unique<LdlqEncoding>(problem, spec, options_);
  }

 private:
  Options options_;
};

}  // namespace

void register_ldlq(EncoderRegistry& registry) {
  registry.add("ldlq", "error feedback over groups under xtx, joint search inside a group", [](config::Reader& in) {
    Options options;
    const std::string order = in.text("order", {.fallback = "descending",
                                                .choices = {"descending", "ascending", "natural"},
                                                .doc = "groups by the trace of their diagonal block of xtx"});
    options.order = order == "natural"     ? GroupOrder::kNatural
                    : order == "ascending" ? GroupOrder::kAscending
                                           : GroupOrder::kDescending;
    options.search = read_search(in);
    options.beam_size =
        in.integer("beam_size", {.fallback = 1, .min = 1, .max = 256, .doc = "hypotheses kept per output group"});
    const std::string policy = in.text(
        "on_not_positive_definite", {.fallback = "error",
                                     .choices = {"error", "increase_damping"},
                                     .doc = "when xtx has no Cholesky factor: stop, or add to its diagonal, which the "
                                            "result records as extra_damping"});
    options.plain = read_implementation(in);
    options.policy =
        policy == "error" ? OnNotPositiveDefinite::kError : OnNotPositiveDefinite::kIncreaseDamping;
    return std::make_unique<Ldlq>(options);
  });
}

}  // namespace aqlm_exp::encoder
