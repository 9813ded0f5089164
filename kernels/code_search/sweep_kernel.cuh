// One sweep over the groups of a layer in one kernel: rows are independent, a CTA keeps 8, 16 or 32 of them from the
// first group to the last.
//
// When a block of 128 inputs begins, its targets get the errors of all groups so far times feedback, in registers, the
// sum split over warps. Then for each group: queries, search, code and error, and the error's part in the rest of the
// block.
//
// Search of pairs. score(a, b) = first[a] + (X[a][b] + second[b]) with X[a][b] = |c0_a + c1_b|^2 in the metric, common
// to all rows, first[a] = -2 u c0_a and second[b] = -2 u c1_b, so that a group is a product of matrices in (min, +), in
// tiles of 8 rows x 8 first codewords a thread. A constant of the row shifts `second` above zero: inner sums are then
// not negative, their bits order like integers, and one three-way integer minimum serves two pairs: three issue clocks,
// where two additions and two minima, each issuing every second clock, took four (21.8 against 22.9 ms a sweep of
// 4096x4096, H200). The tables X stream through shared memory by cp.async, three stages of 32 second codewords deep and
// across groups.
#pragma once

#include "kernels/code_search/sweep_parts.cuh"

namespace aqlm_exp::code_search::sweep {

template <int G, int R, Search S>
class Sweep {
  using Memory = Shared<G, R, S>;

 public:
  __device__ Sweep(const Params& params, Memory& memory)
      : p(params),
        s(memory),
        thread(static_cast<int>(threadIdx.x)),
        lane(thread & 31),
        warp(thread >> 5),
        row0(int64_t{blockIdx.x} * R),
        here(static_cast<int>(p.rows - row0 < R ? p.rows - row0 : R)) {}

  __device__ void run() {
    if (thread < R) {
      const float scale = thread < here ? p.scales[row0 + thread] : 0;
      s.scale[thread] = scale;
      s.inverse[thread] = scale != 0 ? 1 / scale : 0;
    }
    for (int i = thread; i < G * G; i += kThreads) s.metric[p.first_group & 1][i] = p.metric[p.first_group * G * G + i];
    if constexpr (S == Search::kPairs) {
      find_longest();
      chunks_left = static_cast<int>(p.last_group - p.first_group) * p.chunks;
      source = p.tables + thread * 4;
      for (int i = 0; i < kStages - 1; ++i) {
        fetch_table();
        commit_async();
      }
    }
    constexpr int kPerBlock = kColumns / G;
    for (int64_t first = p.first_group; first < p.last_group; first += kPerBlock) {
      const int64_t last = first + kPerBlock < p.groups ? first + kPerBlock : p.groups;
      begin_block(first * G, static_cast<int>((last - first) * G));
      for (int64_t g = first; g < last; ++g)
        group(g, static_cast<int>(g - first) * G, static_cast<int>(last - first) * G);
    }
    if (p.loss && thread < here)
      p.loss[row0 + thread] = (p.first_launch ? 0.0F : p.loss[row0 + thread]) + static_cast<float>(loss);
  }

 private:
  __device__ int64_t natural(int64_t position) const { return p.order ? p.order[position] : position; }
  __device__ int32_t* codes_of(int row, int64_t position) const {
    return p.codes + ((row0 + row) * p.groups + natural(position)) * p.num_books;
  }
  __device__ const float* word(int book, int code) const { return p.books + (int64_t{book} * p.codewords + code) * G; }
  __device__ const float* norms_of(int64_t position, int book) const {
    return p.norms + ((position - p.first_group) * p.num_books + book) * p.codewords;
  }

