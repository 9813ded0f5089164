#include "kernels/code_search/code_search_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace aqlm_exp::code_search {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
using Vector = std::vector<double>;

Vector times(const Vector& x, const float* metric) {
  const size_t g = x.size();
  Vector y(g, 0.0);
  for (size_t e = 0; e < g; ++e)
    for (size_t d = 0; d < g; ++d) y[d] += x[e] * static_cast<double>(metric[e * g + d]);
  return y;
}
double dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (size_t d = 0; d < x.size(); ++d) sum += x[d] * y[d];
  return sum;
}

class Row {
 public:
  Row(const SweepShape& shape, const SweepCall& call, int64_t row)
      : s_(shape), c_(call), row_(row), g_(shape.group_size), inputs_(shape.in_features()) {}

  void run() {
    const bool descent = c_.kind == SweepKind::kCoordinateDescent;
    const double scale = static_cast<double>(c_.scales[row_]), inverse = scale != 0 ? 1 / scale : 0;
    std::vector<Vector> errors;  // by position
    double loss = 0;
    for (int64_t p = 0; p < s_.groups; ++p) {
      const int64_t j = c_.order ? c_.order[p] : p;
      metric_ = c_.metric + p * g_ * g_;
      const float* given = c_.target + row_ * inputs_ + j * g_;
      Vector x(given, given + g_);
      for (int64_t i = 0; i < p; ++i)
        for (int64_t e = 0; e < g_; ++e)
          for (int64_t d = 0; d < g_; ++d)
            x[d] += errors[i][e] * static_cast<double>(c_.feedback[(i * g_ + e) * inputs_ + p * g_ + d]);
      int32_t* at = c_.codes + (row_ * s_.groups + j) * s_.num_codebooks;
      Vector scaled(x);
      for (double& v : scaled) v *= inverse;
      if (!descent) {
        const std::vector<int32_t> found = search(times(scaled, metric_), nullptr);
        std::copy(found.begin(), found.end(), at);
        const Vector q = sum(found);
        Vector left(x), error(x);
        for (int64_t d = 0; d < g_; ++d) {
          left[d] = x[d] - scale * q[d];
          error[d] = static_cast<double>(given[d]) - scale * q[d];
        }
        loss += dot(left, times(left, metric_));
        errors.push_back(error);
        continue;
      }
      std::vector<int32_t> code(at, at + s_.num_codebooks);
      const Vector old = sum(code);
      if (c_.search == SweepSearch::kOneBook) {
        for (int32_t i = 0; i < s_.num_codebooks; ++i) {
          const int32_t m = c_.book_order ? c_.book_order[p * s_.num_codebooks + i] : i;
          // p / s + old_m H_jj, where p holds the moves made so far in this group
          const Vector now = sum(code);
          Vector moved(old), u = scaled;
          for (int64_t d = 0; d < g_; ++d) moved[d] = old[d] - now[d] + word(m, code[m])[d];
          const Vector image = times(moved, metric_);
          for (int64_t d = 0; d < g_; ++d) u[d] += image[d];
          int32_t best = code[m];
          double low = score(word(m, best), u);
          const double before = low;
          for (int32_t k = 0; k < s_.codewords(); ++k)
            if (score(word(m, k), u) < low) low = score(word(m, k), u), best = k;
          code[m] = best;
          loss += scale * scale * (low - before);
        }
      } else {
        const Vector image = times(old, metric_);
        Vector u = scaled;
        for (int64_t d = 0; d < g_; ++d) u[d] += image[d];
        const double before = score(old, u);
        code = search(u, &code);
        loss += scale * scale * (score(sum(code), u) - before);
      }
      const Vector q = sum(code);
      Vector error(q);
      for (int64_t d = 0; d < g_; ++d) error[d] = scale * (old[d] - q[d]);
      errors.push_back(error);
      std::copy(code.begin(), code.end(), at);
    }
    if (c_.loss) c_.loss[row_] = static_cast<float>(loss);
  }

