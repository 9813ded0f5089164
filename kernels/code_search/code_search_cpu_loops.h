// The loops of every level, written once over a vector type `Vec` that the including file defines in an anonymous
// namespace: kWidth, Float, Int, load, store, broadcast, add, fma, min, keep_less, fma1, and tile sizes.
// One result is one chain of multiply-adds in a fixed order, so a result does not depend on how rows are tiled.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/code_search/code_search_cpu_levels.h"

namespace aqlm_exp::code_search::cpu {
namespace {

constexpr int kW = Vec::kWidth;
constexpr int kLanes = 16;              // lanes of a saved state, whatever the width
constexpr int64_t kChunk = 16 * kTile;  // codewords that a pass over the queries keeps in L1
constexpr int kTileVecs = static_cast<int>(kTile) / kW;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void norms(const Book& book, const float* metric, float* out) {
  const int64_t g = book.group_size;
  for (int64_t k = 0; k < book.padded; k += kW) {
    Vec::Float sum = Vec::broadcast(0);
    for (int64_t d = 0; d < g; ++d) {
      const Vec::Float word = Vec::load(book.words + d * book.padded + k);
      Vec::Float image = word;
      if (metric) {
        image = Vec::broadcast(0);
        for (int64_t e = 0; e < g; ++e)
          image = Vec::fma(Vec::broadcast(metric[d * g + e]), Vec::load(book.words + e * book.padded + k), image);
      }
      sum = Vec::fma(word, image, sum);
    }
    Vec::store(out + k, sum);
  }
  for (int64_t k = book.size; k < book.padded; ++k) out[k] = kInfinity;
}

void scores(const Book& book, const float* bias, const float* minus2u, float* out) {
  for (int64_t k = 0; k < book.padded; k += kTile) {
    Vec::Float sum[kTileVecs];
    for (int v = 0; v < kTileVecs; ++v) sum[v] = Vec::load(bias + k + v * kW);
    for (int64_t d = 0; d < book.group_size; ++d) {
      const Vec::Float u = Vec::broadcast(minus2u[d]);
      for (int v = 0; v < kTileVecs; ++v)
        sum[v] = Vec::fma(u, Vec::load(book.words + d * book.padded + k + v * kW), sum[v]);
    }
    for (int v = 0; v < kTileVecs; ++v) Vec::store(out + k + v * kW, sum[v]);
  }
}

float score_one(const Book& book, const float* bias, const float* minus2u, int64_t k) {
  float sum = bias[k];
  for (int64_t d = 0; d < book.group_size; ++d) sum = Vec::fma1(minus2u[d], book.words[d * book.padded + k], sum);
  return sum;
}

/// Lanes hold their lowest score and where it was first met; among equals the lowest codeword wins.
void finish_lanes(const float* best, const int32_t* where, int32_t* index, float* score) {
  float low = best[0];
  int32_t at = where[0];
  for (int lane = 1; lane < kW; ++lane) {
    const int32_t k = where[lane] + lane;
    if (best[lane] < low || (best[lane] == low && k < at)) low = best[lane], at = k;
  }
  // Nothing was below +infinity: a NaN or infinite query.
  *index = low < kInfinity ? at : 0;
  *score = low;
}

template <int Queries>
void nearest_tile(const Book& book, const float* bias, const float* minus2u, int64_t begin, int64_t end, float* state) {
  constexpr int kVecs = Vec::kNearestVecs;
  const int64_t g = book.group_size;
  Vec::Float best[Queries];
  Vec::Int where[Queries];
  for (int q = 0; q < Queries; ++q) {
    best[q] = Vec::load(state + q * 2 * kLanes);
    where[q] = Vec::load_int(reinterpret_cast<const int32_t*>(state + q * 2 * kLanes + kLanes));
  }
  for (int64_t k = begin; k < end; k += kVecs * kW) {
    Vec::Float sum[Queries][kVecs];
    for (int v = 0; v < kVecs; ++v) {
      const Vec::Float start = Vec::load(bias + k + v * kW);
      for (int q = 0; q < Queries; ++q) sum[q][v] = start;
    }
    for (int64_t d = 0; d < g; ++d) {
      Vec::Float word[kVecs];
      for (int v = 0; v < kVecs; ++v) word[v] = Vec::load(book.words + d * book.padded + k + v * kW);
      for (int q = 0; q < Queries; ++q) {
        const Vec::Float u = Vec::broadcast(minus2u[q * g + d]);
        for (int v = 0; v < kVecs; ++v) sum[q][v] = Vec::fma(u, word[v], sum[q][v]);
      }
    }
    for (int v = 0; v < kVecs; ++v) {
      const Vec::Int now = Vec::broadcast_int(static_cast<int32_t>(k + v * kW));
      for (int q = 0; q < Queries; ++q) Vec::keep_less(sum[q][v], best[q], where[q], now);
    }
  }
  for (int q = 0; q < Queries; ++q) {
    Vec::store(state + q * 2 * kLanes, best[q]);
    Vec::store_int(reinterpret_cast<int32_t*>(state + q * 2 * kLanes + kLanes), where[q]);
  }
}

void nearest(const Book& book, const float* bias, const float* minus2u, int64_t count, float* state, int32_t* index,
             float* score) {
  constexpr int kQueries = Vec::kNearestQueries;
  const int64_t g = book.group_size;
  for (int64_t q = 0; q < count; ++q)
    for (int lane = 0; lane < kLanes; ++lane) {
      state[q * 2 * kLanes + lane] = kInfinity;
      reinterpret_cast<int32_t*>(state)[q * 2 * kLanes + kLanes + lane] = 0;
    }
  for (int64_t begin = 0; begin < book.padded; begin += kChunk) {
    const int64_t end = begin + kChunk < book.padded ? begin + kChunk : book.padded;
    int64_t q = 0;
    for (; q + kQueries <= count; q += kQueries)
      nearest_tile<kQueries>(book, bias, minus2u + q * g, begin, end, state + q * 2 * kLanes);
    for (; q < count; ++q) nearest_tile<1>(book, bias, minus2u + q * g, begin, end, state + q * 2 * kLanes);
  }
  for (int64_t q = 0; q < count; ++q)
    finish_lanes(state + q * 2 * kLanes, reinterpret_cast<const int32_t*>(state + q * 2 * kLanes + kLanes), index + q,
                 score + q);
}

void pair_table(const Book& first, const Book& second, const float* metric, float* table) {
  const int64_t g = first.group_size;
  float image[64];  // 2 metric second_b; kMaxGroupSize
  for (int64_t b = 0; b < second.size; ++b) {
    for (int64_t d = 0; d < g; ++d) {
      float sum = 0;
      for (int64_t e = 0; e < g; ++e) sum = Vec::fma1(metric[d * g + e], second.words[e * second.padded + b], sum);
      image[d] = 2 * sum;
    }
    for (int64_t a = 0; a < first.padded; a += kTile) {
      Vec::Float sum[kTileVecs];
      for (int v = 0; v < kTileVecs; ++v) sum[v] = Vec::broadcast(0);
      for (int64_t d = 0; d < g; ++d) {
        const Vec::Float y = Vec::broadcast(image[d]);
        for (int v = 0; v < kTileVecs; ++v)
          sum[v] = Vec::fma(y, Vec::load(first.words + d * first.padded + a + v * kW), sum[v]);
      }
      for (int v = 0; v < kTileVecs; ++v) Vec::store(table + (a * second.size) + b * kTile + v * kW, sum[v]);
    }
  }
}

/// min over b of table + second, for 32 first codewords and `Rows` rows: a product of matrices in (min, +).
template <int Rows>
void pair_tile(const float* table, int64_t second_size, const float* second, int64_t second_pitch, float* out) {
  Vec::Float low[Rows][kTileVecs];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kTileVecs; ++v) low[r][v] = Vec::broadcast(kInfinity);
  for (int64_t b = 0; b < second_size; ++b) {
    Vec::Float x[kTileVecs];
    for (int v = 0; v < kTileVecs; ++v) x[v] = Vec::load(table + b * kTile + v * kW);
    for (int r = 0; r < Rows; ++r) {
      const Vec::Float y = Vec::broadcast(second[r * second_pitch + b]);
      for (int v = 0; v < kTileVecs; ++v) low[r][v] = Vec::min(Vec::add(x[v], y), low[r][v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kTileVecs; ++v) Vec::store(out + r * kTile + v * kW, low[r][v]);
}

void pair_search(const float* table, int64_t first_padded, int64_t second_size, const float* first, int64_t first_pitch,
                 const float* second, int64_t second_pitch, int64_t count, int32_t* a, int32_t* b, float* score) {
  constexpr int kRows = Vec::kPairRows;
  constexpr int64_t kBlock = 32;  // rows that share a tile of the table while it is in L1
  alignas(64) float low[kRows * kTile];
  alignas(64) float best[kBlock][kLanes];
  alignas(64) int32_t where[kBlock][kLanes];
  for (int64_t block = 0; block < count; block += kBlock) {
    const int64_t rows = count - block < kBlock ? count - block : kBlock;
    for (int64_t r = 0; r < rows; ++r)
      for (int lane = 0; lane < kLanes; ++lane) best[r][lane] = kInfinity, where[r][lane] = 0;
    for (int64_t at = 0; at < first_padded; at += kTile) {
      const auto merge = [&](int64_t r0, int n) {
        for (int r = 0; r < n; ++r) {
          Vec::Float lanes = Vec::load(best[r0 + r]);
          Vec::Int places = Vec::load_int(where[r0 + r]);
          for (int v = 0; v < kTileVecs; ++v) {
            const Vec::Float sum = Vec::add(Vec::load(first + (block + r0 + r) * first_pitch + at + v * kW),
                                            Vec::load(low + r * kTile + v * kW));
            Vec::keep_less(sum, lanes, places, Vec::broadcast_int(static_cast<int32_t>(at + v * kW)));
          }
          Vec::store(best[r0 + r], lanes);
          Vec::store_int(where[r0 + r], places);
        }
      };
      const float* tile = table + at * second_size;
      int64_t r = 0;
      for (; r + kRows <= rows; r += kRows) {
        pair_tile<kRows>(tile, second_size, second + (block + r) * second_pitch, second_pitch, low);
        merge(r, kRows);
      }
      for (; r < rows; ++r) {
        pair_tile<1>(tile, second_size, second + (block + r) * second_pitch, second_pitch, low);
        merge(r, 1);
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      finish_lanes(best[r], where[r], a + block + r, score + block + r);
      // The partner of the chosen first codeword: the lowest index of the inner minimum.
      const int64_t chosen = a[block + r];
      const float* line = table + chosen / kTile * kTile * second_size + chosen % kTile;
      const float* mine = second + (block + r) * second_pitch;
      float least = kInfinity;
      int32_t partner = 0;
      for (int64_t j = 0; j < second_size; ++j) {
        const float sum = line[j * kTile] + mine[j];
        if (sum < least) least = sum, partner = static_cast<int32_t>(j);
      }
      b[block + r] = partner;
    }
  }
}

template <int Rows, int Vecs>
void multiply_tile(int64_t inner, const float* left, int64_t left_pitch, const float* right, int64_t right_pitch,
                   float* acc, int64_t acc_pitch) {
  Vec::Float sum[Rows][Vecs];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) sum[r][v] = Vec::load(acc + r * acc_pitch + v * kW);
  for (int64_t k = 0; k < inner; ++k) {
    Vec::Float x[Vecs];
    for (int v = 0; v < Vecs; ++v) x[v] = Vec::load(right + k * right_pitch + v * kW);
    for (int r = 0; r < Rows; ++r) {
      const Vec::Float y = Vec::broadcast(left[r * left_pitch + k]);
      for (int v = 0; v < Vecs; ++v) sum[r][v] = Vec::fma(y, x[v], sum[r][v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) Vec::store(acc + r * acc_pitch + v * kW, sum[r][v]);
}

void multiply_add(int64_t rows, int64_t inner, int64_t columns, const float* left, int64_t left_pitch,
                  const float* right, int64_t right_pitch, float* acc, int64_t acc_pitch) {
  constexpr int kRows = Vec::kMultiplyRows, kVecs = Vec::kMultiplyVecs;
  constexpr int64_t kInner = 128;  // rows of `right` that stay in L2 while all rows of `left` pass
  for (int64_t k0 = 0; k0 < inner; k0 += kInner) {
    const int64_t some = inner - k0 < kInner ? inner - k0 : kInner;
    const float *l = left + k0, *x = right + k0 * right_pitch;
    int64_t c = 0;
    for (; c + kVecs * kW <= columns; c += kVecs * kW) {
      int64_t r = 0;
      for (; r + kRows <= rows; r += kRows)
        multiply_tile<kRows, kVecs>(some, l + r * left_pitch, left_pitch, x + c, right_pitch, acc + r * acc_pitch + c,
                                    acc_pitch);
      for (; r < rows; ++r)
        multiply_tile<1, kVecs>(some, l + r * left_pitch, left_pitch, x + c, right_pitch, acc + r * acc_pitch + c,
                                acc_pitch);
    }
    for (; c + kW <= columns; c += kW)
      for (int64_t r = 0; r < rows; ++r)
        multiply_tile<1, 1>(some, l + r * left_pitch, left_pitch, x + c, right_pitch, acc + r * acc_pitch + c,
                            acc_pitch);
    for (; c < columns; ++c)
      for (int64_t r = 0; r < rows; ++r) {
        float sum = acc[r * acc_pitch + c];
        for (int64_t k = 0; k < some; ++k) sum = Vec::fma1(l[r * left_pitch + k], x[k * right_pitch + c], sum);
        acc[r * acc_pitch + c] = sum;
      }
  }
}

constexpr Level kLoops{norms, scores, score_one, nearest, pair_table, pair_search, multiply_add};

}  // namespace
}  // namespace aqlm_exp::code_search::cpu
