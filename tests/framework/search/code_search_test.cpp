#include "framework/search/code_search.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"

namespace aqlm_exp::search {
namespace {

struct Layer {
  at::Tensor weight, h, v, metric, blocks, order, scales, books;
  int64_t rows = 0, groups = 0, g = 0;

  /// Sum of codewords times the scale, natural order.
  at::Tensor dequantised(const at::Tensor& codes) const {
    at::Tensor sum = at::zeros({rows, groups, g});
    for (int64_t m = 0; m < books.size(0); ++m)
      sum += books[m].index_select(0, codes.select(2, m).flatten().to(at::kLong)).view({rows, groups, g});
    return sum.view({rows, groups * g}) * scales.unsqueeze(1);
  }
  at::Tensor loss(const at::Tensor& codes) const {
    const at::Tensor e = (weight - dequantised(codes)).to(at::kDouble);
    return (at::matmul(e, h.to(at::kDouble)) * e).sum(1);
  }
};

/// H from correlated inputs and its factors H = V blockdiag(M) V^T in visiting order, by Cholesky from the last group.
Layer layer(int64_t rows, int64_t groups, int64_t num_books, int64_t codewords) {
  at::manual_seed(7);
  Layer l;
  l.rows = rows, l.groups = groups, l.g = 8;
  const int64_t inputs = groups * l.g;
  const at::Tensor x = at::matmul(at::randn({4 * inputs, inputs}), at::randn({inputs, inputs}) * 0.2 + at::eye(inputs));
  l.h = at::matmul(x.t(), x) / static_cast<double>(4 * inputs);
  l.weight = at::randn({rows, inputs});
  l.scales = at::rand({rows}) + 0.5;
  l.books = at::randn({num_books, codewords, l.g}) * 0.7;
  l.order = at::randperm(groups).to(at::kInt);
  const at::Tensor columns =
      (l.order.to(at::kLong).unsqueeze(1) * l.g + at::arange(l.g)).flatten();  // visiting order to natural
  const at::Tensor h = l.h.index_select(0, columns).index_select(1, columns).to(at::kDouble);
  const at::Tensor lower = at::linalg_cholesky(h.flip({0, 1}));
  const at::Tensor upper = lower.flip({0, 1});  // h = upper upper^T, upper triangular
  at::Tensor v = at::zeros_like(upper);
  std::vector<at::Tensor> metric, blocks;
  for (int64_t p = 0; p < groups; ++p) {
    const auto block = [&](const at::Tensor& t) { return t.slice(1, p * l.g, (p + 1) * l.g); };
    const at::Tensor corner = block(upper).slice(0, p * l.g, (p + 1) * l.g);
    block(v).copy_(at::matmul(block(upper), at::linalg_inv(corner)));
    metric.push_back(at::matmul(corner, corner.t()));
    blocks.push_back(block(h).slice(0, p * l.g, (p + 1) * l.g));
  }
  l.v = v.to(at::kFloat).contiguous();
  l.metric = at::stack(metric).to(at::kFloat);
  l.blocks = at::stack(blocks).to(at::kFloat);
  return l;
}

Sweep feedback(const Layer& l) {
  Sweep s;
  s.target = l.weight, s.feedback = l.v, s.metric = l.metric, s.order = l.order, s.scales = l.scales,
  s.codebooks = l.books;
  return s;
}

TEST(CodeSearchSweep, ErrorFeedbackReportsTheLossUnderXtx) {
  const Layer l = layer(20, 24, 2, 16);
  at::Tensor codes = at::zeros({20, 24, 2}, at::kInt);
  const at::Tensor loss = run(feedback(l), codes);
  EXPECT_TRUE(at::allclose(loss.to(at::kDouble), l.loss(codes), 1e-4));
  // and is lower than that of the nearest sums of codewords, group by group
  const at::Tensor sums = (l.books[0].unsqueeze(1) + l.books[1].unsqueeze(0)).reshape({256, 8});
  const at::Tensor groups = (l.weight / l.scales.unsqueeze(1)).view({1, 20 * 24, 8});
  const at::Tensor index = nearest(groups, sums, {}, {}).index.view({20, 24});
  const at::Tensor plain = at::stack({index.div(16, "floor"), index.remainder(16)}, 2).to(at::kInt);
  EXPECT_LT(l.loss(codes).sum().item<double>(), 0.9 * l.loss(plain).sum().item<double>());
}

TEST(CodeSearchSweep, CoordinateDescentLowersTheLossByWhatItReports) {
  const Layer l = layer(20, 24, 2, 16);
  at::Tensor codes = at::randint(16, {20, 24, 2}, at::TensorOptions().dtype(at::kInt));
  for (SweepSearch search : {SweepSearch::kExact, SweepSearch::kOneBook, SweepSearch::kStages}) {
    const at::Tensor before = l.loss(codes);
    const at::Tensor columns = (l.order.to(at::kLong).unsqueeze(1) * 8 + at::arange(8)).flatten();
    Sweep s = feedback(l);
    s.kind = SweepKind::kCoordinateDescent;
    s.search = search;
    s.target = at::matmul(l.weight - l.dequantised(codes), l.h);
    s.feedback = l.h.index_select(0, columns).index_select(1, columns);
    s.metric = l.blocks;
    const at::Tensor change = run(s, codes);
    EXPECT_TRUE(at::allclose(l.loss(codes) - before, change.to(at::kDouble), 1e-3, 1e-3));
    EXPECT_TRUE((l.loss(codes) <= before * (1 + 1e-6)).all().item<bool>());
  }
}

TEST(CodeSearchNearest, AgreesWithAllScoresFormed) {
  at::manual_seed(3);
  const at::Tensor queries = at::randn({5, 40, 8}), book = at::randn({300, 8}), a = at::randn({5, 8, 8});
  const at::Tensor metric = at::matmul(a, a.transpose(1, 2));
  const at::Tensor bias = at::einsum("kd,bde,ke->bk", {book, metric, book});
  const at::Tensor scores = bias.unsqueeze(1) - 2 * at::matmul(queries, book.t());
  for (const Nearest& got : {nearest(queries, book, bias, {}), nearest(queries, book, {}, metric)}) {
    EXPECT_TRUE(at::allclose(got.score, scores.amin(2), 1e-4, 1e-3));
    EXPECT_GE(got.index.eq(scores.argmin(2)).to(at::kDouble).mean().item<double>(), 0.99);
  }
  const at::Tensor strided = at::randn({8, 40, 5}).permute({2, 1, 0});  // any strides are taken
  EXPECT_TRUE(at::equal(nearest(strided, book, bias, {}).index, nearest(strided.contiguous(), book, bias, {}).index));
}

TEST(CodeSearchAccumulate, AddsUpPerCodeword) {
  at::manual_seed(4);
  const at::Tensor index = at::randint(9, {3, 50}, at::TensorOptions().dtype(at::kInt)), values = at::randn({3, 50, 8});
  const at::Tensor weights = at::rand({50});
  const Accumulated got = accumulate(index, values, weights, 10);
  const at::Tensor flat = index.flatten().to(at::kLong);
  const at::Tensor weighted = (values * weights.view({1, 50, 1})).view({150, 8});
  EXPECT_TRUE(at::allclose(got.sums, at::zeros({10, 8}).index_add_(0, flat, weighted), 1e-5, 1e-6));
  for (int64_t b = 0; b < 3; ++b)
    EXPECT_TRUE(at::allclose(got.counts.select(1, b), at::zeros({10}).index_add_(0, index[b].to(at::kLong), weights),
                             1e-5, 1e-6));
  EXPECT_THROW(accumulate(index, values.select(0, 0), weights, 10), DataError);
  EXPECT_THROW(accumulate(index, values, at::rand({51}), 10), DataError);
}

TEST(CodeSearchSweep, NamesWhatDoesNotFit) {
  const Layer l = layer(4, 3, 2, 16);
  const at::Tensor fresh = at::zeros({4, 3, 2}, at::kInt);
  const auto message = [&](auto&& spoil, at::Tensor codes) -> std::string {
    Sweep s = feedback(l);
    spoil(s);
    try {
      run(s, codes);
    } catch (const DataError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message([](Sweep&) {}, fresh), "");
  EXPECT_EQ(message([](Sweep& s) { s.scales = at::ones({5}); }, fresh), "[sweep] scales: got shape [5], need [4]");
  EXPECT_EQ(message([](Sweep& s) { s.feedback = s.feedback.to(at::kDouble); }, fresh),
            "[sweep] feedback: got Double on cpu, need Float on cpu");
  EXPECT_EQ(message([](Sweep& s) { s.order = s.order.to(at::kLong); }, fresh),
            "[sweep] order: got Long on cpu, need Int on cpu");
  EXPECT_EQ(message([](Sweep&) {}, at::zeros({4, 3, 1}, at::kInt)),
            "[sweep] codes: got shape [4, 3, 1], need [4, 3, 2]");
  EXPECT_EQ(message(
                [](Sweep& s) {
                  s.codebooks = at::ones({2, 15, 8});
                },
                fresh),
            "[sweep] codebooks: got 15 codewords, need a power of two");
  EXPECT_EQ(message([](Sweep& s) { s.search = SweepSearch::kOneBook; }, fresh),
            "[sweep] unsupported shape on cpu; ask supported() first and use the plain form");
  EXPECT_THROW(nearest(at::ones({1, 2, 8}), at::ones({4, 7}), {}, {}), DataError);
}

}  // namespace
}  // namespace aqlm_exp::search
