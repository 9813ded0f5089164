// Inside of the CPU code search: what each instruction level provides.
#pragma once

#include <cstdint>

namespace aqlm_exp::code_search::cpu {

/// Codewords are padded to whole tiles: zeros in the book, +infinity in the bias, so that padding never wins.
constexpr int64_t kTile = 32;
inline constexpr int64_t padded_size(int64_t codewords) { return (codewords + kTile - 1) / kTile * kTile; }

/// A book as the levels want it: [g][padded], element d of codeword k at d * padded + k.
struct Book {
  const float* words;
  int64_t size, padded;
  int64_t group_size;
};

struct Level {
  /// out[k] = c_k metric c_k^T for k < size, +infinity for the padding; metric null: |c_k|^2.
  void (*norms)(const Book& book, const float* metric, float* out);
  /// out[k] = bias[k] + sum_d minus2u[d] * word[d][k], over the padded size.
  void (*scores)(const Book& book, const float* bias, const float* minus2u, float* out);
  /// The same for one codeword, bit for bit.
  float (*score_one)(const Book& book, const float* bias, const float* minus2u, int64_t k);
  /// Lowest score and its lowest index for `count` queries [count, g], each times -2.
  /// `state` holds count * 2 * 16 floats, 64-byte aligned.
  void (*nearest)(const Book& book, const float* bias, const float* minus2u, int64_t count, float* state,
                  int32_t* index, float* score);
  /// table[a / 32][b][a % 32] = 2 <first_a, metric second_b>, a over the padded size of `first`, b over `second`'s
  /// size.
  void (*pair_table)(const Book& first, const Book& second, const float* metric, float* table);
  /// argmin over a, b of first[r][a] + (table[a][b] + second[r][b]): the lowest a, then the lowest b.
  /// first [count][first_pitch], second [count][second_pitch].
  void (*pair_search)(const float* table, int64_t first_padded, int64_t second_size, const float* first,
                      int64_t first_pitch, const float* second, int64_t second_pitch, int64_t count, int32_t* a,
                      int32_t* b, float* score);
  /// acc[r][c] += sum_k left[r][k] * right[k][c], one chain of multiply-adds a result, k ascending.
  void (*multiply_add)(int64_t rows, int64_t inner, int64_t columns, const float* left, int64_t left_pitch,
                       const float* right, int64_t right_pitch, float* acc, int64_t acc_pitch);
};

const Level& portable_level() noexcept;
const Level& avx2_level() noexcept;
const Level& avx512_level() noexcept;

}  // namespace aqlm_exp::code_search::cpu
