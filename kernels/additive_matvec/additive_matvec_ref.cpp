#include "kernels/additive_matvec/additive_matvec_ref.h"

#include <cstddef>
#include <vector>

namespace aqlm_exp::additive_matvec {

void additive_dequantise_ref(const AdditiveShape& shape, const uint16_t* codes, const float* codebooks,
                             const float* scales, double* weight) {
  const int64_t groups = shape.num_in_groups(), ig = shape.in_group_size, og = shape.out_group_size;
  for (int64_t o = 0; o < shape.num_out_groups(); ++o)
    for (int64_t j = 0; j < groups; ++j)
      for (int64_t a = 0; a < og; ++a)
        for (int64_t b = 0; b < ig; ++b) {
          double sum = 0;
          for (int64_t m = 0; m < shape.num_codebooks; ++m) {
            const int64_t code = codes[(o * groups + j) * shape.num_codebooks + m];
            sum += static_cast<double>(codebooks[((m * shape.codebook_size() + code) * og + a) * ig + b]);
          }
          const double scale = static_cast<double>(scales[shape.scale_groups == 1 ? o : o * groups + j]);
          weight[(o * og + a) * shape.in_features + j * ig + b] = scale * sum;
        }
}

void additive_matvec_ref(const AdditiveShape& shape, const uint16_t* codes, const float* codebooks, const float* scales,
                         const float* bias, const double* residual, const float* x, int64_t batch, double* y) {
  std::vector<double> weight(static_cast<size_t>(shape.out_features * shape.in_features));
  additive_dequantise_ref(shape, codes, codebooks, scales, weight.data());
  for (int64_t t = 0; t < batch; ++t)
    for (int64_t o = 0; o < shape.out_features; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < shape.in_features; ++i)
        sum +=
            weight[static_cast<size_t>(o * shape.in_features + i)] * static_cast<double>(x[t * shape.in_features + i]);
      if (bias) sum += static_cast<double>(bias[o]);
      if (residual) sum += residual[t * shape.out_features + o];
      y[t * shape.out_features + o] = sum;
    }
}

}  // namespace aqlm_exp::additive_matvec
