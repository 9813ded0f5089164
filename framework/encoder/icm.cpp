// Iterated conditional modes: groups in turn, each set to the best codes given all others. A round never raises the loss.
// Sources: QuantEase, arXiv:2309.01885 (coordinate descent under xtx, with the gradient kept up to date instead of
// computed afresh); LSQ, arXiv:1604.06388 (ICM over additive codes). We differ in that a group's codes can be searched
// jointly over all codebooks. With search one_book, random order and one round it is the reference's beam search with
// one hypothesis.
//
// O output groups of og rows, I inputs, g = in_group_size.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "framework/encoder/block_ldl.h"
#include "framework/encoder/encoder.h"
#include "framework/encoder/group_search.h"
#include "framework/encoder/sweep_kernel.h"

namespace aqlm_exp::encoder {
namespace {

struct Options {
  bool random_order = false;
  GroupOrder order = GroupOrder::kDescending;
  bool one_book = false;
  SearchOptions search;
  bool plain = false;
};

class IcmEncoding final : public Encoding {
 public:
  IcmEncoding(const quant::LayerProblem& problem, const Options& options)
      : problem_(problem), options_(options), xtx_(problem.xtx.to(at::kFloat)) {}

  void encode(quant::AdditiveWeight& weight, Rng& rng) override {
    const c10::NoGradGuard no_grad;
    check_shapes("icm", problem_, weight);
    const std::vector<int64_t> order = visiting_order(weight, rng);
    std::vector<int64_t> book_order;  // of all groups in turn
    if (options_.one_book) {
      for (size_t v = 0; v < order.size(); ++v) {
        for (const int64_t m : rng.permutation(weight.spec().num_codebooks)) book_order.push_back(m);
      }
    }
    // P = (W − Ŵ) H, made afresh each round so that rounding does not build up.
    const at::Tensor pull = at::matmul(problem_.weight - weight.dequantise().detach(), xtx_);
    used_kernel_ = !options_.plain && try_kernel(weight, pull, order, book_order);
    if (!used_kernel_) plain_round(weight, pull, order, book_order);
  }

  std::map<std::string, double> metrics() const override { return {{"icm_kernel", used_kernel_ ? 1.0 : 0.0}}; }

 private:
  bool try_kernel(quant::AdditiveWeight& weight, const at::Tensor& pull, const std::vector<int64_t>& order,
                  const std::vector<int64_t>& book_order) const {
    const int64_t g = weight.spec().in_group_size;
    const at::TensorOptions ints = xtx_.options().dtype(at::kInt);
    search::Sweep sweep = sweep_of(weight, options_.search, search::SweepKind::kCoordinateDescent);
    if (options_.one_book) {
      sweep.search = search::SweepSearch::kOneBook;
      sweep.book_order =
          at::tensor(book_order, at::kLong).view({-1, weight.spec().num_codebooks}).to(ints.device(), at::kInt);
    }
    const at::Tensor groups = at::tensor(order, at::kLong).to(xtx_.device());
    const at::Tensor columns = (groups.unsqueeze(1) * g + at::arange(g, groups.options())).flatten();
    sweep.target = pull;
    sweep.feedback = xtx_.index_select(0, columns).index_select(1, columns);
    sweep.metric = sweep.feedback.view({groups.size(0), g, groups.size(0), g})
                       .diagonal(0, 0, 2)
                       .permute({2, 0, 1})
                       .contiguous();
    sweep.order = groups.to(at::kInt);
    return run_sweep(sweep, weight);
  }

