// Codebooks by least squares. With codes and scales fixed, Ŵ is linear in the codebooks, and tr((Ŵ−W) H (Ŵ−W)ᵀ) is a
// quadratic whose minimum conjugate gradients reach in a few products with H, starting from the current books.
// Sources: the closed form is mentioned and left out in AQLM, arXiv:2401.06118 §3.3; for scalar codes LNQ,
// arXiv:2505.07004; preconditioned conjugate gradients, Golub and Van Loan, Matrix Computations, §11.5. The preconditioner
// is the codewords' own block Σ s² H_jj over the groups that use them.
//
// M codebooks of K words, O output groups of og rows, G input groups of g columns.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "framework/quant/code_sums.h"
#include "framework/tuner/tuner.h"

namespace aqlm_exp::tuner {
namespace {

struct Options {
  int64_t iterations = 6;
  double ridge = 1e-6;
};

class LeastSquaresTuning final : public Tuning {
 public:
  LeastSquaresTuning(const quant::LayerProblem& problem, quant::AdditiveWeight& weight, Options options)
      : problem_(problem), weight_(weight), options_(options), xtx_(problem.xtx.to(at::kFloat)) {
    const int64_t g = weight.spec().in_group_size, num_groups = weight.num_in_groups();
    metric_ = xtx_.view({num_groups, g, num_groups, g}).diagonal(0, 0, 2).permute({2, 0, 1}).contiguous();
  }

  void tune() override {
    const c10::NoGradGuard no_grad;
    read_codes();
    const at::Tensor& books = weight_.codebooks();                  // [M, K, og, g]
    const auto [ridge, inverse] = preconditioner();                 // [M, K, 1, 1], [M, K, g, g]
    const auto precondition = [&inverse = inverse](const at::Tensor& v) { return at::matmul(v, inverse); };
    // Residual of the normal equations at the current books: 𝒜ᵀ((W − Ŵ) H).
    at::Tensor residual = gather(at::matmul(problem_.weight - weight_.dequantise().detach(), xtx_));
    at::Tensor step = at::zeros_like(residual);
    at::Tensor direction = precondition(residual);
    at::Tensor energy = (residual * direction).sum();
    for (int64_t i = 0; i < options_.iterations; ++i) {
      const at::Tensor moved = quant::ungroup(
          quant::sum_codewords(weight_.codes(), direction).mul_(weight_.scales().detach().view({-1, 1, 1})),
          weight_.spec());
      const at::Tensor image = gather(at::matmul(moved, xtx_)).add_(ridge * direction);
      const at::Tensor alpha = energy / (direction * image).sum().clamp_min(1e-30);
      step.add_(alpha * direction);
      residual.sub_(alpha * image);
      const at::Tensor preconditioned = precondition(residual);
      const at::Tensor next = (residual * preconditioned).sum();
      direction = preconditioned + (next / energy.clamp_min(1e-30)) * direction;
      energy = next;
    }
    books.add_(step);
  }

 private:
  void read_codes() {
    flat_codes_.clear();
    for (int64_t m = 0; m < weight_.spec().num_codebooks; ++m) {
      flat_codes_.push_back(weight_.codes().select(2, m).flatten().contiguous());  // [O * G]
    }
  }

  /// 𝒜ᵀ: adds up s · (the part of `gradient` under a codeword) over the groups that use it.
  /// @param gradient [out, in] → [M, K, og, g]
  at::Tensor gather(const at::Tensor& gradient) const {
    const quant::CodeSpec& spec = weight_.spec();
    const at::Tensor rows = quant::group_weight(gradient, spec)
                                .mul(weight_.scales().detach().view({-1, 1, 1}))
                                .flatten(0, 1);  // [O * G, og * g]
    std::vector<at::Tensor> sums;
    for (const at::Tensor& codes : flat_codes_) {
      sums.push_back(quant::sum_rows_by_code(rows, codes, spec.codebook_size()));
    }
    return at::stack(sums).view({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size});
  }

  /// Ridge of each codeword, and the inverse of its block with the ridge on the diagonal. The ridge is a small part of
  /// the mean block's diagonal; for a codeword that no group uses it is that diagonal itself, so that the word stays.
  std::pair<at::Tensor, at::Tensor> preconditioner() const {
    const quant::CodeSpec& spec = weight_.spec();
    const int64_t num_groups = weight_.num_in_groups(), g = spec.in_group_size;
    const at::Tensor squares = weight_.scales().detach().view({-1, 1}).square();  // [O, 1]
    const at::Tensor rows = squares.expand({-1, num_groups}).reshape({-1, 1});    // [O * G, 1]
    const at::Tensor groups = at::arange(num_groups, rows.options().dtype(at::kLong)).repeat({squares.size(0)});
    std::vector<at::Tensor> blocks;
    for (const at::Tensor& codes : flat_codes_) {
      const at::Tensor weights =
          quant::sum_rows_by_code(rows, codes.to(at::kLong) * num_groups + groups, spec.codebook_size() * num_groups);
      blocks.push_back(at::matmul(weights.view({spec.codebook_size(), num_groups}), metric_.flatten(1)));
    }
    const at::Tensor block = at::stack(blocks).view({spec.num_codebooks, spec.codebook_size(), g, g});
    const at::Tensor diagonal = block.diagonal(0, 2, 3).mean(-1);  // [M, K]
    const at::Tensor mean = diagonal.mean();
    const at::Tensor ridge =
        (options_.ridge * mean + diagonal.le(0).to(at::kFloat) * mean).clamp_min(1e-30).view({-1, spec.codebook_size(), 1, 1});
    const at::Tensor damped = block + ridge * at::eye(g, block.options());
    return {ridge, std::get<0>(at::linalg_inv_ex(damped))};
  }

  const quant::LayerProblem& problem_;
  quant::AdditiveWeight& weight_;
  Options options_;
  at::Tensor xtx_;                      // [in, in] float32
  at::Tensor metric_;                   // [G, g, g]: diagonal blocks of xtx
  std::vector<at::Tensor> flat_codes_;  // one a codebook: [O * G] int32
};

class LeastSquares final : public Tuner {
 public:
  explicit LeastSquares(Options options) : options_(options) {}
  std::unique_ptr<Tuning> start(const quant::LayerProblem& problem, quant::AdditiveWeight& weight) const override {
    return std::make_unique<LeastSquaresTuning>(problem, weight, options_);
  }

 private:
  Options options_;
};

}  // namespace

void register_least_squares(TunerRegistry& registry) {
  registry.add("least_squares", "codebooks by preconditioned conjugate gradients under xtx", [](config::Reader& in) {
    Options options;
    options.iterations = in.integer(
        "iterations", {.fallback = 6, .min = 1, .max = 10000, .doc = "conjugate gradient steps a round, from the current books"});
    options.ridge = in.number("ridge", {.fallback = 1e-6,
                                        .min = 0.0,
                                        .max = 1.0,
                                        .doc = "keeps rarely used codewords in place, as a part of the mean diagonal"});
    return std::make_unique<LeastSquares>(options);
  });
}

}  // namespace aqlm_exp::tuner
