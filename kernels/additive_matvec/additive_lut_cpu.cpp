#include "kernels/additive_matvec/additive_lut_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/additive_matvec/additive_lut_cpu_levels.h"
#include "kernels/platform/thread_pool.h"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::CpuIsa;
using kernels::Status;

int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }
int64_t padded_rows(const AdditiveShape& shape) {
  return (shape.out_features + kLutRowPad - 1) / kLutRowPad * kLutRowPad;
}
int64_t group_block(const AdditiveShape& shape) {
  return std::max<int64_t>(1, lut::kTablesPerBlock / shape.num_codebooks);
}

const lut::Level& level_of(CpuIsa isa) {
  switch (kernels::usable_cpu_isa(isa)) {
#ifdef AQLM_EXP_X86
    case CpuIsa::kAvx2:
      return lut::avx2_level();
    case CpuIsa::kAvx512:
      return lut::avx512_level();
    case CpuIsa::kAvx512Vbmi:
      return lut::avx512vbmi_level();
#endif
    default:
      return lut::portable_level();
  }
}

bool takes_vector_entries(const AdditiveShape& shape, int64_t batch, int threads, const lut::Level& level) {
  return batch >= level.vector_min_batch && shape.out_features / std::max(threads, 1) >= lut::kVectorMinRows;
}

/// Rows that go to a thread at a time: whole row blocks, whose codes are one stream, where they share out evenly; else
/// runs of two cache lines, so that many threads have work in a small linear.
int64_t row_step(int64_t rows, int threads) {
  const int64_t blocks = (rows + kLutRowBlock - 1) / kLutRowBlock;
  return blocks % threads == 0 || blocks >= 8 * threads ? kLutRowBlock : 2 * kLutRowPad;
}

/// The most rows that one thread gets.
int64_t rows_of_thread(int64_t rows, int threads) {
  const int64_t step = row_step(rows, threads), steps = (rows + step - 1) / step;
  return (steps + threads - 1) / threads * step;
}

bool builds_own_tables(const AdditiveShape& shape, int threads) {
  return threads <= lut::kOwnTablesThreads && rows_of_thread(padded_rows(shape), threads) <= lut::kOwnTablesRows;
}

/// Where the parts of the workspace start, in bytes.
struct Plan {
  int64_t tables = 0, table_scales = 0, x_by_input = 0, scratch = 0, scratch_bytes = 0, total = 0;
  int64_t chunk_rows = 0;
};
Plan plan_workspace(const AdditiveShape& shape, int64_t batch, int threads, const lut::Level& level) {
  Plan plan;
  const int64_t per_block = group_block(shape), blocks = (shape.num_in_groups() + per_block - 1) / per_block;
  if (takes_vector_entries(shape, batch, threads, level)) {
    plan.scratch = align64(shape.in_features * level.width * 4);
    const int64_t rows = rows_of_thread(padded_rows(shape), threads);
    plan.scratch_bytes = align64((shape.num_codebooks * 256 + rows) * level.width * 4);
  } else {
    const int64_t tokens = std::min<int64_t>(batch, lut::kMaxTokens);
    const int64_t block_bytes = tokens * per_block * shape.num_codebooks * 256 * level.entry_bytes;
    if (builds_own_tables(shape, threads)) {
      plan.chunk_rows = rows_of_thread(padded_rows(shape), threads);
      plan.scratch_bytes = align64(tokens * plan.chunk_rows * 4 + block_bytes + tokens * 4);
    } else {
      plan.chunk_rows = lut::kChunkRows;
      plan.table_scales = align64(blocks * block_bytes);
      plan.scratch = plan.table_scales + align64(blocks * tokens * 4);
      plan.scratch_bytes = tokens * plan.chunk_rows * 4;
    }
  }
  plan.total = plan.scratch + plan.scratch_bytes * threads;
  return plan;
}

}  // namespace