  void plain_round(quant::AdditiveWeight& weight, const at::Tensor& first_pull, const std::vector<int64_t>& order,
                   const std::vector<int64_t>& book_order) const {
    const quant::CodeSpec& spec = weight.spec();
    const int64_t g = spec.in_group_size, og = spec.out_group_size;
    const at::Tensor scales = weight.scales().detach().view({-1, 1, 1});
    GroupSearch search(weight.codebooks().detach(), spec, options_.search);
    at::Tensor codes = weight.codes().to(at::kLong).permute({1, 0, 2}).contiguous();  // [G, O, M]
    at::Tensor pull = first_pull.view({weight.num_out_groups(), og, weight.in_features()});
    size_t visited = 0;
    for (const int64_t j : order) {
      const at::Tensor rows = xtx_.slice(0, j * g, (j + 1) * g);  // [g, I]
      search.set_metric(rows.slice(1, j * g, (j + 1) * g));
      const auto move = [&](const at::Tensor& change) {  // [O, og * g], scales left out
        pull.sub_(at::matmul(change.view({-1, og, g}) * scales, rows));
      };
      const auto pull_of_group = [&] { return pull.slice(2, j * g, (j + 1) * g).div(scales).flatten(1); };
      at::Tensor now = codes[j];  // [O, M]
      if (options_.one_book) {
        for (int64_t m = 0; m < spec.num_codebooks; ++m) {
          improve_book(search, book_order[visited++], pull_of_group(), now, move);
        }
      } else {
        improve_group(search, pull_of_group(), now, move);
      }
    }
    weight.set_codes(codes.permute({1, 0, 2}).to(at::kInt).contiguous());
  }

  std::vector<int64_t> visiting_order(const quant::AdditiveWeight& weight, Rng& rng) const {
    if (options_.random_order) return rng.permutation(weight.num_in_groups());
    const at::Tensor order = group_order(problem_.xtx, weight.spec().in_group_size, options_.order);
    const int64_t* first = order.const_data_ptr<int64_t>();
    return {first, first + order.numel()};
  }

  /// Sets `now` [O, M] to the best codes of the group where these are better than the old ones.
  template <typename Move>
  static void improve_group(const GroupSearch& search, const at::Tensor& pull, at::Tensor now, const Move& move) {
    const at::Tensor old = search.words(now);                   // [O, og * g]
    const at::Tensor queries = pull + search.times_metric(old);  // the pull as it would be without this group
    const GroupSearch::Found found = search.best(queries, 1);
    const at::Tensor old_scores = (old * (search.times_metric(old) - 2 * queries)).sum(1, /*keepdim=*/true);
    const at::Tensor better = found.scores < old_scores;  // [O, 1]
    now.copy_(at::where(better, found.codes.select(1, 0), now));
    move(search.words(now) - old);
  }

  template <typename Move>
  static void improve_book(const GroupSearch& search, int64_t book, const at::Tensor& pull, at::Tensor now,
                           const Move& move) {
    const at::Tensor code = now.select(1, book);  // [O]
    const at::Tensor old = search.book(book).index_select(0, code);
    const at::Tensor queries = pull + search.times_metric(old);
    const GroupSearch::Found found = search.best_in_book(book, queries);
    const at::Tensor old_scores = (old * (search.times_metric(old) - 2 * queries)).sum(1);
    code.copy_(at::where(found.scores.select(1, 0) < old_scores, found.codes.select(1, 0).select(1, 0), code));
    move(search.book(book).index_select(0, code) - old);
  }

  const quant::LayerProblem& problem_;
  Options options_;
  at::Tensor xtx_;            // [I, I] float32
  bool used_kernel_ = false;  // in the last round
};

class Icm final : public Encoder {
 public:
  explicit Icm(Options options) : options_(options) {}
  std::unique_ptr<Encoding> start(const quant::LayerProblem& problem, const quant::CodeSpec& spec) const override {
    if (!options_.one_book) search_kind(options_.search, spec);
    return std::make_unique<IcmEncoding>(problem, options_);
  }

 private:
  Options options_;
};

}  // namespace

void register_icm(EncoderRegistry& registry) {
  registry.add("icm", "coordinate descent over groups under xtx; never raises the loss", [](config::Reader& in) {
    Options options;
    const std::string order = in.text("order", {.fallback = "descending",
                                                .choices = {"descending", "ascending", "natural", "random"},
                                                .doc = "groups by the trace of their diagonal block of xtx"});
    options.random_order = order == "random";
    options.order = order == "natural"     ? GroupOrder::kNatural
                    : order == "ascending" ? GroupOrder::kAscending
                                           : GroupOrder::kDescending;
    options.one_book = in.flag("one_book", {.fallback = false,
                                            .doc = "one codebook at a time, in random order, in place of a search over "
                                                   "all of a group's codes"});
    options.search = read_search(in);
    options.plain = read_implementation(in);
    return std::make_unique<Icm>(options);
  });
}

}  // namespace aqlm_exp::encoder