  /// Targets of the block's columns [column0, column0 + columns): given ones plus the errors so far times feedback.
  __device__ void begin_block(int64_t column0, int columns) {
    constexpr int kRowWarps = R / 8, kSplit = kWarps / kRowWarps, kSteps = kErrorChunk / kSplit;
    const int r0 = warp % kRowWarps * 8, part = warp / kRowWarps, column = lane * 4;
    float sum[8][4] = {};
    float* staged = s.reduce + kSplit * R * kColumns;  // [kErrorChunk][kPitch]
    const bool inside = column < columns;
    __syncthreads();  // the last group is done with what `reduce` covers
    for (int64_t k0 = 0; k0 < column0; k0 += kErrorChunk) {
      for (int i = thread; i < kErrorChunk * R; i += kThreads) {
        const int k = i % kErrorChunk, r = i / kErrorChunk;
        staged[k * Memory::kPitch + r] =
            r < here && k0 + k < column0 ? __ldcg(p.errors + (row0 + r) * p.inputs + k0 + k) : 0;
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const int k = part * kSteps + i;
        float x[4] = {};
        if (inside && k0 + k < column0)
          gpu::unpack(__ldg(reinterpret_cast<const float4*>(p.feedback + (k0 + k) * p.inputs + column0 + column)), x);
        float e[8];
        gpu::unpack(*reinterpret_cast<const float4*>(staged + k * Memory::kPitch + r0), e);
        gpu::unpack(*reinterpret_cast<const float4*>(staged + k * Memory::kPitch + r0 + 4), e + 4);
#pragma unroll
        for (int r = 0; r < 8; ++r)
#pragma unroll
          for (int c = 0; c < 4; ++c) sum[r][c] = fmaf(e[r], x[c], sum[r][c]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 8; ++r)
      *reinterpret_cast<float4*>(s.reduce + (part * R + r0 + r) * kColumns + column) =
          make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    __syncthreads();
    for (int i = thread; i < R * kColumns; i += kThreads) {
      const int r = i / kColumns, c = i % kColumns;
      float value = 0;
      s.given[r][c] = 0;
      if (r < here && c < columns) {
        value = p.target[(row0 + r) * p.inputs + natural((column0 + c) / G) * G + c % G];
        s.given[r][c] = value;
        if (column0 > 0)
          for (int w = 0; w < kSplit; ++w) value += s.reduce[(w * R + r) * kColumns + c];
      }
      s.target[r][c] = value;
    }
    __syncthreads();
  }

  /// Group `position`; its columns begin at `at` of a block of `columns`.
  __device__ void group(int64_t position, int at, int columns) {
    metric = s.metric[position & 1];
    fetch_group(position, at, columns);
    if constexpr (S == Search::kEachBook) {
      for (int i = thread; i < R * G; i += kThreads) s.error[i / G][i % G] = 0;
      for (int i = 0; i < p.num_books; ++i)
        one_book(position, at, p.book_order ? p.book_order[position * p.num_books + i] : i);
    } else {
      queries(position, at, -1);
      if constexpr (S == Search::kPairs)
        search_pairs(position);
      else if constexpr (S == Search::kStages)
        search_stages(position);
      else
        gpu::search_book<G, R>(&s.minus2u[0][0], p.books, norms_of(position, 0), p.codewords, s.found);
      settle(position, at);
    }
    // The rows of feedback and the next metric are here: with three or more chunks a group they came long ago.
    if (S == Search::kPairs && p.chunks >= kStages)
      wait_async<kStages - 1>();
    else
      wait_async<0>();
    __syncthreads();
    for (int i = thread; i < R * G; i += kThreads) {
      const int r = i / G, d = i % G;
      if (r < here) p.errors[(row0 + r) * p.inputs + position * G + d] = s.error[r][d];
    }
    const int rest = columns - at - G;
    for (int i = thread; i < R * kColumns; i += kThreads) {
      const int r = i / kColumns, c = i % kColumns;
      if (c >= rest) continue;
      float value = s.target[r][at + G + c];
#pragma unroll
      for (int d = 0; d < G; ++d) value = fmaf(s.error[r][d], s.feedback[d][at + G + c], value);
      s.target[r][at + G + c] = value;
    }
    __syncthreads();
  }

  /// Starts the copies of what the end of this group and the next group need; joins the next commit.
  __device__ void fetch_group(int64_t position, int at, int columns) {
    const int64_t column0 = position * G - at;
    for (int i = thread; i < G * (kColumns / 4); i += kThreads) {
      const int d = i / (kColumns / 4), c = i % (kColumns / 4) * 4;
      if (c >= at + G && c < columns)
        copy_async16(&s.feedback[d][c], p.feedback + (position * G + d) * p.inputs + column0 + c);
    }
    if (position + 1 < p.last_group && thread < G * G / 4)
      copy_async16(&s.metric[(position + 1) & 1][thread * 4], p.metric + (position + 1) * G * G + thread * 4);
    if (S != Search::kPairs) commit_async();
  }

  /// minus2u of all rows; `book` >= 0: only that book's word counts as old.
  __device__ void queries(int64_t position, int at, int book) {
    for (int i = thread; i < R * G; i += kThreads) {
      const int r = i / G, d = i % G;
      const float inverse = s.inverse[r];
      float u = 0;
      if (r < here) {
        if (p.descent) {
          u = s.target[r][at + d] * inverse;
          const int32_t* code = codes_of(r, position);
          for (int e = 0; e < G; ++e) {
            float old = 0;
            if (book >= 0)
              old = __ldg(word(book, code[book]) + e);
            else
              for (int m = 0; m < p.num_books; ++m) old += __ldg(word(m, code[m]) + e);
            u = fmaf(old, metric[e * G + d], u);
          }
        } else {
          for (int e = 0; e < G; ++e) u = fmaf(s.target[r][at + e] * inverse, metric[e * G + d], u);
        }
      }
      s.minus2u[r][d] = -2 * u;
    }
    __syncthreads();
  }

  // --- pairs ---
  __device__ float* first_line(int r) const { return s.lines + r * kPairs; }
  __device__ float* second_line(int b) const { return s.lines + R * kPairs + b * Memory::kPitch; }
  __device__ const float* table_of(int64_t position) const {
    return p.tables + (position - p.first_group) * p.chunks * (kChunk * kPairs);
  }
  /// The next chunk into the stage that the last one has left.
  __device__ void fetch_table() {
    if (chunks_left-- <= 0) return;
    float* to = s.table[fetch_stage] + thread * 4;
#pragma unroll
    for (int i = 0; i < kChunk * kPairs; i += kThreads * 4) copy_async16(to + i, source + i);
    source += kChunk * kPairs;
    fetch_stage = fetch_stage == kStages - 1 ? 0 : fetch_stage + 1;
  }

  /// first[r][a] = -2 u c0_a; second[b][r] = shift - 2 u c1_b with a shift that keeps it from going below zero:
  /// |2 u| |longest c1| by Cauchy and Schwarz, rounded up to a power of two, which small integers survive exactly.
  __device__ void score_lines() {
    if (thread < R) {
      float square = 0;
#pragma unroll
      for (int d = 0; d < G; ++d) square = fmaf(s.minus2u[thread][d], s.minus2u[thread][d], square);
      const unsigned bits = __float_as_uint(1.0001F * sqrtf(square) * s.longest);
      s.shift[thread] = __uint_as_float((bits + 0x7FFFFFU) & 0xFF800000U);
    }
    __syncthreads();
    const int book = thread / kPairs, k = thread % kPairs;
    static_assert(kThreads == 2 * kPairs);
    float w[G] = {};
    if (k < p.codewords)
#pragma unroll
      for (int d = 0; d < G; d += 4) gpu::unpack(__ldg(reinterpret_cast<const float4*>(word(book, k) + d)), &w[d]);
    for (int r = 0; r < R; r += 4) {
      float sum[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum[i] = book == 0 ? 0 : s.shift[r + i];
#pragma unroll
        for (int d = 0; d < G; d += 4) {
          float u[4];
          gpu::unpack(*reinterpret_cast<const float4*>(&s.minus2u[r + i][d]), u);
#pragma unroll
          for (int e = 0; e < 4; ++e) sum[i] = fmaf(u[e], w[d + e], sum[i]);
        }
        if (book == 0) first_line(r + i)[k] = sum[i];
      }
      if (book == 1) *reinterpret_cast<float4*>(second_line(k) + r) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    }
  }
  /// Length of the longest word of the second book.
  __device__ void find_longest() {
    float most = 0;
    for (int k = lane; k < p.codewords; k += 32) {
      float square = 0;
      for (int d = 0; d < G; ++d) square = fmaf(__ldg(word(1, k) + d), __ldg(word(1, k) + d), square);
      most = fmaxf(most, square);
    }
#pragma unroll
    for (int w = 16; w > 0; w /= 2) most = fmaxf(most, __shfl_xor_sync(~0U, most, w));
    if (thread == 0) s.longest = sqrtf(most);
  }

  /// found.low and found.index = a * codewords + b.
  __device__ void search_pairs(int64_t position) {
    constexpr int kLanesR = R / 8, kLanesA = 32 / kLanesR, kWarpsA = kPairs / (kLanesA * 8), kWarpsB = kWarps / kWarpsA;
    static_assert(kChunk % (2 * kWarpsB) == 0);
    const int r0 = lane / kLanesA * 8, warp_b = warp / kWarpsA;
    const int a0 = warp % kWarpsA * (kLanesA * 8) + lane % kLanesA * 4, a1 = a0 + kLanesA * 4;
    score_lines();
    int low[8][8];  // bits of floats that are not negative: they order like the floats
#pragma unroll
    for (int r = 0; r < 8; ++r)
#pragma unroll
      for (int a = 0; a < 8; ++a) low[r][a] = __float_as_int(kInfinity);
    for (int c = 0; c < p.chunks; ++c) {
      wait_async<kStages - 2>();
      __syncthreads();  // this chunk is here, and everyone is done with the one before (and score_lines)
      fetch_table();
      commit_async();
      const float* table = s.table[stage] + warp_b * kPairs;
      const float* line = second_line(c * kChunk + warp_b) + r0;
      stage = stage == kStages - 1 ? 0 : stage + 1;
#pragma unroll 2
      for (int i = 0; i < kChunk / (2 * kWarpsB); ++i) {
        float x[2][8], y[2][8];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          gpu::unpack(*reinterpret_cast<const float4*>(table + j * kWarpsB * kPairs + a0), x[j]);
          gpu::unpack(*reinterpret_cast<const float4*>(table + j * kWarpsB * kPairs + a1), x[j] + 4);
          gpu::unpack(*reinterpret_cast<const float4*>(line + j * kWarpsB * Memory::kPitch), y[j]);
          gpu::unpack(*reinterpret_cast<const float4*>(line + j * kWarpsB * Memory::kPitch + 4), y[j] + 4);
        }
#pragma unroll
        for (int r = 0; r < 8; ++r)
#pragma unroll
          for (int a = 0; a < 8; ++a)
            low[r][a] = __vimin3_s32(low[r][a], __float_as_int(x[0][a] + y[0][r]), __float_as_int(x[1][a] + y[1][r]));
        table += 2 * kWarpsB * kPairs;
        line += 2 * kWarpsB * Memory::kPitch;
      }
    }
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      float best = kInfinity, first[8];
      gpu::unpack(*reinterpret_cast<const float4*>(first_line(r0 + r) + a0), first);
      gpu::unpack(*reinterpret_cast<const float4*>(first_line(r0 + r) + a1), first + 4);
      int where = 0;
#pragma unroll
      for (int a = 0; a < 8; ++a) {
        const float score = first[a] + __int_as_float(low[r][a]);
        if (score < best) best = score, where = (a < 4 ? a0 : a1 - 4) + a;
      }
#pragma unroll
      for (int w = 1; w < kLanesA; w *= 2) {
        const float other = __shfl_xor_sync(~0U, best, w);
        const int other_where = __shfl_xor_sync(~0U, where, w);
        if (other < best || (other == best && other_where < where)) best = other, where = other_where;
      }
      if (lane % kLanesA == 0) {
        s.found.warp_low[warp][r0 + r] = best;
        s.found.warp_where[warp][r0 + r] = where;
      }
    }
    __syncthreads();
    // A warp finishes R / 16 rows: the lowest first codeword of least score, then its lowest partner of least inner
    // sum.
    for (int r = warp; r < R; r += kWarps) {
      float best = lane < kWarps ? s.found.warp_low[lane][r] : kInfinity;
      int a = lane < kWarps ? s.found.warp_where[lane][r] : 0;
      if (!(best < kInfinity)) a = kPairs;
      reduce(best, a, 16);
      if (!(best < kInfinity)) a = 0;
      const float* table = table_of(position) + a;
      float inner = kInfinity;
      int partner = 0;
      for (int b = lane; b < p.codewords; b += 32) {
        const float sum = __ldg(table + b * kPairs) + second_line(b)[r];
        if (sum < inner) inner = sum, partner = b;
      }
      if (!(inner < kInfinity)) partner = p.codewords;
      reduce(inner, partner, 16);
      if (!(inner < kInfinity)) partner = 0;
      if (lane == 0) {
        s.found.low[r] = best;
        s.found.index[r] = a * p.codewords + partner;
      }
    }
    __syncthreads();
  }
  __device__ static void reduce(float& value, int& index, int width) {
#pragma unroll
    for (int w = width; w > 0; w /= 2) {
      const float other = __shfl_xor_sync(~0U, value, w);
      const int other_index = __shfl_xor_sync(~0U, index, w);
      if (other < value || (other == value && other_index < index)) value = other, index = other_index;
    }
  }

