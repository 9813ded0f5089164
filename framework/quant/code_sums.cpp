#include "framework/quant/code_sums.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace aqlm_exp::quant {
namespace {

/// Parts of the CPU sum. A constant: with the number of threads in its place, sums would depend on the machine.
constexpr int64_t kParts = 8;
constexpr int64_t kRowsWorthAPart = 16384;

template <typename Code>
void add_rows(const float* rows, const Code* codes, int64_t start, int64_t end, int64_t width, float* sums) {
  for (int64_t n = start; n < end; ++n) {
    float* sum = sums + static_cast<int64_t>(codes[n]) * width;
    const float* row = rows + n * width;
    for (int64_t i = 0; i < width; ++i) sum[i] += row[i];
  }
}

at::Tensor sum_on_cpu(const at::Tensor& rows, const at::Tensor& codes, int64_t num_codes) {
  const int64_t num_rows = rows.size(0), width = rows.size(1);
  const int64_t num_parts = num_rows >= kParts * kRowsWorthAPart ? kParts : 1;
  at::Tensor parts = at::zeros({num_parts, num_codes, width}, rows.options());
  float* sums = parts.data_ptr<float>();
  const float* from = rows.const_data_ptr<float>();
  at::parallel_for(0, num_parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t start = num_rows * part / num_parts, end = num_rows * (part + 1) / num_parts;
      float* into = sums + part * num_codes * width;
      if (codes.scalar_type() == at::kLong) {
        add_rows(from, codes.const_data_ptr<int64_t>(), start, end, width, into);
      } else {
        add_rows(from, codes.const_data_ptr<int32_t>(), start, end, width, into);
      }
    }
  });
  return num_parts == 1 ? parts[0] : parts.sum(0);
}

at::Tensor sum_in_fixed_point(const at::Tensor& rows, const at::Tensor& codes, int64_t num_codes) {
  // The largest power of two with N * max|rows| * step <= 2^60; kept on the device, so that nothing waits for it.
  const at::Tensor largest = rows.abs().max().to(at::kDouble).clamp_min(1e-300).mul_(static_cast<double>(rows.size(0)));
  const at::Tensor step = at::exp2(60.0 - at::ceil(at::log2(largest)));
  const at::Tensor fixed = rows.to(at::kDouble).mul_(step).round_().to(at::kLong);
  const at::Tensor sums = at::zeros({num_codes, rows.size(1)}, fixed.options()).index_add_(0, codes, fixed);
  return sums.to(at::kDouble).div_(step).to(at::kFloat);
}

}  // namespace

at::Tensor sum_rows_by_code(const at::Tensor& rows, const at::Tensor& codes, int64_t num_codes) {
  if (rows.size(0) == 0) return at::zeros({num_codes, rows.size(1)}, rows.options());
  if (rows.is_cpu()) return sum_on_cpu(rows.contiguous(), codes.contiguous(), num_codes);
  return sum_in_fixed_point(rows, codes, num_codes);
}

}  // namespace aqlm_exp::quant
