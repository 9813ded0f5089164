#include "kernels/additive_matvec/additive_generic_cpu.h"

#include <algorithm>

#include "kernels/platform/thread_pool.h"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::Status;

constexpr int64_t kMaxGroup = 1024;
constexpr int kTokens = 4;  // tokens that share one decoded group

template <typename Code>
struct Decoder {
  const AdditiveShape& shape;
  const AdditiveGenericCpuCall& call;
  int64_t groups, group_size, mask;

  Decoder(const AdditiveShape& s, const AdditiveGenericCpuCall& c)
      : shape(s),
        call(c),
        groups(s.num_in_groups()),
        group_size(int64_t{s.in_group_size} * s.out_group_size),
        mask(s.codebook_size() - 1) {}

  /// word[a * in_group_size + b], scale included
  void decode(int64_t o, int64_t j, float* word) const {
    const Code* codes = static_cast<const Code*>(call.codes) + (o * groups + j) * shape.num_codebooks;
    const float* first = call.codebooks + (codes[0] & mask) * group_size;
    for (int64_t i = 0; i < group_size; ++i) word[i] = first[i];
    for (int64_t m = 1; m < shape.num_codebooks; ++m) {
      const float* next = call.codebooks + ((m << shape.nbits_per_codebook) + (codes[m] & mask)) * group_size;
      for (int64_t i = 0; i < group_size; ++i) word[i] += next[i];
    }
    if (shape.scale_groups != 1) {
      const float scale = call.scales[o * groups + j];
      for (int64_t i = 0; i < group_size; ++i) word[i] *= scale;
    }
  }
  float row_scale(int64_t o) const { return shape.scale_groups == 1 ? call.scales[o] : 1.0F; }
};

/// Rows of one output group for T tokens. Sums run over eight groups in float, then in double: long rows keep fp32's
/// accuracy without a double multiply per weight.
template <int T, typename Code>
void group_rows(const Decoder<Code>& decoder, int64_t o, int64_t token) {
  const AdditiveShape& s = decoder.shape;
  const int64_t ig = s.in_group_size, og = s.out_group_size;
  float word[kMaxGroup];
  for (int64_t a = 0; a < og; ++a) {
    double total[T] = {};
    float part[T] = {};
    for (int64_t j = 0; j < decoder.groups; ++j) {
      decoder.decode(o, j, word);
      const float* line = word + a * ig;
      for (int t = 0; t < T; ++t) {
        const float* x = decoder.call.x + (token + t) * s.in_features + j * ig;
        float sum = 0;
        for (int64_t b = 0; b < ig; ++b) sum += line[b] * x[b];
        part[t] += sum;
      }
      if ((j & 7) == 7 || j + 1 == decoder.groups)
        for (int t = 0; t < T; ++t) {
          total[t] += static_cast<double>(part[t]);
          part[t] = 0;
        }
    }
    const int64_t row = o * og + a;
    for (int t = 0; t < T; ++t) {
      const int64_t at = (token + t) * s.out_features + row;
      float value = static_cast<float>(total[t]) * decoder.row_scale(o);
      if (decoder.call.bias) value += decoder.call.bias[row];
      if (decoder.call.residual) value += decoder.call.residual[at];
      decoder.call.y[at] = value;
    }
  }
}

template <typename Code>
void run(const AdditiveShape& shape, const AdditiveGenericCpuCall& call) {
  const Decoder<Code> decoder(shape, call);
  kernels::ThreadPool::shared().run(std::max(call.threads, 1), [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(shape.num_out_groups(), 1, index, count);
    for (int64_t o = begin; o < end; ++o) {
      int64_t token = 0;
      for (; token + kTokens <= call.batch; token += kTokens) group_rows<kTokens>(decoder, o, token);
      for (; token < call.batch; ++token) group_rows<1>(decoder, o, token);
    }
  });
}

template <typename Code>
void dequantise(const AdditiveShape& shape, const AdditiveGenericCpuCall& call, int64_t group_begin, int64_t group_end,
                float* weight) {
  const Decoder<Code> decoder(shape, call);
  const int64_t ig = shape.in_group_size, og = shape.out_group_size;
  kernels::ThreadPool::shared().run(std::max(call.threads, 1), [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(group_end - group_begin, 1, index, count);
    float word[kMaxGroup];
    for (int64_t o = group_begin + begin; o < group_begin + end; ++o)
      for (int64_t j = 0; j < decoder.groups; ++j) {
        decoder.decode(o, j, word);
        const float scale = decoder.row_scale(o);
        for (int64_t a = 0; a < og; ++a)
          for (int64_t b = 0; b < ig; ++b)
            weight[((o - group_begin) * og + a) * shape.in_features + j * ig + b] = word[a * ig + b] * scale;
      }
  });
}

}  // namespace

Status additive_generic_cpu_supports(const AdditiveShape& shape) noexcept {
  const bool ok = shape.valid() && int64_t{shape.in_group_size} * shape.out_group_size <= kMaxGroup;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

Status additive_generic_cpu(const AdditiveShape& shape, const AdditiveGenericCpuCall& call) noexcept {
  if (additive_generic_cpu_supports(shape) != Status::kOk || call.batch < 1) return Status::kUnsupportedShape;
  if (shape.nbits_per_codebook <= 8)
    run<uint8_t>(shape, call);
  else
    run<uint16_t>(shape, call);
  return Status::kOk;
}

void additive_generic_cpu_dequantise(const AdditiveShape& shape, const AdditiveGenericCpuCall& call,
                                     int64_t group_begin, int64_t group_end, float* weight) noexcept {
  if (shape.nbits_per_codebook <= 8)
    dequantise<uint8_t>(shape, call, group_begin, group_end, weight);
  else
    dequantise<uint16_t>(shape, call, group_begin, group_end, weight);
}

}  // namespace aqlm_exp::additive_matvec
