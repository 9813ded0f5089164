// One sweep over the groups of a layer. A thread takes blocks of rows through all groups: the table of pair scores of a
// group, the book's norms and the feedback matrix are made or read once per block of rows.
//
// Feedback is lazy. Groups come in column blocks of about 128 inputs; when a block begins, one product of the errors so
// far with the block's columns brings its targets up to date, and inside the block each group corrects the rest of it.
#include <algorithm>
#include <cstring>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_cpu_support.h"

namespace aqlm_exp::code_search {
namespace {

using cpu::Book;
using cpu::Level;
using kernels::Status;

constexpr int64_t kRowBlock = 128;     // a table of 65536 pair scores costs about 4 rows' searches
constexpr int64_t kColumnBlock = 128;  // inputs that are corrected eagerly

int64_t groups_per_block(const SweepShape& s) { return std::max<int64_t>(1, kColumnBlock / s.group_size); }
bool joint_pairs(const SweepShape& s, SweepSearch search) {
  return search == SweepSearch::kExact && s.num_codebooks == 2;
}

struct Layout {  // floats
  int64_t padded, words, norms, table, errors, targets, queries, line, state, small, per_thread;
  Layout(const SweepShape& s, SweepSearch search)
      : padded(cpu::padded_size(s.codewords())),
        words(cpu::aligned_floats(s.num_codebooks * padded * s.group_size)),
        norms(s.num_codebooks * padded),
        table(joint_pairs(s, search) ? padded * s.codewords() : 0),
        errors(cpu::aligned_floats(kRowBlock * s.in_features())),
        targets(cpu::aligned_floats(kRowBlock * groups_per_block(s) * s.group_size)),
        queries(cpu::aligned_floats(std::max<int64_t>(kRowBlock, kMaxCandidates) * s.group_size)),
        line(joint_pairs(s, search) ? 2 * kRowBlock * padded : padded),
        state(std::max<int64_t>(kRowBlock, kMaxCandidates) * 32),
        small(cpu::aligned_floats(8 * std::max<int64_t>(kRowBlock, kMaxCandidates))),
        per_thread(norms + table + errors + targets + queries + line + state + small) {}
};

/// A partial sum of codewords of one row and group.
struct Partial {
  float score;
  int32_t codes[kMaxBooks];
};

class Sweep {
 public:
  Sweep(const SweepShape& shape, const SweepCall& call, const Level& level, const float* words, const Layout& layout,
        float* scratch)
      : s_(shape), c_(call), level_(level), g_(shape.group_size), inputs_(shape.in_features()), padded_(layout.padded) {
    for (int32_t m = 0; m < s_.num_codebooks; ++m) books_[m] = {words + m * padded_ * g_, s_.codewords(), padded_, g_};
    norms_ = scratch;
    table_ = norms_ + layout.norms;
    errors_ = table_ + layout.table;
    targets_ = errors_ + layout.errors;
    queries_ = targets_ + layout.targets;
    line_ = queries_ + layout.queries;
    state_ = line_ + layout.line;
    scores_ = state_ + layout.state;
    index_ = reinterpret_cast<int32_t*>(scores_ + layout.small / 8);
  }

  /// Rows [begin, begin + count), count <= kRowBlock.
  void rows(int64_t begin, int64_t count) {
    begin_ = begin, count_ = count;
    std::fill(loss_, loss_ + count, 0.0);
    const int64_t per_block = groups_per_block(s_);
    for (int64_t first = 0; first < s_.groups; first += per_block) {
      const int64_t last = std::min(first + per_block, s_.groups), columns = (last - first) * g_;
      pitch_ = columns;
      for (int64_t r = 0; r < count; ++r)
        for (int64_t p = first; p < last; ++p)
          std::memcpy(targets_ + r * pitch_ + (p - first) * g_, c_.target + (begin + r) * inputs_ + natural(p) * g_,
                      static_cast<size_t>(g_) * 4);
      level_.multiply_add(count, first * g_, columns, errors_, inputs_, c_.feedback + first * g_, inputs_, targets_,
                          pitch_);
      for (int64_t p = first; p < last; ++p) {
        here_ = targets_ + (p - first) * g_;
        metric_ = c_.metric + p * g_ * g_;
        group(p);
        const int64_t done = (p + 1 - first) * g_;
        level_.multiply_add(count, g_, columns - done, errors_ + p * g_, inputs_,
                            c_.feedback + p * g_ * inputs_ + (p + 1) * g_, inputs_, targets_ + done, pitch_);
      }
    }
    if (c_.loss)
      for (int64_t r = 0; r < count; ++r) c_.loss[begin + r] = static_cast<float>(loss_[r]);
  }

