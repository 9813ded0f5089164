// Inside of additive_lut_cpu: what each instruction level provides.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/additive_matvec/additive_lut_cpu.h"

namespace aqlm_exp::additive_matvec::lut {

constexpr int kMaxTokens = 4;                     // tokens that share one pass over the codes with tables of their own
constexpr int kTablesPerBlock = 16;               // tables of one block: 16 KiB in fp32, half of a small L1
constexpr int64_t kChunkRows = 4 * kLutRowBlock;  // rows that pass over a block's tables while these are in L1
/// Up to this many threads each build all tables for themselves, a block at a time and used at once, where a thread has
/// no more rows than the second constant: fetching the half that another core wrote costs more.
constexpr int kOwnTablesThreads = 2;
constexpr int64_t kOwnTablesRows = 16 * kLutRowBlock;
constexpr int64_t kVectorMinRows = 512;  // rows of a thread; below, building entries for all tokens costs too much

constexpr int kNever = std::numeric_limits<int>::max();

struct Pass;
using BuildFunction = void (*)(const Pass&, int64_t block_begin, int64_t block_end);

struct Pass {  // one pass over the codes: `tokens` consecutive tokens
  int64_t rows, padded_rows, in_features, groups, codebooks, group_size;
  int64_t group_block, blocks;  // groups whose tables are summed before widening; number of such blocks
  const uint8_t* codes;
  const float* books_by_entry;  // [codebook][group_size][256]
  const float* books;           // [codebook][256][group_size]
  const float *scales, *bias, *residual, *x;
  float* y;
  int64_t tokens;
  void* tables;         // [block - first_block][token][table][256] of the level's entries
  float* table_scales;  // [block - first_block][token], int16 levels
  int64_t first_block;  // 0 where the tables are shared
  BuildFunction build;  // for a thread's own tables; null where they are shared
  int64_t chunk_rows;   // rows whose sums the scratch holds; a thread's own tables lie behind these
  float* x_by_input;    // [in_features][width], vector entries; 64-byte aligned
  void* scratch;        // one slice a thread
  int64_t scratch_bytes;
};

struct Level {
  int64_t entry_bytes;   // of a single-token table
  int width;             // tokens of a vector entry
  int vector_min_batch;  // from here on vector entries win (one thread, 2x8, 2048x4096, Zen 4); or kNever
  BuildFunction build;
  void (*look_up)(const Pass&, int64_t row_begin, int64_t row_end, void* scratch);
  void (*look_up_vector)(const Pass&, int64_t row_begin, int64_t row_end, void* scratch);
};

const Level& portable_level() noexcept;
const Level& avx2_level() noexcept;
const Level& avx512_level() noexcept;
const Level& avx512vbmi_level() noexcept;

namespace {  // one copy per level: an inline function could be linked from another level's file

/// Rows of one row block: their codes for table k (of group k / codebooks, codebook k % codebooks) begin at
/// codes + k * stride.
struct Strip {
  const uint8_t* codes;
  int64_t stride, rows;
};
/// The rows from `row` (a multiple of 64) to `end` or the end of their row block; tables are counted from
/// `first_table`.
[[maybe_unused]] inline Strip strip_at(const Pass& p, int64_t row, int64_t end, int64_t first_table) {
  const int64_t start = row / kLutRowBlock * kLutRowBlock;
  const int64_t stride = p.padded_rows - start < kLutRowBlock ? p.padded_rows - start : kLutRowBlock;
  const int64_t last = start + stride < end ? start + stride : end;
  return {p.codes + start * p.groups * p.codebooks + (row - start) + first_table * stride, stride, last - row};
}

/// The pass as one thread sees it, with its own tables if it builds them: sums [tokens][chunk_rows] first in the
/// scratch.
[[maybe_unused]] inline Pass pass_of_thread(const Pass& p, void* scratch, int64_t entry_bytes) {
  Pass own = p;
  if (p.build) {
    char* after_sums = static_cast<char*>(scratch) + p.tokens * p.chunk_rows * 4;
    own.tables = after_sums;
    own.table_scales =
        reinterpret_cast<float*>(after_sums + p.tokens * p.group_block * p.codebooks * 256 * entry_bytes);
  }
  return own;
}

/// Begins a block of tables, which a thread with tables of its own builds now. Returns how many tables it has: the last
/// block may be shorter.
[[maybe_unused]] inline int64_t begin_block(Pass& p, int64_t block) {
  if (p.build) {
    p.first_block = block;
    p.build(p, block, block + 1);
  }
  const int64_t full = p.group_block * p.codebooks, left = p.groups * p.codebooks - block * full;
  return full < left ? full : left;
}

[[maybe_unused]] inline void finish(const Pass& p, int64_t token, int64_t row, float sum) {
  if (row >= p.rows) return;
  float value = sum * p.scales[row];
  if (p.bias) value += p.bias[row];
  if (p.residual) value += p.residual[token * p.rows + row];
  p.y[token * p.rows + row] = value;
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec::lut
