#include "kernels/decode/decode_ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace aqlm_exp::decode {
namespace {

double inverse_rms(int64_t width, const float* x, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return 1.0 / std::sqrt(sum / static_cast<double>(width) + static_cast<double>(eps));
}

/// A head, normalised if there is a weight, then rotated.
std::vector<double> rotated(const AttendRef& call, const float* head, const float* norm) {
  const int64_t half = call.head_dim / 2;
  std::vector<double> in(head, head + call.head_dim), out(in.size());
  if (norm != nullptr) {
    const double scale = inverse_rms(call.head_dim, head, call.norm_eps);
    for (int64_t i = 0; i < call.head_dim; ++i) {
      in[static_cast<size_t>(i)] *= scale * static_cast<double>(norm[i]);
    }
  }
  for (int64_t i = 0; i < half; ++i) {
    const double c = static_cast<double>(call.cos[call.position * half + i]);
    const double s = static_cast<double>(call.sin[call.position * half + i]);
    const auto low = static_cast<size_t>(i), high = static_cast<size_t>(i + half);
    out[low] = in[low] * c - in[high] * s;
    out[high] = in[high] * c + in[low] * s;
  }
  return out;
}

}  // namespace

void add_rms_norm_ref(int64_t width, const float* delta, float* residual, const float* weight, float eps, float* y) {
  if (delta != nullptr) {
    for (int64_t i = 0; i < width; ++i) residual[i] += delta[i];
  }
  const double scale = inverse_rms(width, residual, eps);
  for (int64_t i = 0; i < width; ++i) {
    y[i] = static_cast<float>(static_cast<double>(residual[i]) * scale * static_cast<double>(weight[i]));
  }
}

void gemv_ref(int64_t rows, int64_t inputs, const float* weight, const float* x, const float* bias, double* y) {
  for (int64_t row = 0; row < rows; ++row) {
    double sum = bias != nullptr ? static_cast<double>(bias[row]) : 0.0;
    for (int64_t i = 0; i < inputs; ++i) {
      sum += static_cast<double>(weight[row * inputs + i]) * static_cast<double>(x[i]);
    }
    y[row] = sum;
  }
}

double silu_mul_ref(double gate, double up) { return gate / (1.0 + std::exp(-gate)) * up; }

void attend_ref(const AttendRef& call) {
  const int64_t d = call.head_dim;
  for (int64_t h = 0; h < call.num_kv_heads; ++h) {
    const std::vector<double> key = rotated(call, call.k + h * d, call.k_norm);
    float* key_row = call.keys + (h * call.capacity + call.position) * d;
    float* value_row = call.values + (h * call.capacity + call.position) * d;
    for (int64_t i = 0; i < d; ++i) {
      key_row[i] = static_cast<float>(key[static_cast<size_t>(i)]);
      value_row[i] = call.v[h * d + i];
    }
  }
  const int64_t end = call.position + 1;
  const int64_t begin = call.window > 0 ? std::max<int64_t>(0, end - call.window) : 0;
  for (int64_t head = 0; head < call.num_heads; ++head) {
    const int64_t h = head / (call.num_heads / call.num_kv_heads);
    const std::vector<double> query = rotated(call, call.q + head * d, call.q_norm);
    std::vector<double> scores;
    double largest = -INFINITY, total = 0;
    for (int64_t t = begin; t < end; ++t) {
      double dot = 0;
      for (int64_t i = 0; i < d; ++i) {
        dot += query[static_cast<size_t>(i)] * static_cast<double>(call.keys[(h * call.capacity + t) * d + i]);
      }
      scores.push_back(dot * static_cast<double>(call.scale));
      largest = std::max(largest, scores.back());
    }
    for (double& score : scores) total += score = std::exp(score - largest);
    for (int64_t i = 0; i < d; ++i) {
      double sum = 0;
      for (int64_t t = begin; t < end; ++t) {
        sum +=
            scores[static_cast<size_t>(t - begin)] * static_cast<double>(call.values[(h * call.capacity + t) * d + i]);
      }
      call.y[head * d + i] = sum / total;
    }
  }
}

}  // namespace aqlm_exp::decode
