// Inside of scalar_cpu: what each instruction level provides.
#pragma once

#include <cstdint>

namespace aqlm_exp::scalar_matvec::cpu {

constexpr int64_t kQuad = 4;

struct Pass {
  int64_t rows, groups, group_size, blocks, padded_inputs;
  const uint32_t* codes;
  const uint16_t* scales;
  const float* levels;  // 16 entries
  bool integer_levels;
  const float* x;           // [batch, padded_inputs], zeros behind in_features
  const float* x_in_place;  // the same for integer levels: times 2^-code_position of the column
  const float* x_sums;      // [batch, groups], with x_in_place: the sum of a group's inputs
  int part_steps;           // with x_in_place: steps_of_part
  int64_t batch;
  const float *bias, *residual;
  float* y;
};

/// Row quads [begin, end).
using QuadsFunction = void (*)(const Pass&, int nbits, int64_t begin, int64_t end);
void portable_table_quads(const Pass&, int nbits, int64_t begin, int64_t end);
void portable_integer_quads(const Pass&, int nbits, int64_t begin, int64_t end);
void avx2_quads(const Pass&, int nbits, int64_t begin, int64_t end);
void avx512_quads(const Pass&, int nbits, int64_t begin, int64_t end);

constexpr int64_t block_columns(int nbits) { return nbits == 4 ? 128 : nbits == 2 ? 256 : 512; }
constexpr int64_t block_words(int nbits) { return nbits == 3 ? 48 : 16; }  // per row

/// Steps of 16 columns that are decoded together: at most 8, and no group of scales ends inside.
constexpr int steps_of_part(int64_t groups, int64_t group_size) {
  const int64_t steps = groups == 1 ? 8 : group_size / 16;
  return steps % 8 == 0 ? 8 : steps % 4 == 0 ? 4 : steps % 2 == 0 ? 2 : 1;
}

/// The bit at which code k of a part is left in its word; one that would end at bit 31 is shifted down.
constexpr int code_position(int nbits, int k) {
  const int width = nbits == 3 ? 2 : nbits, at = k * width;
  return at + width == 32 ? 0 : at;
}

namespace {

[[maybe_unused]] inline void finish(const Pass& p, int64_t token, int64_t row, float sum) {
  if (row >= p.rows) return;
  if (p.bias) sum += p.bias[row];
  if (p.residual) sum += p.residual[token * p.rows + row];
  p.y[token * p.rows + row] = sum;
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec::cpu
