#include <gtest/gtest.h>

#include "kernels/decode/decode_cuda.h"
#include "kernels/decode/decode_ref.h"
#include "tests/kernels/cuda_buffer.h"
#include "tests/kernels/decode/decode_case.h"

namespace aqlm_exp::decode {
namespace {

using kernels::CudaBuffer;
using kernels::Status;

CudaBuffer device(Element element, const std::vector<float>& values) {
  const std::vector<char> bytes = packed(element, values);
  return CudaBuffer(bytes.data(), bytes.size());
}

struct Case {
  int64_t num_heads, num_kv_heads, head_dim, capacity, num_splits, window;
  std::vector<int64_t> positions;
  bool norms;
};
const Case kCases[] = {
    {1, 1, 64, 8, 1, 0, {0}, false},
    {4, 2, 64, 200, 1, 0, {0, 15, 63, 64, 65, 199}, false},
    {8, 2, 128, 600, 8, 0, {0, 16, 127, 599}, false},
    {14, 2, 64, 300, 16, 0, {5, 299}, false},  // 7 heads a key-value head, as Qwen2.5-0.5B and 7B
    {16, 2, 128, 700, 16, 0, {640}, false},    // Qwen2.5-3B
    {32, 32, 128, 130, 4, 0, {129}, false},    // Llama-7B: no sharing
    {16, 1, 128, 90, 3, 0, {89, 31}, true},
    {8, 1, 256, 150, 5, 0, {149, 1}, true},
    {4, 4, 96, 100, 2, 0, {99}, false},
    {4, 2, 64, 300, 6, 50, {10, 49, 50, 299}, false},  // a window
};

class Attend : public testing::TestWithParam<Element> {};

TEST_P(Attend, MatchesReferenceAndWritesTheCache) {
  AQLM_EXP_NEEDS_HOPPER();
  const Element element = GetParam();
  for (const Case& c : kCases) {
    const auto batch = static_cast<int64_t>(c.positions.size());
    const int64_t d = c.head_dim, q_width = c.num_heads * d, kv_width = c.num_kv_heads * d;
    const int64_t row = q_width + 2 * kv_width;  // q, k and v lie behind one another, as one linear leaves them
    const auto qkv = rounded(element, normals(batch * row, 1));
    const auto q_norm = rounded(element, normals(d, 2)), k_norm = rounded(element, normals(d, 3));
    const auto angles = normals(c.capacity * d / 2, 4);
    std::vector<float> cos, sin;
    for (const float a : angles) cos.push_back(std::cos(a)), sin.push_back(std::sin(a));
    auto keys = rounded(element, normals(batch * c.num_kv_heads * c.capacity * d, 5));
    auto values = rounded(element, normals(batch * c.num_kv_heads * c.capacity * d, 6));
    const CudaBuffer qkv_d = device(element, qkv), qn = device(element, q_norm), kn = device(element, k_norm),
                     cos_d = device(Element::kF32, cos), sin_d = device(Element::kF32, sin),
                     pos(c.positions.data(), c.positions.size() * 8), keys_d = device(element, keys),
                     values_d = device(element, values),
                     y(static_cast<size_t>(batch * q_width * element_bytes(element)));
    const std::vector<uint32_t> zeros(static_cast<size_t>(batch * c.num_kv_heads), 0);
    const CudaBuffer tickets(zeros.data(), zeros.size() * 4);
    AttendCall call;
    call.element = element;
    call.batch = batch, call.num_heads = c.num_heads, call.num_kv_heads = c.num_kv_heads, call.head_dim = d;
    call.capacity = c.capacity, call.num_splits = c.num_splits, call.window = c.window;
    call.scale = 1.0F / std::sqrt(static_cast<float>(d));
    const CudaBuffer partial(static_cast<size_t>(attend_scratch_floats(call) * 4));
    const auto* base = static_cast<const char*>(qkv_d.data());
    call.q = base;
    call.k = base + q_width * element_bytes(element);
    call.v = base + (q_width + kv_width) * element_bytes(element);
    call.q_stride = call.kv_stride = row;
    if (c.norms) call.q_norm = qn.data(), call.k_norm = kn.data();
    call.cos = static_cast<const float*>(cos_d.data()), call.sin = static_cast<const float*>(sin_d.data());
    call.positions = static_cast<const int64_t*>(pos.data());
    call.keys = keys_d.data(), call.values = values_d.data(), call.y = y.data();
    call.partial = static_cast<float*>(partial.data()), call.tickets = static_cast<uint32_t*>(tickets.data());
    std::vector<char> first;
    for (int run = 0; run < 3; ++run) {  // the same again: tickets were left zero, the answer does not change
      ASSERT_EQ(attend_cuda(call, {}), Status::kOk);
      const auto bytes = y.read<char>();
      if (run == 0) first = bytes;
      EXPECT_EQ(bytes, first);
    }
    EXPECT_EQ(tickets.read<uint32_t>(), zeros);
    const auto got = unpacked(element, y.read<char>());
    const auto got_keys = unpacked(element, keys_d.read<char>()), got_values = unpacked(element, values_d.read<char>());
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t cache = b * c.num_kv_heads * c.capacity * d;
      std::vector<double> wanted(static_cast<size_t>(q_width));
      AttendRef ref{.num_heads = c.num_heads,
                    .num_kv_heads = c.num_kv_heads,
                    .head_dim = d,
                    .capacity = c.capacity,
                    .window = c.window,
                    .position = c.positions[static_cast<size_t>(b)],
                    .scale = call.scale};
      ref.q = qkv.data() + b * row, ref.k = ref.q + q_width, ref.v = ref.k + kv_width;
      if (c.norms) ref.q_norm = q_norm.data(), ref.k_norm = k_norm.data();
      ref.cos = cos.data(), ref.sin = sin.data();
      ref.keys = keys.data() + cache, ref.values = values.data() + cache, ref.y = wanted.data();
      attend_ref(ref);
      // The cached key is rounded once and moves a score by that much of |q||k|·scale; values are of size one.
      const double tolerance = 4 * rounding(element) + 2e-5;
      for (size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_NEAR(static_cast<double>(got[static_cast<size_t>(b * q_width) + i]), wanted[i], tolerance)
            << "head_dim " << d << " heads " << c.num_heads << "/" << c.num_kv_heads << " sequence " << b << " at "
            << i;
      }
      for (int64_t h = 0; h < c.num_kv_heads; ++h) {
        for (int64_t i = 0; i < d; ++i) {
          const auto at = static_cast<size_t>(cache + (h * c.capacity + c.positions[static_cast<size_t>(b)]) * d + i);
          const auto key = static_cast<double>(keys[at]);
          ASSERT_NEAR(static_cast<double>(got_keys[at]), key, rounding(element) * std::abs(key) + 4e-6);
          ASSERT_EQ(got_values[at], values[at]);
          keys[at] = got_keys[at];
        }
      }
    }
    EXPECT_EQ(got_keys, keys) << "another row of the cache was written";
    EXPECT_EQ(got_values, values);
  }
}

TEST_P(Attend, RefusesWhatItCannotRun) {
  AQLM_EXP_NEEDS_HOPPER();
  AttendCall call;
  call.element = GetParam();
  call.num_heads = 4, call.num_kv_heads = 2, call.head_dim = 80, call.capacity = 8;
  EXPECT_EQ(attend_cuda(call, {}), Status::kUnsupportedShape);
  call.head_dim = 64, call.num_kv_heads = 3;
  EXPECT_EQ(attend_cuda(call, {}), Status::kUnsupportedShape);
}

INSTANTIATE_TEST_SUITE_P(Decode, Attend, testing::Values(Element::kF32, Element::kF16, Element::kBF16), element_name);

}  // namespace
}  // namespace aqlm_exp::decode
