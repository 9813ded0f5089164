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

struct Shape {
  int64_t batch, rows, inputs;
};
// Around each edge: one chunk of 256 inputs, a group of 4 or 8 chunks, blocks of 8 rows, more rows than fit at once.
const Shape kShapes[] = {{1, 1, 8},     {1, 7, 248},  {1, 9, 256},   {2, 8, 264},   {1, 16, 1024},  {1, 17, 2048},
                         {1, 24, 2056}, {4, 33, 896}, {3, 40, 4864}, {1, 5, 18944}, {1, 20000, 64}, {4, 8, 11008}};

class Gemv : public testing::TestWithParam<Element> {};

void check(Element element, Epilogue epilogue, bool norm, bool bias) {
  for (const Shape& s : kShapes) {
    const bool pairs = epilogue == Epilogue::kSiluMul;
    const int64_t matrix_rows = pairs ? 2 * s.rows : s.rows;
    const auto weight = rounded(element, normals(matrix_rows * s.inputs, 1, 0.1F));
    const auto bias_values = rounded(element, normals(s.rows, 2));
    const auto norm_weight = rounded(element, normals(s.inputs, 3));
    auto x = normals(s.batch * s.inputs, 4);
    if (!norm) x = rounded(element, x);
    const auto old = normals(s.batch * s.rows, 5);
    const bool floats = epilogue == Epilogue::kStoreFloat || epilogue == Epilogue::kAddFloat;
    const Element out = floats ? Element::kF32 : element;
    const CudaBuffer w = device(element, weight), b = device(element, bias_values), n = device(element, norm_weight),
                     xd = device(norm ? Element::kF32 : element, x), y = device(out, rounded(out, old));
    GemvCall call{.element = element,
                  .epilogue = epilogue,
                  .weight = w.data(),
                  .bias = bias ? b.data() : nullptr,
                  .x = xd.data(),
                  .norm_weight = norm ? n.data() : nullptr,
                  .y = y.data(),
                  .batch = s.batch,
                  .rows = s.rows,
                  .inputs = s.inputs};
    ASSERT_EQ(gemv_cuda_supports(call), Status::kOk) << s.batch << "x" << s.inputs;
    ASSERT_EQ(gemv_cuda(call, {}), Status::kOk);
    const auto got = unpacked(out, y.read<char>());
    for (int64_t v = 0; v < s.batch; ++v) {
      std::vector<float> in(x.begin() + v * s.inputs, x.begin() + (v + 1) * s.inputs);
      if (norm) add_rms_norm_ref(s.inputs, nullptr, in.data(), norm_weight.data(), call.eps, in.data());
      std::vector<double> product(static_cast<size_t>(matrix_rows));
      gemv_ref(matrix_rows, s.inputs, weight.data(), in.data(), nullptr, product.data());
      for (int64_t r = 0; r < s.rows; ++r) {
        double norm2 = 0;
        for (int64_t i = 0; i < s.inputs; ++i) {
          norm2 += std::pow(static_cast<double>(weight[static_cast<size_t>(r * s.inputs + i)]) *
                                static_cast<double>(in[static_cast<size_t>(i)]),
                            2);
        }
        double wanted = product[static_cast<size_t>(r)], scale = std::sqrt(norm2);
        if (pairs) {
          const double up = product[static_cast<size_t>(r + s.rows)];
          scale = scale * std::abs(up) + std::abs(wanted) * scale + 1e-6;
          wanted = silu_mul_ref(wanted, up);
        }
        if (bias) wanted += static_cast<double>(bias_values[static_cast<size_t>(r)]);
        const auto at = static_cast<size_t>(v * s.rows + r);
        if (epilogue == Epilogue::kAddFloat) wanted += static_cast<double>(old[at]);
        // float32 sums in runs of 8 with a tree over lanes: 2e-6 of the terms' norm; then one rounding.
        ASSERT_NEAR(static_cast<double>(got[at]), wanted, rounding(out) * std::abs(wanted) + 4e-6 * scale + 1e-6)
            << "batch " << s.batch << " rows " << s.rows << " inputs " << s.inputs << " vector " << v << " row " << r;
      }
    }
  }
}

TEST_P(Gemv, StoreMatchesReference) {
  AQLM_EXP_NEEDS_HOPPER();
  check(GetParam(), Epilogue::kStore, false, false);
}
TEST_P(Gemv, NormAndBiasMatchReference) {
  AQLM_EXP_NEEDS_HOPPER();
  check(GetParam(), Epilogue::kStore, true, true);
}
TEST_P(Gemv, FloatLogitsMatchReference) {
  AQLM_EXP_NEEDS_HOPPER();
  check(GetParam(), Epilogue::kStoreFloat, true, false);
}
TEST_P(Gemv, AddsToTheResidualStream) {
  AQLM_EXP_NEEDS_HOPPER();
  check(GetParam(), Epilogue::kAddFloat, false, true);
}
TEST_P(Gemv, SiluMulMatchesReference) {
  AQLM_EXP_NEEDS_HOPPER();
  check(GetParam(), Epilogue::kSiluMul, true, false);
}
TEST_P(Gemv, RefusesWhatItCannotRun) {
  AQLM_EXP_NEEDS_HOPPER();
  GemvCall call{.element = GetParam(), .batch = 1, .rows = 8, .inputs = 12};
  EXPECT_EQ(gemv_cuda(call, {}), Status::kUnsupportedShape);
  call.inputs = 16, call.batch = 5;
  EXPECT_EQ(gemv_cuda(call, {}), Status::kUnsupportedShape);
  call.batch = 1, call.element = Element::kF32;
  EXPECT_EQ(gemv_cuda(call, {}), Status::kUnsupportedShape);
}

INSTANTIATE_TEST_SUITE_P(Decode, Gemv, testing::Values(Element::kF16, Element::kBF16), element_name);

}  // namespace
}  // namespace aqlm_exp::decode
