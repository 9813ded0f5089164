// Problems for the code search: random ones, and ones in small integers, where float32 is exact and ties abound.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "kernels/code_search/code_search.h"

namespace aqlm_exp::code_search {

struct NearestCase {
  NearestShape shape;
  std::vector<float> queries, book, bias, metric;

  NearestCall call(std::vector<int32_t>& index, std::vector<float>& score) const {
    const auto n = static_cast<size_t>(shape.batches * shape.rows);
    index.assign(n, -1);
    score.assign(n, -1.0F);
    NearestCall c;
    c.queries = queries.data();
    c.book = book.data();
    c.bias = bias.empty() ? nullptr : bias.data();
    c.metric = metric.empty() ? nullptr : metric.data();
    c.index = index.data();
    c.score = score.data();
    return c;
  }
};

enum class Bias { kNone, kGiven, kMetric };

inline std::vector<float> draw(Rng& rng, int64_t n, bool integers, int span) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v)
    x = integers ? static_cast<float>(static_cast<int>(rng.below(static_cast<uint64_t>(2 * span + 1))) - span)
                 : static_cast<float>(rng.normal());
  return v;
}

/// A symmetric positive definite matrix [g, g]; in integers with a dominant diagonal.
inline std::vector<float> spd(Rng& rng, int64_t g, bool integers) {
  std::vector<float> m(static_cast<size_t>(g * g), 0.0F);
  if (integers) {
    for (int64_t i = 0; i < g; ++i)
      for (int64_t j = 0; j <= i; ++j)
        m[static_cast<size_t>(i * g + j)] = m[static_cast<size_t>(j * g + i)] =
            i == j ? static_cast<float>(g + 1) : static_cast<float>(static_cast<int>(rng.below(3)) - 1);
    return m;
  }
  const std::vector<float> a = draw(rng, g * g, false, 0);
  for (int64_t i = 0; i < g; ++i)
    for (int64_t j = 0; j < g; ++j) {
      double sum = i == j ? 0.3 : 0.0;
      for (int64_t k = 0; k < g; ++k)
        sum += static_cast<double>(a[static_cast<size_t>(i * g + k)]) *
               static_cast<double>(a[static_cast<size_t>(j * g + k)]) / static_cast<double>(g);
      m[static_cast<size_t>(i * g + j)] = static_cast<float>(sum);
    }
  for (int64_t i = 0; i < g; ++i)
    for (int64_t j = 0; j < i; ++j) m[static_cast<size_t>(i * g + j)] = m[static_cast<size_t>(j * g + i)];
  return m;
}

inline NearestCase nearest_case(NearestShape shape, Bias bias, bool integers, uint64_t seed) {
  Rng rng(seed);
  const int64_t g = shape.group_size;
  NearestCase c;
  c.shape = shape;
  c.queries = draw(rng, shape.batches * shape.rows * g, integers, 3);
  c.book = draw(rng, shape.codewords * g, integers, 3);
  if (bias == Bias::kGiven) c.bias = draw(rng, shape.batches * shape.codewords, integers, 6);
  if (bias == Bias::kMetric)
    for (int64_t b = 0; b < shape.batches; ++b) {
      const std::vector<float> m = spd(rng, g, integers);
      c.metric.insert(c.metric.end(), m.begin(), m.end());
    }
  return c;
}

struct AccumulateCase {
  NearestShape shape;
  std::vector<int32_t> index;
  std::vector<float> values, weights;
  struct Answer {
    std::vector<float> sums, counts;
  };

  template <typename Function>
  Answer run(Function&& function) const {
    Answer a{std::vector<float>(static_cast<size_t>(shape.codewords * shape.group_size), -1.0F),
             std::vector<float>(static_cast<size_t>(shape.codewords * shape.batches), -1.0F)};
    function(AccumulateCall{index.data(), values.data(), weights.empty() ? nullptr : weights.data(), a.sums.data(),
                            a.counts.data()});
    return a;
  }
};