  // --- book by book ---
  /// -2 (u - c M) from -2 u, element d.
  __device__ float carried(const float* minus2u, const float* c, int d) const {
    float image = 0;
#pragma unroll
    for (int e = 0; e < G; ++e) image = fmaf(__ldg(c + e), metric[e * G + d], image);
    return minus2u[d] + 2 * image;
  }
  __device__ float stages_score(int64_t position, int r, const int32_t* code) const {
    float u[G], score = 0;
#pragma unroll
    for (int d = 0; d < G; ++d) u[d] = s.minus2u[r][d];
    for (int m = 0; m < p.num_books; ++m) {
      const float* c = word(m, code[m]);
      const float add = gpu::score_one<G>(u, c, __ldg(norms_of(position, m) + code[m]));
      score = m == 0 ? add : score + add;
      float next[G];
#pragma unroll
      for (int d = 0; d < G; ++d) next[d] = carried(u, c, d);
#pragma unroll
      for (int d = 0; d < G; ++d) u[d] = next[d];
    }
    return score;
  }

  /// A warp takes a row. For each book every partial sum is extended by every codeword; a lane keeps its few lowest,
  /// the warp draws the lowest of all lanes, and a lane that runs out looks again for what comes after its last one.
  /// Equal scores are told apart by (partial sum, codeword), so the choice is that of a full sort.
  __device__ void search_stages(int64_t position) {
    constexpr int kKept = 4;
    constexpr int kNone = 0x7FFFFFFF;
    for (int r = warp; r < R; r += kWarps) {
      Partials<G>& own = s.partials[r];
      int count = 1;
      if (lane == 0) own.score[0][0] = 0;
      for (int d = lane; d < G; d += 32) own.minus2u[0][0][d] = s.minus2u[r][d];
      __syncwarp();
      for (int m = 0; m < p.num_books; ++m) {
        const int from = m & 1, to = from ^ 1;
        const int64_t all = int64_t{count} * p.codewords;
        const int most = m + 1 == p.num_books ? 1 : static_cast<int>(all < p.candidates ? all : p.candidates);
        const float* norms = norms_of(position, m);
        float low[kKept], drawn = -kInfinity;
        int key[kKept], drawn_key = -1, held = 0;
        const auto before = [](float a, int ka, float b, int kb) { return a < b || (a == b && ka < kb); };
        const auto look = [&] {  // the kKept lowest of this lane after (drawn, drawn_key)
#pragma unroll
          for (int i = 0; i < kKept; ++i) low[i] = kInfinity, key[i] = kNone;
          held = kKept;
          for (int k = lane; k < p.codewords; k += 32) {
            float w[G];
#pragma unroll
            for (int d = 0; d < G; d += 4) gpu::unpack(__ldg(reinterpret_cast<const float4*>(word(m, k) + d)), &w[d]);
            const float norm = __ldg(norms + k);
            for (int h = 0; h < count; ++h) {
              float score = norm;
#pragma unroll
              for (int d = 0; d < G; ++d) score = fmaf(own.minus2u[from][h][d], w[d], score);
              if (m > 0) score = own.score[from][h] + score;
              int at = h * p.codewords + k;
              if (!before(score, at, low[kKept - 1], key[kKept - 1]) || !before(drawn, drawn_key, score, at)) continue;
#pragma unroll
              for (int i = 0; i < kKept; ++i)
                if (before(score, at, low[i], key[i])) {
                  const float old = low[i];
                  const int old_key = key[i];
                  low[i] = score, key[i] = at;
                  score = old, at = old_key;
                }
            }
          }
        };
        look();
        float mine = kInfinity;  // the partial sum that this lane takes over
        int mine_key = kNone, drawn_count = 0;
        for (int i = 0; i < most; ++i) {
          float best = low[0];
          int best_key = key[0];
          reduce(best, best_key, 16);
          if (best_key == kNone) break;  // all that is left is NaN or infinite
          if (lane == i) mine = best, mine_key = best_key;
          ++drawn_count;
          if (key[0] == best_key) {
            drawn = best, drawn_key = best_key;
#pragma unroll
            for (int j = 0; j + 1 < kKept; ++j) low[j] = low[j + 1], key[j] = key[j + 1];
            low[kKept - 1] = kInfinity, key[kKept - 1] = kNone;
            if (--held == 0) look();
          }
          __syncwarp();
        }
        if (drawn_count == 0) {  // a row of NaN: codes 0
          drawn_count = 1;
          if (lane == 0) mine_key = 0;
        }
        int rank = 0;
        for (int i = 0; i < drawn_count; ++i) rank += __shfl_sync(~0U, mine_key, i) < mine_key;
        if (lane < drawn_count) {
          const int h = mine_key / p.codewords, k = mine_key % p.codewords;
          own.score[to][rank] = mine;
          for (int i = 0; i < m; ++i) own.codes[to][rank][i] = own.codes[from][h][i];
          own.codes[to][rank][m] = static_cast<uint16_t>(k);
          for (int d = 0; d < G; ++d) own.minus2u[to][rank][d] = carried(own.minus2u[from][h], word(m, k), d);
        }
        count = drawn_count;
        __syncwarp();
      }
      if (lane == 0) s.found.low[r] = own.score[p.num_books & 1][0];
    }
    __syncthreads();
  }

