#include "kernels/scalar_matvec/scalar_cpu.h"

#include <algorithm>
#include <cstring>

#include "kernels/platform/half.h"
#include "kernels/platform/thread_pool.h"
#include "kernels/scalar_matvec/scalar_cpu_levels.h"

namespace aqlm_exp::scalar_matvec {
namespace cpu {
namespace {

inline uint32_t code_at(const uint32_t* line, int nbits, int64_t k, int64_t lane) {
  if (nbits == 4) return (line[lane] >> (4 * k)) & 15U;
  if (nbits == 2) return (line[lane] >> (2 * k)) & 3U;
  return ((line[(k >= 16 ? 16 : 0) + lane] >> (2 * (k & 15))) & 3U) | (((line[32 + lane] >> k) & 1U) << 2);
}

/// Calls visit(first column, 16 weights) along one row.
template <typename Visit>
void for_each_step(const Pass& p, int nbits, int64_t row, Visit&& visit) {
  const int64_t words = block_words(nbits), columns = block_columns(nbits), q = row / kQuad, r = row % kQuad;
  const uint16_t* scales = p.scales + q * p.groups * 8 + r;
  float weights[16], table[16] = {};  // the group's weights themselves: levels times scale, less the zero point
  int64_t left = 0, group = 0;        // steps until the next group
  for (int64_t b = 0; b < p.blocks; ++b) {
    const uint32_t* line = p.codes + ((q * p.blocks + b) * kQuad + r) * words;
    for (int64_t k = 0; k < columns / 16; ++k) {
      if (left == 0) {  // past the last group come padded columns
        const int64_t g = std::min(group, p.groups - 1);
        const float scale = kernels::half_to_float(scales[g * 8]);
        const float offset = -scale * kernels::half_to_float(scales[g * 8 + 4]);
        for (int i = 0; i < 16; ++i) table[i] = p.levels[i] * scale + offset;
        left = ++group >= p.groups ? INT64_MAX : p.group_size / 16;
      }
      --left;
      if (nbits == 3)
        for (int64_t lane = 0; lane < 16; ++lane) weights[lane] = table[code_at(line, 3, k, lane)];
      else
        for (int64_t lane = 0; lane < 16; ++lane)
          weights[lane] = table[(line[lane] >> (nbits * k)) & (nbits == 4 ? 15U : 3U)];
      visit(b * columns + k * 16, weights);
    }
  }
}

}  // namespace

void portable_table_quads(const Pass& p, int nbits, int64_t begin, int64_t end) {
  for (int64_t row = begin * kQuad; row < std::min(end * kQuad, p.rows); ++row)
    for (int64_t token = 0; token < p.batch; token += 4) {
      const int64_t tokens = std::min<int64_t>(4, p.batch - token);
      float sums[4][16] = {};
      for_each_step(p, nbits, row, [&](int64_t column, const float* weights) {
        for (int64_t t = 0; t < tokens; ++t) {
          const float* x = p.x + (token + t) * p.padded_inputs + column;
          for (int lane = 0; lane < 16; ++lane) sums[t][lane] += weights[lane] * x[lane];
        }
      });
      for (int64_t t = 0; t < tokens; ++t) {
        float total = 0;
        for (float lane : sums[t]) total += lane;
        finish(p, token + t, row, total);
      }
    }
}

}  // namespace cpu

namespace {

using kernels::CpuIsa;
using kernels::Status;

int64_t quads_of(const ScalarShape& shape) { return (shape.out_features + cpu::kQuad - 1) / cpu::kQuad; }
int64_t blocks_of(const ScalarShape& shape) {
  const int64_t columns = cpu::block_columns(shape.nbits);
  return (shape.in_features + columns - 1) / columns;
}
int64_t padded_inputs(const ScalarShape& shape) { return blocks_of(shape) * cpu::block_columns(shape.nbits); }

cpu::QuadsFunction quads_function(CpuIsa isa, bool integer_levels) {
  switch (kernels::usable_cpu_isa(isa)) {
#ifdef AQLM_EXP_X86
    case CpuIsa::kAvx2:
      return cpu::avx2_quads;
    case CpuIsa::kAvx512:
    case CpuIsa::kAvx512Vbmi:
      return cpu::avx512_quads;
#endif
    default:
      return integer_levels ? cpu::portable_integer_quads : cpu::portable_table_quads;
  }
}

/// Sixteen levels: short tables repeat, so that a permute may ignore the bits above a code.
void fill_levels(const ScalarShape& shape, const float* levels, float* table) {
  const int entries = 1 << shape.nbits;
  for (int i = 0; i < 16; ++i) table[i] = levels ? levels[i % entries] : static_cast<float>(i % entries);
}

cpu::Pass pass_of(const ScalarShape& shape, const ScalarCpuCall& call, const float* table) {
  cpu::Pass p{};
  p.rows = shape.out_features;
  p.groups = shape.num_groups();
  p.group_size = shape.group_size;
  p.blocks = blocks_of(shape);
  p.padded_inputs = padded_inputs(shape);
  p.codes = static_cast<const uint32_t*>(call.packed_codes);
  p.scales = static_cast<const uint16_t*>(call.packed_scales);
  p.levels = table;
  p.integer_levels = call.levels == nullptr;
  p.batch = call.batch;
  p.bias = call.bias;
  p.residual = call.residual;
  p.y = call.y;
  return p;
}

/// One token's inputs in the order of the stored columns, zeros behind them.
void gather_inputs(const ScalarShape& shape, const float* x, const int32_t* x_perm, float* out) {
  if (x_perm)
    for (int64_t i = 0; i < shape.in_features; ++i) out[i] = x[x_perm[i]];
  else
    std::copy_n(x, shape.in_features, out);
  std::fill(out + shape.in_features, out + padded_inputs(shape), 0.0F);
}

/// The same, and each input times the power of two that undoes its code's place in the word (cpu::Pass::x_in_place).
void put_in_place(const ScalarShape& shape, const float* x, const int32_t* x_perm, float* out, float* sums) {
  gather_inputs(shape, x, x_perm, out);
  const int64_t end = padded_inputs(shape), part = cpu::steps_of_part(shape.num_groups(), shape.group_size);
  const int64_t steps_per_group = shape.num_groups() == 1 ? end / 16 : shape.group_size / 16;
  for (int64_t g = 0; g < shape.num_groups(); ++g) {
    float lanes[16] = {};
    for (int64_t i = g * steps_per_group * 16; i < std::min((g + 1) * steps_per_group * 16, end); i += 16) {
      const int position = cpu::code_position(shape.nbits, static_cast<int>(i / 16 % part));
      const float factor = 1.0F / static_cast<float>(1U << position);
      for (int64_t lane = 0; lane < 16; ++lane) {
        lanes[lane] += out[i + lane];
        out[i + lane] *= factor;
      }
    }
    sums[g] = 0;
    for (float lane : lanes) sums[g] += lane;
  }
}

}  // namespace

Status scalar_cpu_supports(const ScalarShape& shape) noexcept {
  const bool ok = shape.valid() && (shape.group_size % 16 == 0 || shape.num_groups() == 1);
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t scalar_cpu_packed_code_bytes(const ScalarShape& shape) noexcept {
  return quads_of(shape) * blocks_of(shape) * cpu::kQuad * cpu::block_words(shape.nbits) * 4;
}
int64_t scalar_cpu_packed_scale_bytes(const ScalarShape& shape) noexcept {
  return quads_of(shape) * shape.num_groups() * 16;
}

void scalar_cpu_pack_codes(const ScalarShape& shape, const uint8_t* codes, void* packed_codes) {
  auto* out = static_cast<uint32_t*>(packed_codes);
  std::memset(out, 0, static_cast<size_t>(scalar_cpu_packed_code_bytes(shape)));
  const int64_t words = cpu::block_words(shape.nbits), columns = cpu::block_columns(shape.nbits);
  for (int64_t row = 0; row < shape.out_features; ++row)
    for (int64_t i = 0; i < shape.in_features; ++i) {
      const uint32_t code = codes[row * shape.in_features + i] & ((1U << shape.nbits) - 1U);
      const int64_t b = i / columns, k = i % columns / 16, lane = i % 16;
      uint32_t* line = out + ((row / cpu::kQuad * blocks_of(shape) + b) * cpu::kQuad + row % cpu::kQuad) * words;
      if (shape.nbits == 3) {
        line[(k >= 16 ? 16 : 0) + lane] |= (code & 3U) << (2 * (k & 15));
        line[32 + lane] |= (code >> 2) << k;
      } else {
        line[lane] |= code << (shape.nbits * k);
      }
    }
}

void scalar_cpu_pack_scales(const ScalarShape& shape, const float* scales, const float* zero_points,
                            void* packed_scales) {
  auto* out = static_cast<uint16_t*>(packed_scales);
  std::memset(out, 0, static_cast<size_t>(scalar_cpu_packed_scale_bytes(shape)));
  const int64_t groups = shape.num_groups();
  for (int64_t row = 0; row < shape.out_features; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      uint16_t* cell = out + (row / cpu::kQuad * groups + g) * 8 + row % cpu::kQuad;
      cell[0] = kernels::float_to_half(scales[row * groups + g]);
      cell[4] = zero_points ? kernels::float_to_half(zero_points[row * groups + g]) : uint16_t{0};
    }
}

int64_t scalar_cpu_workspace_bytes(const ScalarShape& shape, int64_t batch) noexcept {
  return batch * (padded_inputs(shape) + shape.num_groups()) * 4;
}

Status scalar_cpu(const ScalarShape& shape, const ScalarCpuCall& call) noexcept {
  if (scalar_cpu_supports(shape) != Status::kOk || call.batch < 1) return Status::kUnsupportedShape;
  alignas(64) float table[16];
  fill_levels(shape, call.levels, table);
  cpu::Pass p = pass_of(shape, call, table);
  const int threads = std::max(call.threads, 1);
  kernels::ThreadPool& pool = kernels::ThreadPool::shared();
  auto* x = static_cast<float*>(call.workspace);
  if (p.integer_levels) {
    float* sums = x + call.batch * p.padded_inputs;
    const auto prepare = [&](int index, int count) {
      const auto [begin, end] = kernels::part_of(call.batch, 1, index, count);
      for (int64_t t = begin; t < end; ++t)
        put_in_place(shape, call.x + t * shape.in_features, call.x_perm, x + t * p.padded_inputs, sums + t * p.groups);
    };
    call.batch == 1 ? prepare(0, 1) : pool.run(threads, prepare);
    p.x_in_place = x;
    p.part_steps = cpu::steps_of_part(p.groups, p.group_size);
    p.x_sums = sums;
  } else if (call.x_perm || p.padded_inputs != shape.in_features) {
    for (int64_t t = 0; t < call.batch; ++t)
      gather_inputs(shape, call.x + t * shape.in_features, call.x_perm, x + t * p.padded_inputs);
    p.x = x;
  } else {
    p.x = call.x;
  }
  const cpu::QuadsFunction quads = quads_function(call.isa, p.integer_levels);
  pool.run(threads, [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(quads_of(shape), 1, index, count);
    if (begin < end) quads(p, shape.nbits, begin, end);
  });
  return Status::kOk;
}

void scalar_cpu_dequantise(const ScalarShape& shape, const ScalarCpuCall& call, int64_t row_begin, int64_t row_end,
                           float* weight) noexcept {
  float table[16];
  fill_levels(shape, call.levels, table);
  const cpu::Pass p = pass_of(shape, call, table);
  kernels::ThreadPool::shared().run(std::max(call.threads, 1), [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(row_end - row_begin, 1, index, count);
    for (int64_t row = row_begin + begin; row < row_begin + end; ++row)
      cpu::for_each_step(p, shape.nbits, row, [&](int64_t column, const float* weights) {
        const int64_t n = std::min<int64_t>(16, shape.in_features - column);
        for (int64_t i = 0; i < n; ++i) weight[(row - row_begin) * shape.in_features + column + i] = weights[i];
      });
  });
}

}  // namespace aqlm_exp::scalar_matvec