 private:
  bool descent() const { return c_.kind == SweepKind::kCoordinateDescent; }
  int64_t natural(int64_t position) const { return c_.order ? c_.order[position] : position; }
  const float* word(int32_t m, int64_t code) const { return c_.codebooks + (m * s_.codewords() + code) * g_; }
  int32_t* codes(int64_t r, int64_t position) const {
    return c_.codes + ((begin_ + r) * s_.groups + natural(position)) * s_.num_codebooks;
  }
  void sum_words(const int32_t* code, float* out) const {
    for (int64_t d = 0; d < g_; ++d) out[d] = word(0, code[0])[d];
    for (int32_t m = 1; m < s_.num_codebooks; ++m)
      for (int64_t d = 0; d < g_; ++d) out[d] += word(m, code[m])[d];
  }
  /// out += x metric
  void add_image(const float* x, float* out) const {
    for (int64_t e = 0; e < g_; ++e)
      for (int64_t d = 0; d < g_; ++d) out[d] += x[e] * metric_[e * g_ + d];
  }
  float inverse_scale(int64_t r) const {
    const float scale = c_.scales[begin_ + r];
    return scale != 0 ? 1 / scale : 0;
  }
  /// -2 u of row r: u = t / s M, or p / s + old H_jj.
  void query(int64_t r, const float* old, float* minus2u) const {
    const float* x = here_ + r * pitch_;
    const float inverse = inverse_scale(r);
    float u[kMaxGroupSize] = {};
    if (descent()) {
      for (int64_t d = 0; d < g_; ++d) u[d] = x[d] * inverse;
      add_image(old, u);
    } else {
      float t[kMaxGroupSize];
      for (int64_t d = 0; d < g_; ++d) t[d] = x[d] * inverse;
      add_image(t, u);
    }
    for (int64_t d = 0; d < g_; ++d) minus2u[d] = -2 * u[d];
  }

  void group(int64_t p) {
    for (int32_t m = 0; m < s_.num_codebooks; ++m) level_.norms(books_[m], metric_, norms_ + m * padded_);
    if (c_.search == SweepSearch::kOneBook) return one_book(p);
    float old[kMaxGroupSize];
    for (int64_t r = 0; r < count_; ++r) {
      if (descent()) sum_words(codes(r, p), old);
      query(r, old, queries_ + r * g_);
    }
    if (s_.num_codebooks == 1)
      level_.nearest(books_[0], norms_, queries_, count_, state_, index_, scores_);
    else if (c_.search == SweepSearch::kExact)
      pairs();
    else
      stages();
    for (int64_t r = 0; r < count_; ++r) settle(p, r);
  }

  /// index_[r], index_[count + r] and scores_: the best pair of each row.
  void pairs() {
    level_.pair_table(books_[0], books_[1], metric_, table_);
    float *first = line_, *second = line_ + kRowBlock * padded_;
    for (int64_t r = 0; r < count_; ++r) {
      level_.scores(books_[0], norms_, queries_ + r * g_, first + r * padded_);
      level_.scores(books_[1], norms_ + padded_, queries_ + r * g_, second + r * padded_);
    }
    level_.pair_search(table_, padded_, s_.codewords(), first, padded_, second, padded_, count_, index_,
                       index_ + count_, scores_);
  }
  float pair_score(int64_t r, const int32_t* code) const {
    const float *first = line_ + r * padded_, *second = line_ + (kRowBlock + r) * padded_;
    const int64_t a = code[0], b = code[1];
    const float inner =
        table_[a / cpu::kTile * cpu::kTile * s_.codewords() + b * cpu::kTile + a % cpu::kTile] + second[b];
    return first[a] + inner;
  }

  /// score of `code` as stages() adds it up
  float stages_score(const int32_t* code, const float* minus2u) const {
    float u[kMaxGroupSize], score = 0;
    std::copy(minus2u, minus2u + g_, u);
    for (int32_t m = 0; m < s_.num_codebooks; ++m) {
      const float add = level_.score_one(books_[m], norms_ + m * padded_, u, code[m]);
      score = m == 0 ? add : score + add;
      carry(m, code[m], u);
    }
    return score;
  }
  /// -2 (u - c M) from -2 u
  void carry(int32_t m, int64_t code, float* minus2u) const {
    float image[kMaxGroupSize] = {};
    add_image(word(m, code), image);
    for (int64_t d = 0; d < g_; ++d) minus2u[d] += 2 * image[d];
  }