  // --- taking a code ---
  __device__ void settle(int64_t position, int at) {
    if (thread < here) {
      const int r = thread;
      int32_t* code = codes_of(r, position);
      const float scale = s.scale[r];
      const int pair = s.found.index[r], books = S == Search::kStages ? p.num_books : S == Search::kPairs ? 2 : 1;
      const auto found = [&](int m) -> int {
        if (S == Search::kStages) return s.partials[r].codes[p.num_books & 1][0][m];
        if (S == Search::kPairs) return m == 0 ? pair / p.codewords : pair % p.codewords;
        return pair;
      };
      float q[G] = {};
      for (int m = 0; m < books; ++m)
#pragma unroll
        for (int d = 0; d < G; ++d) q[d] += __ldg(word(m, found(m)) + d);
      if (!p.descent) {
        float left[G];
#pragma unroll
        for (int d = 0; d < G; ++d) {
          left[d] = s.target[r][at + d] - scale * q[d];
          s.error[r][d] = s.given[r][at + d] - scale * q[d];
        }
#pragma unroll
        for (int d = 0; d < G; ++d) {
          float image = 0;
#pragma unroll
          for (int e = 0; e < G; ++e) image = fmaf(left[e], metric[e * G + d], image);
          loss += static_cast<double>(left[d]) * static_cast<double>(image);
        }
        for (int m = 0; m < books; ++m) code[m] = found(m);
      } else {
        float before;
        if (S == Search::kPairs) {
          const float inner = __ldg(table_of(position) + code[1] * kPairs + code[0]) + second_line(code[1])[r];
          before = first_line(r)[code[0]] + inner;
        } else if (S == Search::kStages) {
          before = stages_score(position, r, code);
        } else {
          before = gpu::score_one<G>(s.minus2u[r], word(0, code[0]), __ldg(norms_of(position, 0) + code[0]));
        }
        const bool better = s.found.low[r] < before;
        float old[G] = {};
        for (int m = 0; m < books; ++m)
#pragma unroll
          for (int d = 0; d < G; ++d) old[d] += __ldg(word(m, code[m]) + d);
#pragma unroll
        for (int d = 0; d < G; ++d) s.error[r][d] = better ? scale * (old[d] - q[d]) : 0;
        if (better) {
          for (int m = 0; m < books; ++m) code[m] = found(m);
          const auto wide = static_cast<double>(scale);
          loss += wide * wide * (static_cast<double>(s.found.low[r]) - static_cast<double>(before));
        }
      }
    } else if (thread < R) {
#pragma unroll
      for (int d = 0; d < G; ++d) s.error[thread][d] = 0;
    }
  }