/// Values are multiples of 2^-6 of very different sizes: sums in double are exact in any order.
inline AccumulateCase accumulate_case(NearestShape shape, bool weighted, uint64_t seed) {
  Rng rng(seed);
  AccumulateCase c;
  c.shape = shape;
  for (int64_t i = 0; i < shape.batches * shape.rows; ++i)
    c.index.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(shape.codewords))));
  c.values = draw(rng, shape.batches * shape.rows * shape.group_size, true, 1 << 20);
  for (float& v : c.values) v = std::ldexp(v, -6 - static_cast<int>(rng.below(2)) * 14 + 14);
  if (weighted)
    for (int64_t r = 0; r < shape.rows; ++r) c.weights.push_back(static_cast<float>(rng.below(8)) * 0.25F);
  return c;
}

/// One layer: H = V blockdiag(M) V^T in visiting order, a target, books, scales, codes to start from.
struct SweepCase {
  SweepShape shape;
  std::vector<float> weight;             // [rows, I], natural order
  std::vector<float> v, m;               // [I, I], [G, g, g], visiting order
  std::vector<double> h;                 // [I, I], visiting order
  std::vector<float> h_float, h_blocks;  // the same in float, and its diagonal blocks
  std::vector<float> scales, codebooks, pulled;
  std::vector<int32_t> order, book_order, start;

  float weight_at(int64_t r, int64_t position, int64_t d) const {
    return weight[static_cast<size_t>(r * shape.in_features() +
                                      order[static_cast<size_t>(position)] * shape.group_size + d)];
  }
  /// W - What of a row, visiting order.
  std::vector<double> error(int64_t r, const std::vector<int32_t>& codes) const {
    const int64_t g = shape.group_size;
    std::vector<double> e;
    for (int64_t p = 0; p < shape.groups; ++p)
      for (int64_t d = 0; d < g; ++d) {
        double q = 0;
        for (int64_t b = 0; b < shape.num_codebooks; ++b)
          q += static_cast<double>(codebooks[static_cast<size_t>(
              (b * shape.codewords() +
               codes[static_cast<size_t>((r * shape.groups + order[static_cast<size_t>(p)]) * shape.num_codebooks +
                                         b)]) *
                  g +
              d)]);
        e.push_back(static_cast<double>(weight_at(r, p, d)) - static_cast<double>(scales[static_cast<size_t>(r)]) * q);
      }
    return e;
  }
  double loss(int64_t r, const std::vector<int32_t>& codes) const {
    const std::vector<double> e = error(r, codes);
    double sum = 0;
    for (size_t i = 0; i < e.size(); ++i)
      for (size_t j = 0; j < e.size(); ++j) sum += e[i] * h[i * e.size() + j] * e[j];
    return sum;
  }
  double loss(const std::vector<int32_t>& codes) const {
    double sum = 0;
    for (int64_t r = 0; r < shape.rows; ++r) sum += loss(r, codes);
    return sum;
  }
  /// P = (W - What) H for the start codes, natural order.
  void pull() {
    const int64_t inputs = shape.in_features(), g = shape.group_size;
    pulled.assign(static_cast<size_t>(shape.rows * inputs), 0.0F);
    for (int64_t r = 0; r < shape.rows; ++r) {
      const std::vector<double> e = error(r, start);
      for (int64_t c = 0; c < inputs; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < inputs; ++i) sum += e[static_cast<size_t>(i)] * h[static_cast<size_t>(i * inputs + c)];
        pulled[static_cast<size_t>(r * inputs + order[static_cast<size_t>(c / g)] * g + c % g)] =
            static_cast<float>(sum);
      }
    }
  }
  SweepCall call(SweepKind kind, SweepSearch search, std::vector<int32_t>& codes, std::vector<float>& loss_out) const {
    codes = start;
    loss_out.assign(static_cast<size_t>(shape.rows), -1.0F);
    SweepCall c;
    c.kind = kind;
    c.search = search;
    const bool descent = kind == SweepKind::kCoordinateDescent;
    c.target = descent ? pulled.data() : weight.data();
    c.feedback = descent ? h_float.data() : v.data();
    c.metric = descent ? h_blocks.data() : m.data();
    c.order = order.data();
    c.scales = scales.data();
    c.codebooks = codebooks.data();
    c.book_order = book_order.data();
    c.codes = codes.data();
    c.loss = loss_out.data();
    return c;
  }
};