  void stages() {
    for (int64_t r = 0; r < count_; ++r) {
      std::copy(queries_ + r * g_, queries_ + (r + 1) * g_, carried_);
      int kept = 1;
      partials_[0] = {0, {}};
      for (int32_t m = 0; m + 1 < s_.num_codebooks; ++m) kept = extend(m, kept);
      const int32_t m = s_.num_codebooks - 1;
      level_.nearest(books_[m], norms_ + m * padded_, carried_, kept, state_, last_, last_score_);
      int best = 0;
      for (int h = 0; h < kept; ++h) {
        last_score_[h] = m == 0 ? last_score_[h] : partials_[h].score + last_score_[h];
        if (last_score_[h] < last_score_[best]) best = h;
      }
      partials_[best].codes[m] = last_[best];
      for (int32_t i = 0; i <= m; ++i) found_[r][i] = partials_[best].codes[i];
      scores_[r] = last_score_[best];
    }
  }
  /// Extends every partial sum by every codeword of book m and keeps the lowest, ordered by their codes.
  int extend(int32_t m, int kept) {
    struct Entry {
      float score;
      int32_t from, code;
    } best[kMaxCandidates + 1];
    int n = 0;
    const int most = static_cast<int>(std::min<int64_t>(c_.candidates, kept * s_.codewords()));
    for (int h = 0; h < kept; ++h) {
      level_.scores(books_[m], norms_ + m * padded_, carried_ + h * g_, line_);
      for (int32_t k = 0; k < s_.codewords(); ++k) {
        const float score = m == 0 ? line_[k] : partials_[h].score + line_[k];
        if (n == most && !(score < best[n - 1].score)) continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && score < best[at - 1].score; --at) best[at] = best[at - 1];
        best[at] = {score, h, k};
      }
    }
    std::sort(best, best + n,
              [](const Entry& x, const Entry& y) { return x.from != y.from ? x.from < y.from : x.code < y.code; });
    for (int i = 0; i < n; ++i) {
      next_[i] = partials_[best[i].from];
      next_[i].score = best[i].score;
      next_[i].codes[m] = best[i].code;
      std::copy(carried_ + best[i].from * g_, carried_ + (best[i].from + 1) * g_, next_carried_ + i * g_);
      carry(m, best[i].code, next_carried_ + i * g_);
    }
    std::copy(next_, next_ + n, partials_);
    std::copy(next_carried_, next_carried_ + n * g_, carried_);
    return n;
  }

  /// Takes the code that was found for row r, and notes the error that later groups have to make up for.
  void settle(int64_t p, int64_t r) {
    int32_t* code = codes(r, p);
    int32_t found[kMaxBooks];
    const bool exact = c_.search == SweepSearch::kExact || s_.num_codebooks == 1;
    for (int32_t m = 0; m < s_.num_codebooks; ++m)
      found[m] = exact ? (m == 0 ? index_[r] : index_[count_ + r]) : found_[r][m];
    const float scale = c_.scales[begin_ + r];
    float* error = errors_ + r * inputs_ + p * g_;
    float q[kMaxGroupSize];
    if (!descent()) {
      std::copy(found, found + s_.num_codebooks, code);
      sum_words(found, q);
      const float* weight = c_.target + (begin_ + r) * inputs_ + natural(p) * g_;
      float left[kMaxGroupSize], image[kMaxGroupSize] = {};
      for (int64_t d = 0; d < g_; ++d) {
        left[d] = here_[r * pitch_ + d] - scale * q[d];
        error[d] = weight[d] - scale * q[d];
      }
      add_image(left, image);
      for (int64_t d = 0; d < g_; ++d) loss_[r] += static_cast<double>(left[d]) * static_cast<double>(image[d]);
      return;
    }
    const float* u = queries_ + r * g_;
    const float before = s_.num_codebooks == 1 ? level_.score_one(books_[0], norms_, u, code[0])
                         : exact               ? pair_score(r, code)
                                               : stages_score(code, u);
    if (!(scores_[r] < before)) {
      std::fill(error, error + g_, 0.0F);
      return;
    }
    float old[kMaxGroupSize];
    sum_words(code, old);
    sum_words(found, q);
    for (int64_t d = 0; d < g_; ++d) error[d] = scale * (old[d] - q[d]);
    std::copy(found, found + s_.num_codebooks, code);
    const auto s = static_cast<double>(scale);
    loss_[r] += s * s * (static_cast<double>(scores_[r]) - static_cast<double>(before));
  }