  __device__ void one_book(int64_t position, int at, int book) {
    queries(position, at, book);
    gpu::search_book<G, R>(&s.minus2u[0][0], word(book, 0), norms_of(position, book), p.codewords, s.found);
    if (thread < R) {
      const int r = thread;
      float moved[G] = {};
      if (r < here) {
        int32_t* code = codes_of(r, position) + book;
        const float before =
            gpu::score_one<G>(s.minus2u[r], word(book, *code), __ldg(norms_of(position, book) + *code));
        if (s.found.low[r] < before) {
          const float scale = s.scale[r];
          const float *old = word(book, *code), *now = word(book, s.found.index[r]);
#pragma unroll
          for (int d = 0; d < G; ++d) moved[d] = scale * (__ldg(old + d) - __ldg(now + d));
          *code = s.found.index[r];
          const auto wide = static_cast<double>(scale);
          loss += wide * wide * (static_cast<double>(s.found.low[r]) - static_cast<double>(before));
        }
      }
#pragma unroll
      for (int d = 0; d < G; ++d) s.moved[r][d] = moved[d];
    }
    __syncthreads();
    for (int i = thread; i < R * G; i += kThreads) {
      const int r = i / G, d = i % G;
      float value = s.target[r][at + d];
#pragma unroll
      for (int e = 0; e < G; ++e) value = fmaf(s.moved[r][e], metric[e * G + d], value);
      s.target[r][at + d] = value;
      s.error[r][d] += s.moved[r][d];
    }
    __syncthreads();
  }

  const Params& p;
  Memory& s;
  const int thread, lane, warp;
  const int64_t row0;
  const int here;  // rows of this CTA
  const float* metric = nullptr;
  const float* source = nullptr;  // of the next chunk of tables, this thread's share
  int chunks_left = 0, stage = 0, fetch_stage = 0;
  double loss = 0;  // of row `thread`
};

template <int G, int R, Search S>
__global__ void __launch_bounds__(kThreads, 1) sweep_kernel(const __grid_constant__ Params params) {
  extern __shared__ __align__(128) unsigned char shared[];
  Sweep<G, R, S>(params, *reinterpret_cast<Shared<G, R, S>*>(shared)).run();
}

}  // namespace aqlm_exp::code_search::sweep