Status additive_lut_cpu_supports(const AdditiveShape& shape) noexcept {
  const bool ok = shape.valid() && shape.nbits_per_codebook <= 8 && shape.out_group_size == 1 &&
                  shape.scale_groups == 1 && shape.num_codebooks <= kLutMaxCodebooks;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t additive_lut_cpu_packed_code_bytes(const AdditiveShape& shape) noexcept {
  return padded_rows(shape) * shape.num_in_groups() * shape.num_codebooks;
}
int64_t additive_lut_cpu_packed_codebook_floats(const AdditiveShape& shape) noexcept {
  return int64_t{2} * shape.num_codebooks * 256 * shape.in_group_size;
}

void additive_lut_cpu_pack_codes(const AdditiveShape& shape, const uint8_t* codes, uint8_t* packed_codes) {
  const int64_t per_row = shape.num_in_groups() * shape.num_codebooks, rows = padded_rows(shape);
  const auto mask = static_cast<uint8_t>(shape.codebook_size() - 1);
  for (int64_t start = 0; start < rows; start += kLutRowBlock) {
    const int64_t block_rows = std::min(kLutRowBlock, rows - start);
    uint8_t* out = packed_codes + start * per_row;
    for (int64_t column0 = 0; column0 < per_row; column0 += 64)  // tiles of 64 columns keep the strided side in L1
      for (int64_t r = 0; r < block_rows; ++r)
        for (int64_t column = column0; column < std::min(column0 + 64, per_row); ++column)
          out[column * block_rows + r] =
              start + r < shape.out_features ? static_cast<uint8_t>(codes[(start + r) * per_row + column] & mask) : 0;
  }
}

void additive_lut_cpu_pack_codebooks(const AdditiveShape& shape, const float* codebooks, float* packed_codebooks) {
  const int64_t g = shape.in_group_size, entries = shape.codebook_size();
  std::fill_n(packed_codebooks, additive_lut_cpu_packed_codebook_floats(shape), 0.0F);
  float* natural = packed_codebooks + shape.num_codebooks * 256 * g;
  for (int64_t m = 0; m < shape.num_codebooks; ++m)
    for (int64_t e = 0; e < entries; ++e)
      for (int64_t d = 0; d < g; ++d) {
        const float value = codebooks[(m * entries + e) * g + d];
        packed_codebooks[(m * g + d) * 256 + e] = value;
        natural[(m * 256 + e) * g + d] = value;
      }
}

int64_t additive_lut_cpu_workspace_bytes(const AdditiveShape& shape, int64_t batch, int threads, CpuIsa isa) noexcept {
  const lut::Level& level = level_of(isa);
  int64_t total = 0;  // a long batch is cut into passes, the last of which may be narrow enough for the other method
  for (const int64_t part : {batch, std::min<int64_t>(batch, level.vector_min_batch - 1)})
    total = std::max(total, plan_workspace(shape, part, std::max(threads, 1), level).total);
  return total;
}

Status additive_lut_cpu(const AdditiveShape& shape, const AdditiveLutCpuCall& call) noexcept {
  if (additive_lut_cpu_supports(shape) != Status::kOk || call.batch < 1) return Status::kUnsupportedShape;
  const int threads = std::max(call.threads, 1);
  const lut::Level& level = level_of(call.isa);
  kernels::ThreadPool& pool = kernels::ThreadPool::shared();
  lut::Pass p{};
  p.rows = shape.out_features;
  p.padded_rows = padded_rows(shape);
  p.in_features = shape.in_features;
  p.groups = shape.num_in_groups();
  p.codebooks = shape.num_codebooks;
  p.group_size = shape.in_group_size;
  p.group_block = group_block(shape);
  p.blocks = (p.groups + p.group_block - 1) / p.group_block;
  p.codes = call.packed_codes;
  p.books_by_entry = call.packed_codebooks;
  p.books = call.packed_codebooks + p.codebooks * p.group_size * 256;
  p.scales = call.scales;
  p.bias = call.bias;
  char* base = static_cast<char*>(call.workspace);
  for (int64_t done = 0; done < call.batch; done += p.tokens) {
    const int64_t left = call.batch - done;
    const bool vector = takes_vector_entries(shape, left, threads, level);
    p.tokens = std::min<int64_t>(left, vector ? level.width : lut::kMaxTokens);
    p.x = call.x + done * shape.in_features;
    p.y = call.y + done * shape.out_features;
    p.residual = call.residual ? call.residual + done * shape.out_features : nullptr;
    const Plan plan = plan_workspace(shape, vector ? left : p.tokens, threads, level);
    p.tables = base + plan.tables;
    p.table_scales = reinterpret_cast<float*>(base + plan.table_scales);
    p.x_by_input = reinterpret_cast<float*>(base + plan.x_by_input);
    p.scratch = base + plan.scratch;
    p.scratch_bytes = plan.scratch_bytes;
    p.chunk_rows = plan.chunk_rows;
    p.build = !vector && builds_own_tables(shape, threads) ? level.build : nullptr;
    const auto prepare = [&](int index, int count) {
      if (vector) {
        const auto [begin, end] = kernels::part_of(p.in_features, 1, index, count);
        for (int64_t i = begin; i < end; ++i)
          for (int64_t t = 0; t < level.width; ++t)
            p.x_by_input[i * level.width + t] = t < p.tokens ? p.x[t * p.in_features + i] : 0.0F;
      } else {
        const auto [begin, end] = kernels::part_of(p.blocks, 1, index, count);
        level.build(p, begin, end);
      }
    };
    if (!p.build) pool.run(threads, prepare);
    pool.run(threads, [&](int index, int count) {
      const auto [begin, end] = kernels::part_of(p.padded_rows, row_step(p.padded_rows, count), index, count);
      if (begin < end)
        (vector ? level.look_up_vector : level.look_up)(p, begin, end,
                                                        static_cast<char*>(p.scratch) + index * p.scratch_bytes);
    });
  }
  return Status::kOk;
}

void additive_lut_cpu_dequantise(const AdditiveShape& shape, const AdditiveLutCpuCall& call, int64_t row_begin,
                                 int64_t row_end, float* weight) noexcept {
  const int64_t g = shape.in_group_size, groups = shape.num_in_groups(), books = shape.num_codebooks;
  const float* natural = call.packed_codebooks + books * g * 256;
  const int64_t rows = padded_rows(shape);
  kernels::ThreadPool::shared().run(std::max(call.threads, 1), [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(row_end - row_begin, 64, index, count);
    for (int64_t row0 = row_begin + begin; row0 < row_begin + end; row0 += 64) {
      const int64_t start = row0 / kLutRowBlock * kLutRowBlock, block_rows = std::min(kLutRowBlock, rows - start);
      const uint8_t* codes = call.packed_codes + start * groups * books + (row0 - start);
      const int64_t last = std::min<int64_t>(row0 + 64, row_begin + end);
      for (int64_t j = 0; j < groups; ++j)
        for (int64_t row = row0; row < last; ++row) {
          float* out = weight + (row - row_begin) * shape.in_features + j * g;
          const uint8_t* code = codes + j * books * block_rows + (row - row0);
          const float* first = natural + code[0] * g;
          for (int64_t d = 0; d < g; ++d) out[d] = first[d];
          for (int64_t m = 1; m < books; ++m) {
            const float* word = natural + (m * 256 + code[m * block_rows]) * g;
            for (int64_t d = 0; d < g; ++d) out[d] += word[d];
          }
          const float scale = call.scales[row];
          for (int64_t d = 0; d < g; ++d) out[d] *= scale;
        }
    }
  });
}

double additive_lut_cpu_error_bound(const AdditiveShape& shape, const float* packed_codebooks, const float* x,
                                    CpuIsa isa) {
  if (level_of(isa).entry_bytes != sizeof(int16_t)) return 0;
  const int64_t per_block = group_block(shape), g = shape.in_group_size;
  const double limit = std::floor(32767.0 / static_cast<double>(per_block * shape.num_codebooks));
  double bound = 0;
  for (int64_t first = 0; first < shape.num_in_groups(); first += per_block) {
    const int64_t last = std::min(first + per_block, shape.num_in_groups());
    double top = 0;
    for (int64_t j = first; j < last; ++j)
      for (int64_t m = 0; m < shape.num_codebooks; ++m)
        for (int64_t e = 0; e < 256; ++e) {
          double sum = 0;
          for (int64_t d = 0; d < g; ++d)
            sum += static_cast<double>(packed_codebooks[(m * g + d) * 256 + e]) * static_cast<double>(x[j * g + d]);
          top = std::max(top, std::fabs(sum));
        }
    bound += static_cast<double>((last - first) * shape.num_codebooks) * 0.5 * top / limit;
  }
  return bound;
}

}  // namespace aqlm_exp::additive_matvec