  void one_book(int64_t p) {
    for (int64_t r = 0; r < count_; ++r) std::fill_n(errors_ + r * inputs_ + p * g_, g_, 0.0F);
    for (int32_t i = 0; i < s_.num_codebooks; ++i) {
      const int32_t m = c_.book_order ? c_.book_order[p * s_.num_codebooks + i] : i;
      const float* norms = norms_ + m * padded_;
      for (int64_t r = 0; r < count_; ++r) query(r, word(m, codes(r, p)[m]), queries_ + r * g_);
      level_.nearest(books_[m], norms, queries_, count_, state_, index_, scores_);
      for (int64_t r = 0; r < count_; ++r) {
        int32_t& code = codes(r, p)[m];
        const float before = level_.score_one(books_[m], norms, queries_ + r * g_, code);
        if (!(scores_[r] < before)) continue;
        const float scale = c_.scales[begin_ + r];
        const float *old = word(m, code), *now = word(m, index_[r]);
        float moved[kMaxGroupSize];
        for (int64_t d = 0; d < g_; ++d) {
          moved[d] = scale * (old[d] - now[d]);
          errors_[r * inputs_ + p * g_ + d] += moved[d];
        }
        add_image(moved, here_ + r * pitch_);
        code = index_[r];
        const auto s = static_cast<double>(scale);
        loss_[r] += s * s * (static_cast<double>(scores_[r]) - static_cast<double>(before));
      }
    }
  }

  const SweepShape& s_;
  const SweepCall& c_;
  const Level& level_;
  const int64_t g_, inputs_, padded_;
  Book books_[kMaxBooks];
  float *norms_, *table_, *errors_, *targets_, *queries_, *line_, *state_, *scores_;
  int32_t* index_;
  int64_t begin_ = 0, count_ = 0, pitch_ = 0;
  float* here_ = nullptr;          // this group's columns of targets_
  const float* metric_ = nullptr;  // of this group
  double loss_[kRowBlock];
  int32_t found_[kRowBlock][kMaxBooks];
  Partial partials_[kMaxCandidates], next_[kMaxCandidates];
  float carried_[kMaxCandidates * kMaxGroupSize], next_carried_[kMaxCandidates * kMaxGroupSize];
  int32_t last_[kMaxCandidates];
  float last_score_[kMaxCandidates];
};

}  // namespace

Status sweep_cpu_supports(const SweepShape& s, SweepKind kind, SweepSearch search, int32_t candidates) noexcept {
  bool ok = s.rows >= 1 && s.groups >= 1 && s.group_size >= 1 && s.group_size <= kMaxGroupSize &&
            s.num_codebooks >= 1 && s.num_codebooks <= kMaxBooks && s.nbits >= 1 && s.nbits <= 16;
  if (search == SweepSearch::kExact) ok = ok && (s.num_codebooks == 1 || (s.num_codebooks == 2 && s.nbits <= 8));
  if (search == SweepSearch::kStages) ok = ok && candidates >= 1 && candidates <= kMaxCandidates;
  if (search == SweepSearch::kOneBook) ok = ok && kind == SweepKind::kCoordinateDescent;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t sweep_cpu_workspace_bytes(const SweepShape& shape, SweepSearch search, int threads) noexcept {
  if (shape.rows < 1 || shape.groups < 1) return 0;
  const Layout layout(shape, search);
  return 4 * (layout.words + layout.per_thread * std::max(threads, 1));
}

Status sweep_cpu(const SweepShape& shape, const SweepCall& call, const CpuRun& run) noexcept {
  const Status status = sweep_cpu_supports(shape, call.kind, call.search, call.candidates);
  if (status != Status::kOk) return status;
  const Layout layout(shape, call.search);
  const Level& level = cpu::level_for(run.isa);
  float* words = static_cast<float*>(run.workspace);
  const int64_t book = layout.padded * shape.group_size;
  for (int32_t m = 0; m < shape.num_codebooks; ++m)
    cpu::transpose_book(call.codebooks + m * shape.codewords() * shape.group_size, shape.codewords(), shape.group_size,
                        words + m * book);
  kernels::ThreadPool::shared().run(std::max(run.threads, 1), [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(shape.rows, 1, index, count);
    Sweep sweep(shape, call, level, words, layout, words + layout.words + index * layout.per_thread);
    for (int64_t r = begin; r < end; r += kRowBlock) sweep.rows(r, std::min(kRowBlock, end - r));
  });
  return Status::kOk;
}

}  // namespace aqlm_exp::code_search
