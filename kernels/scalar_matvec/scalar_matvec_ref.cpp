#include "kernels/scalar_matvec/scalar_matvec_ref.h"

#include <cstddef>
#include <vector>

namespace aqlm_exp::scalar_matvec {

const float kNf4Levels[16] = {-1.0F,
                              -0.6961928009986877F,
                              -0.5250730514526367F,
                              -0.39491748809814453F,
                              -0.28444138169288635F,
                              -0.18477343022823334F,
                              -0.09105003625154495F,
                              0.0F,
                              0.07958029955625534F,
                              0.16093020141124725F,
                              0.24611230194568634F,
                              0.33791524171829224F,
                              0.44070982933044434F,
                              0.5626170039176941F,
                              0.7229568362236023F,
                              1.0F};

void scalar_dequantise_ref(const ScalarShape& shape, const uint8_t* codes, const float* levels, const float* scales,
                           const float* zero_points, double* weight) {
  const int64_t groups = shape.num_groups();
  for (int64_t o = 0; o < shape.out_features; ++o)
    for (int64_t i = 0; i < shape.in_features; ++i) {
      const int64_t at = o * shape.in_features + i, g = o * groups + i / shape.group_size;
      const double level = levels ? static_cast<double>(levels[codes[at]]) : static_cast<double>(codes[at]);
      const double zero = zero_points ? static_cast<double>(zero_points[g]) : 0.0;
      weight[at] = (level - zero) * static_cast<double>(scales[g]);
    }
}

void scalar_matvec_ref(const ScalarShape& shape, const uint8_t* codes, const float* levels, const float* scales,
                       const float* zero_points, const int32_t* x_perm, const float* bias, const double* residual,
                       const float* x, int64_t batch, double* y) {
  std::vector<double> weight(static_cast<size_t>(shape.out_features * shape.in_features));
  scalar_dequantise_ref(shape, codes, levels, scales, zero_points, weight.data());
  for (int64_t t = 0; t < batch; ++t)
    for (int64_t o = 0; o < shape.out_features; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < shape.in_features; ++i)
        sum += weight[static_cast<size_t>(o * shape.in_features + i)] *
               static_cast<double>(x[t * shape.in_features + (x_perm ? x_perm[i] : i)]);
      if (bias) sum += static_cast<double>(bias[o]);
      if (residual) sum += residual[t * shape.out_features + o];
      y[t * shape.out_features + o] = sum;
    }
}

}  // namespace aqlm_exp::scalar_matvec
