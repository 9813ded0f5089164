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

class Pointwise : public testing::TestWithParam<Element> {};

TEST_P(Pointwise, AddRmsNormMatchesReference) {
  AQLM_EXP_NEEDS_HOPPER();
  const Element element = GetParam();
  for (const int64_t width : {1, 4, 31, 128, 896, 1023, 1024, 3584, 4096, 5120, 8200, 16384, 17000}) {
    for (const bool with_delta : {false, true}) {
      const int64_t batch = 3;
      const auto delta = rounded(element, normals(batch * width, 1));
      const auto weight = rounded(element, normals(width, 2));
      auto residual = normals(batch * width, 3, 4.0F);
      const CudaBuffer d = device(element, delta), w = device(element, weight), r(residual.data(), residual.size() * 4),
                       y(static_cast<size_t>(batch * width * element_bytes(element)));
      AddRmsNormCall call{
          element, with_delta ? d.data() : nullptr, static_cast<float*>(r.data()), w.data(), y.data(), batch, width,
          1e-6F};
      ASSERT_EQ(add_rms_norm_cuda(call, {}), Status::kOk);
      const auto got = unpacked(element, y.read<char>());
      std::vector<float> wanted(static_cast<size_t>(width));
      for (int64_t b = 0; b < batch; ++b) {
        add_rms_norm_ref(width, with_delta ? delta.data() + b * width : nullptr, residual.data() + b * width,
                         weight.data(), 1e-6F, wanted.data());
        for (int64_t i = 0; i < width; ++i) {
          const auto at = static_cast<size_t>(b * width + i);
          const double w_i = static_cast<double>(wanted[static_cast<size_t>(i)]);
          ASSERT_NEAR(static_cast<double>(got[at]), w_i, (rounding(element) + 1e-6) * std::abs(w_i) + 1e-7)
              << width << " " << b << " " << i;
        }
      }
      EXPECT_EQ(r.read<float>(), residual);  // one float32 addition each
    }
  }
}

TEST_P(Pointwise, SiluMulMatchesReference) {
  AQLM_EXP_NEEDS_HOPPER();
  const Element element = GetParam();
  const int64_t count = 1000;
  const auto gate = rounded(element, normals(count, 1, 4.0F)), up = rounded(element, normals(count, 2));
  const CudaBuffer g = device(element, gate), u = device(element, up),
                   y(static_cast<size_t>(count * element_bytes(element)));
  ASSERT_EQ(silu_mul_cuda({element, g.data(), u.data(), y.data(), count}, {}), Status::kOk);
  const auto got = unpacked(element, y.read<char>());
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const double wanted = silu_mul_ref(static_cast<double>(gate[i]), static_cast<double>(up[i]));
    ASSERT_NEAR(static_cast<double>(got[i]), wanted, (rounding(element) + 4e-6) * std::abs(wanted) + 1e-7) << i;
  }
}

TEST_P(Pointwise, EmbedTakesRowsById) {
  AQLM_EXP_NEEDS_HOPPER();
  const Element element = GetParam();
  const int64_t width = 300;
  const auto table = rounded(element, normals(5 * width, 1));
  const std::vector<int64_t> ids = {4, 0};
  const CudaBuffer t = device(element, table), i(ids.data(), 16), r(static_cast<size_t>(2 * width * 4));
  ASSERT_EQ(
      embed_cuda({element, t.data(), static_cast<const int64_t*>(i.data()), static_cast<float*>(r.data()), 2, width},
                 {}),
      Status::kOk);
  const auto got = r.read<float>();
  for (int64_t c = 0; c < width; ++c) {
    EXPECT_EQ(got[static_cast<size_t>(c)], table[static_cast<size_t>(4 * width + c)]);
    EXPECT_EQ(got[static_cast<size_t>(width + c)], table[static_cast<size_t>(c)]);
  }
}

INSTANTIATE_TEST_SUITE_P(Decode, Pointwise, testing::Values(Element::kF32, Element::kF16, Element::kBF16),
                         element_name);

}  // namespace
}  // namespace aqlm_exp::decode
