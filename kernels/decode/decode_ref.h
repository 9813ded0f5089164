// The plain answers of a decoding step: loops with double accumulation over float32 arrays. They define what the device
// kernels of decode_cuda.h must give.
#pragma once

#include <cstdint>

namespace aqlm_exp::decode {

/// residual [width] += delta [width] (null: nothing); y [width] = residual / √(mean(residual²) + eps) · weight.
/// RMSNorm, arXiv:1910.07467.
void add_rms_norm_ref(int64_t width, const float* delta, float* residual, const float* weight, float eps, float* y);

/// y [rows] = weight [rows, inputs] · x [inputs] + bias [rows] (null: 0).
void gemv_ref(int64_t rows, int64_t inputs, const float* weight, const float* x, const float* bias, double* y);

/// silu(gate) · up, silu(x) = x / (1 + e^-x).
double silu_mul_ref(double gate, double up);

/// One new token of one sequence against a cache.
struct AttendRef {
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0, capacity = 0, window = 0, position = 0;
  float scale = 0, norm_eps = 1e-6F;
  const float* q = nullptr;       // [num_heads, head_dim]
  const float* k = nullptr;       // [num_kv_heads, head_dim]
  const float* v = nullptr;       // [num_kv_heads, head_dim]
  const float* q_norm = nullptr;  // [head_dim] or null
  const float* k_norm = nullptr;  // [head_dim] or null
  const float* cos = nullptr;     // [positions, head_dim / 2]
  const float* sin = nullptr;
  float* keys = nullptr;    // [num_kv_heads, capacity, head_dim]: row `position` is written
  float* values = nullptr;  // the same
  double* y = nullptr;      // [num_heads, head_dim]
};
void attend_ref(const AttendRef& call);

}  // namespace aqlm_exp::decode