/// `with_h` false leaves H out, whose making costs inputs^3: for error feedback only.
inline SweepCase sweep_case(SweepShape shape, bool integers, uint64_t seed, bool with_h = true) {
  Rng rng(seed);
  SweepCase c;
  c.shape = shape;
  const int64_t inputs = shape.in_features(), g = shape.group_size;
  const auto at = [&](int64_t i, int64_t j) { return static_cast<size_t>(i * inputs + j); };
  c.weight = draw(rng, shape.rows * inputs, integers, 3);
  c.codebooks = draw(rng, shape.num_codebooks * shape.codewords() * g, integers, 2);
  for (int64_t r = 0; r < shape.rows; ++r)
    c.scales.push_back(integers ? (r % 3 == 2 ? -2.0F : 1.0F) : 0.5F + static_cast<float>(rng.uniform()));
  for (int64_t j : rng.permutation(shape.groups)) c.order.push_back(static_cast<int32_t>(j));
  for (int64_t j = 0; j < shape.groups; ++j)
    for (int64_t b : rng.permutation(shape.num_codebooks)) c.book_order.push_back(static_cast<int32_t>(b));
  for (int64_t i = 0; i < shape.rows * shape.groups * shape.num_codebooks; ++i)
    c.start.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(shape.codewords()))));
  c.v.assign(static_cast<size_t>(inputs * inputs), std::nanf(""));  // blocks on and below the diagonal may not be read
  std::vector<double> full(static_cast<size_t>(inputs * inputs), 0.0);
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t j = 0; j < inputs; ++j) {
      if (j / g <= i / g) {
        full[at(i, j)] = i == j ? 1 : 0;
        continue;
      }
      const float value = integers ? static_cast<float>(rng.below(8) == 0 ? static_cast<int>(rng.below(3)) - 1 : 0)
                                   : static_cast<float>(rng.normal() * 0.5 / std::sqrt(static_cast<double>(inputs)));
      c.v[at(i, j)] = value;
      full[at(i, j)] = static_cast<double>(value);
    }
  for (int64_t p = 0; p < shape.groups; ++p) {
    const std::vector<float> block = spd(rng, g, integers);
    c.m.insert(c.m.end(), block.begin(), block.end());
  }
  if (!with_h) return c;
  std::vector<double> vm(static_cast<size_t>(inputs * inputs), 0.0);
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t j = 0; j < inputs; ++j)
      for (int64_t k = j / g * g; k < j / g * g + g; ++k)
        vm[at(i, j)] += full[at(i, k)] * static_cast<double>(c.m[static_cast<size_t>((j / g * g + k % g) * g + j % g)]);
  c.h.assign(static_cast<size_t>(inputs * inputs), 0.0);
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t j = 0; j < inputs; ++j)
      for (int64_t k = 0; k < inputs; ++k) c.h[at(i, j)] += vm[at(i, k)] * full[at(j, k)];
  for (double x : c.h) c.h_float.push_back(static_cast<float>(x));
  for (int64_t p = 0; p < shape.groups; ++p)
    for (int64_t i = 0; i < g; ++i)
      for (int64_t j = 0; j < g; ++j) c.h_blocks.push_back(c.h_float[at(p * g + i, p * g + j)]);
  c.pull();
  return c;
}

inline std::string name_of(const SweepShape& s) {
  return std::to_string(s.rows) + "x" + std::to_string(s.in_features()) + "_" + std::to_string(s.num_codebooks) + "x" +
         std::to_string(s.nbits) + "_g" + std::to_string(s.group_size);
}

}  // namespace aqlm_exp::code_search