 private:
  Vector word(int32_t m, int32_t k) const {
    const float* p = c_.codebooks + (m * s_.codewords() + k) * g_;
    return Vector(p, p + g_);
  }
  Vector sum(const std::vector<int32_t>& code) const {
    Vector q(static_cast<size_t>(g_), 0.0);
    for (size_t m = 0; m < code.size(); ++m) {
      const Vector w = word(static_cast<int32_t>(m), code[m]);
      for (int64_t d = 0; d < g_; ++d) q[d] += w[d];
    }
    return q;
  }
  double score(const Vector& q, const Vector& u) const { return dot(q, times(q, metric_)) - 2 * dot(u, q); }

  std::vector<int32_t> search(const Vector& u, const std::vector<int32_t>* old) const {
    std::vector<std::vector<int32_t>> kept{{}};
    const auto books = static_cast<size_t>(s_.num_codebooks);
    for (size_t m = 0; m < books; ++m) {
      std::vector<std::pair<double, std::vector<int32_t>>> all;
      for (const std::vector<int32_t>& prefix : kept)
        for (int32_t k = 0; k < s_.codewords(); ++k) {
          std::vector<int32_t> code = prefix;
          code.push_back(k);
          all.emplace_back(score(sum(code), u), code);
        }
      const bool last = m + 1 == books;
      const auto most = last                               ? size_t{1}
                        : c_.search == SweepSearch::kExact ? all.size()
                                                           : std::min(all.size(), static_cast<size_t>(c_.candidates));
      std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end());
      all.resize(most);
      kept.clear();
      for (auto& [value, code] : all) kept.push_back(code);
      std::sort(kept.begin(), kept.end());
    }
    if (old && !(score(sum(kept[0]), u) < score(sum(*old), u))) return *old;
    return kept[0];
  }

  const SweepShape& s_;
  const SweepCall& c_;
  const int64_t row_, g_, inputs_;
  const float* metric_ = nullptr;
};

}  // namespace

void nearest_ref(const NearestShape& shape, const NearestCall& call) {
  const int64_t g = shape.group_size;
  for (int64_t b = 0; b < shape.batches; ++b)
    for (int64_t r = 0; r < shape.rows; ++r) {
      const float* u = call.queries + (b * shape.rows + r) * g;
      double low = kNever;
      int32_t best = 0;
      for (int64_t k = 0; k < shape.codewords; ++k) {
        const Vector word(call.book + k * g, call.book + (k + 1) * g);
        double value = call.bias     ? static_cast<double>(call.bias[b * shape.codewords + k])
                       : call.metric ? dot(word, times(word, call.metric + b * g * g))
                                     : dot(word, word);
        for (int64_t d = 0; d < g; ++d) value -= 2 * static_cast<double>(u[d]) * word[static_cast<size_t>(d)];
        if (value < low) low = value, best = static_cast<int32_t>(k);
      }
      call.index[b * shape.rows + r] = best;
      if (call.score) call.score[b * shape.rows + r] = static_cast<float>(low);
    }
}

void accumulate_ref(const NearestShape& shape, const AccumulateCall& call) {
  const int64_t g = shape.group_size;
  Vector sums(static_cast<size_t>(shape.codewords * g), 0.0),
      counts(static_cast<size_t>(shape.codewords * shape.batches), 0.0);
  for (int64_t b = 0; b < shape.batches; ++b)
    for (int64_t r = 0; r < shape.rows; ++r) {
      const int64_t point = b * shape.rows + r, k = call.index[point];
      const double weight = call.weights ? static_cast<double>(call.weights[r]) : 1;
      counts[static_cast<size_t>(k * shape.batches + b)] += weight;
      for (int64_t d = 0; d < g; ++d)
        sums[static_cast<size_t>(k * g + d)] += weight * static_cast<double>(call.values[point * g + d]);
    }
  for (size_t i = 0; i < sums.size(); ++i) call.sums[i] = static_cast<float>(sums[i]);
  for (size_t i = 0; i < counts.size(); ++i) call.counts[i] = static_cast<float>(counts[i]);
}

void sweep_ref(const SweepShape& shape, const SweepCall& call) {
  for (int64_t r = 0; r < shape.rows; ++r) Row(shape, call, r).run();
}

}  // namespace aqlm_exp::code_search
