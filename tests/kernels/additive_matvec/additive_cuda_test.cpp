#include "kernels/additive_matvec/additive_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/kernels/additive_matvec/additive_case.h"
#include "tests/kernels/cuda_buffer.h"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::CudaBuffer;
using kernels::Status;

using Entry = Status (*)(const AdditiveShape&, const AdditiveCudaCall&) noexcept;
enum class Codes { kPacked, kNatural };

/// A case in fp16 on the device.
struct Device {
  AdditiveCase c;
  std::vector<double> weight, norm;  // [rows, in]; [batch, rows]: root of the sum of squared products
  CudaBuffer packed, natural, codebooks, scales, bias, residual, x;

  static AdditiveCase rounded(AdditiveCase c) {
    for (std::vector<float>* v : {&c.codebooks, &c.scales, &c.bias, &c.residual, &c.x}) kernels::round_to_half(*v);
    c.answer();
    return c;
  }
  static CudaBuffer natural_codes(const AdditiveCase& c) {
    if (!c.codes8.empty()) return CudaBuffer(c.codes8.data(), c.codes8.size());
    std::vector<uint16_t> wrapped;
    const int half = 1 << (c.shape.nbits_per_codebook - 1);
    for (uint16_t code : c.codes) wrapped.push_back(static_cast<uint16_t>(code < half ? code : code - 2 * half));
    return CudaBuffer(wrapped.data(), wrapped.size() * 2);
  }
  static CudaBuffer packed_codes(const AdditiveCase& c) {
    std::vector<uint8_t> packed(static_cast<size_t>(additive_cuda_packed_bytes(c.shape)));
    if (!packed.empty()) additive_cuda_pack_host(c.shape, c.codes8.data(), packed.data());
    return CudaBuffer(packed.data(), packed.size());
  }
  explicit Device(AdditiveCase plain)
      : c(rounded(std::move(plain))),
        packed(packed_codes(c)),
        natural(natural_codes(c)),
        codebooks(kernels::half_buffer(c.codebooks)),
        scales(kernels::half_buffer(c.scales)),
        bias(kernels::half_buffer(c.bias)),
        residual(kernels::half_buffer(c.residual)),
        x(kernels::half_buffer(c.x)) {
    const AdditiveShape& s = c.shape;
    weight.resize(static_cast<size_t>(s.out_features * s.in_features));
    additive_dequantise_ref(s, c.codes.data(), c.codebooks.data(), c.scales.data(), weight.data());
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t o = 0; o < s.out_features; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < s.in_features; ++i) {
          const double term = weight[static_cast<size_t>(o * s.in_features + i)] *
                              static_cast<double>(c.x[static_cast<size_t>(b * s.in_features + i)]);
          sum += term * term;
        }
        norm.push_back(std::sqrt(sum));
      }
  }
  AdditiveCudaCall call(Codes codes, void* y) const {
    AdditiveCudaCall call;
    call.codes = codes == Codes::kPacked ? packed.data() : natural.data();
    call.codebooks = codebooks.data();
    call.scales = scales.data();
    call.bias = c.bias.empty() ? nullptr : bias.data();
    call.residual = c.residual.empty() ? nullptr : residual.data();
    call.x = x.data();
    call.y = y;
    call.batch = c.batch;
    return call;
  }
};

/// fp16 rounds the answer by 2^-11 of itself; fp32 sums err far below 2e-5 of the terms' norm. Codewords added in fp16
/// (the mma entry from 9 tokens on) err by 2^-12 of the larger of them at most: five standard deviations are 1e-3.
void expect_close(const Device& d, const std::vector<uint16_t>& y, bool half_sums) {
  const double loose = half_sums && d.c.batch > 8 && d.c.shape.num_codebooks > 1 ? 1e-3 : 2e-5;
  for (size_t i = 0; i < y.size(); ++i) {
    const double tolerance = std::fabs(d.c.expected[i]) * 0x1.02p-11 + loose * d.norm[i] + 6e-8;
    ASSERT_NEAR(static_cast<double>(kernels::half_to_float(y[i])), d.c.expected[i], tolerance)
        << d.c.name() << " at " << i;
  }
}

void check(Entry entry, Codes codes, const AdditiveShape& shape, int64_t batch, bool extras = true) {
  const Device d(AdditiveCase(shape, batch, 7 + static_cast<uint64_t>(batch), extras));
  std::vector<uint16_t> first;
  for (bool programmatic : {false, true, false}) {  // and again: the same bits
    const CudaBuffer y(d.c.expected.size() * 2);
    AdditiveCudaCall call = d.call(codes, y.data());
    call.programmatic = programmatic;
    ASSERT_EQ(entry(shape, call), Status::kOk) << d.c.name();
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << d.c.name();
    const std::vector<uint16_t> got = y.read<uint16_t>();
    if (first.empty()) {
      expect_close(d, got, entry == Entry{additive_mma_cuda_f16});
      first = got;
    }
    ASSERT_EQ(got, first) << d.c.name();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

AdditiveShape kx8(int64_t rows, int64_t inputs, int32_t books, int32_t bits = 8, int32_t group = 8) {
  return {.out_features = rows,
          .in_features = inputs,
          .num_codebooks = books,
          .nbits_per_codebook = bits,
          .in_group_size = group};
}

TEST(AdditiveCudaPack, DeviceAndHostAgree) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int books : {1, 2, 3, 4})
    for (int64_t rows : {1, 16, 33})
      for (int64_t inputs : {8, 264, 512}) {
        const AdditiveCase c(kx8(rows, inputs, books, 7), 1, 3);
        std::vector<uint8_t> expected(static_cast<size_t>(additive_cuda_packed_bytes(c.shape)));
        additive_cuda_pack_host(c.shape, c.codes8.data(), expected.data());
        const CudaBuffer natural(c.codes8.data(), c.codes8.size()), packed(expected.size());
        ASSERT_EQ(additive_cuda_pack(c.shape, natural.data(), packed.data(), nullptr), Status::kOk);
        ASSERT_EQ(packed.read<uint8_t>(), expected);
      }
}

TEST(AdditiveLookupCuda, EqualsTheReference) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 2}) {
    for (int64_t rows : {1, 15, 16, 17, 300, 5000})
      for (int64_t inputs : {8, 248, 256, 264, 1024, 4096})
        check(additive_lookup_cuda_f16, Codes::kPacked, kx8(rows, rows > 1000 && inputs > 1000 ? 1024 : inputs, 2),
              batch);
    for (int books : {1, 2, 3, 4, 5, 8, 16})
      for (int group : {8, 16})
        check(additive_lookup_cuda_f16, Codes::kPacked, kx8(100, 1024 + group, books, 8, group), batch);
    for (int bits = 1; bits <= 8; ++bits) check(additive_lookup_cuda_f16, Codes::kPacked, kx8(65, 320, 2, bits), batch);
    check(additive_lookup_cuda_f16, Codes::kPacked, kx8(260, 11008, 2), batch);  // several passes over the tables
    check(additive_lookup_cuda_f16, Codes::kPacked, kx8(40, 14336, 4), batch, false);
    // Tables by turns, one or two tiles a warp, and more of them than that.
    for (int64_t rows : {4000, 6000, 9000}) check(additive_lookup_cuda_f16, Codes::kPacked, kx8(rows, 4616, 2), batch);
    for (int books : {1, 2, 3, 4, 5, 8, 16})
      for (int group : {8, 16})
        check(additive_lookup_cuda_f16, Codes::kPacked, kx8(150, 1120 * group, books, 8, group), batch);
    for (int bits : {3, 7}) check(additive_lookup_cuda_f16, Codes::kPacked, kx8(20, 5000, 2, bits), batch);
  }
}

TEST(AdditiveLookupCuda, FusedLinearsEqualSingleOnes) {
  AQLM_EXP_NEEDS_HOPPER();
  const int64_t rows[] = {1000, 130, 17, 2048};
  std::vector<Device> devices;
  std::vector<AdditiveShape> shapes;
  std::vector<CudaBuffer> singles, fused;
  std::vector<AdditiveCudaCall> calls;
  for (int64_t r : rows) {
    devices.emplace_back(AdditiveCase(kx8(r, 1024, 2), 2, 5));
    shapes.push_back(devices.back().c.shape);
  }
  for (size_t i = 0; i < 4; ++i) {
    singles.emplace_back(static_cast<size_t>(rows[i]) * 4);
    fused.emplace_back(static_cast<size_t>(rows[i]) * 4);
    AdditiveCudaCall call = devices[i].call(Codes::kPacked, singles[i].data());
    call.x = devices[0].x.data();
    ASSERT_EQ(additive_lookup_cuda_f16(shapes[i], call), Status::kOk);
    call.y = fused[i].data();
    calls.push_back(call);
  }
  ASSERT_EQ(additive_lookup_cuda_f16_fused(4, shapes.data(), calls.data()), Status::kOk);
  for (size_t i = 0; i < 4; ++i) ASSERT_EQ(fused[i].read<uint16_t>(), singles[i].read<uint16_t>()) << i;
  calls[1].x = devices[1].x.data();
  EXPECT_EQ(additive_lookup_cuda_f16_fused(2, shapes.data(), calls.data()), Status::kUnsupportedShape);
}

TEST(AdditiveMmaCuda, EqualsTheReferenceForBatchesOneToSixtyFour) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64})
    for (int books : {1, 2, 4}) check(additive_mma_cuda_f16, Codes::kPacked, kx8(50, 520, books), batch);
}

TEST(AdditiveMmaCuda, EqualsTheReferenceAroundEachTileEdge) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 12, 20})
    for (int64_t rows : {1, 15, 16, 17, 2200})
      for (int64_t inputs : {8, 248, 256, 264, 2048, 2056, 4096, 4104})
        check(additive_mma_cuda_f16, Codes::kPacked, kx8(rows, rows > 1000 && inputs > 300 ? 264 : inputs, 2), batch,
              false);
  for (int64_t batch : {1, 16, 32})
    check(additive_mma_cuda_f16, Codes::kPacked, kx8(2500, 4104, 2), batch);  // chunks x tiles
  for (int bits : {1, 5, 7})
    for (int books : {1, 2, 4}) check(additive_mma_cuda_f16, Codes::kPacked, kx8(33, 512, books, bits), 4);
}

TEST(AdditiveMmaCuda, TakesSeveralLaunchesForOutputsTooLargeForOne) {
  AQLM_EXP_NEEDS_HOPPER();
  // 16 tokens, 128 KiB of tables and two chunks of inputs leave a CTA room for 16 tiles: 132 of them take 33792 rows.
  // One codeword per row repeats, so that the reference is small: rows 0..15 of each tile are the same in every tile.
  const int64_t rows = 35000, inputs = 4104;
  AdditiveCase small(kx8(16, inputs, 4), 16, 3, false);
  const Device d(std::move(small));
  AdditiveShape shape = d.c.shape;
  shape.out_features = rows;
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = static_cast<size_t>(row % 16) * static_cast<size_t>(shape.num_in_groups() * 4);
    codes.insert(codes.end(), d.c.codes8.begin() + static_cast<int64_t>(from),
                 d.c.codes8.begin() + static_cast<int64_t>(from) + shape.num_in_groups() * 4);
    scales.push_back(d.c.scales[static_cast<size_t>(row % 16)]);
  }
  std::vector<uint8_t> packed(static_cast<size_t>(additive_cuda_packed_bytes(shape)));
  additive_cuda_pack_host(shape, codes.data(), packed.data());
  const CudaBuffer device_codes(packed.data(), packed.size()), device_scales = kernels::half_buffer(scales);
  const CudaBuffer y(static_cast<size_t>(rows) * 32), y_small(16 * 32);
  AdditiveCudaCall call = d.call(Codes::kPacked, y_small.data());
  ASSERT_EQ(additive_mma_cuda_f16(d.c.shape, call), Status::kOk);
  call.codes = device_codes.data();
  call.scales = device_scales.data();
  call.y = y.data();
  ASSERT_EQ(additive_mma_cuda_f16(shape, call), Status::kOk);
  const std::vector<uint16_t> expected = y_small.read<uint16_t>(), got = y.read<uint16_t>();
  for (int64_t b = 0; b < 16; ++b)
    for (int64_t row = 0; row < rows; ++row)
      ASSERT_EQ(got[static_cast<size_t>(b * rows + row)], expected[static_cast<size_t>(b * 16 + row % 16)]) << row;
}

TEST(AdditiveGatherCuda, EqualsTheReference) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int bits = 9; bits <= 16; ++bits)
    for (int books : {1, 2})
      for (int group : {8, 16})
        check(additive_gather_cuda_f16, Codes::kNatural, kx8(33, 40 * group, books, bits, group), 3);
  for (int64_t batch : {1, 8, 9, 16, 17, 32, 33, 64})
    for (int group : {8, 16}) check(additive_gather_cuda_f16, Codes::kNatural, kx8(40, 1024, 1, 12, group), batch);
  for (int64_t batch : {1, 10, 20})
    for (int64_t inputs : {8, 56, 64, 72, 2040, 4096, 4104})  // rows with and without 16-byte alignment
      for (int64_t rows : {1, 17, 200})
        check(additive_gather_cuda_f16, Codes::kNatural, kx8(rows, inputs, 1, 10), batch, false);
  check(additive_gather_cuda_f16, Codes::kNatural, kx8(2500, 4608, 1, 16), 5);
}

TEST(AdditiveGenericCuda, EqualsTheReferenceForAnyScheme) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int bits : {3, 8, 12})
    for (int books : {1, 2, 3})
      for (int group : {1, 4, 6, 8, 16, 32})
        for (int out_group : {1, 2, 4})
          for (bool per_group : {false, true}) {
            AdditiveShape s = kx8(20, group * 37, books, bits, group);
            s.out_group_size = out_group;
            if (per_group) s.scale_groups = s.num_in_groups();
            check(additive_generic_cuda_f16, Codes::kNatural, s, 3);
          }
  for (int64_t batch : {1, 2, 4, 5, 8, 9, 70})
    check(additive_generic_cuda_f16, Codes::kNatural, kx8(30, 256, 3, 12), batch);
}

TEST(AdditiveDequantiseCuda, GivesTheRoundedWeight) {
  AQLM_EXP_NEEDS_HOPPER();
  const auto compare = [](const Device& d, bool packed, int64_t begin, int64_t end) {
    const CudaBuffer out(static_cast<size_t>((end - begin) * d.c.shape.in_features) * 2);
    const AdditiveCudaCall call = d.call(packed ? Codes::kPacked : Codes::kNatural, nullptr);
    const Status status = packed ? additive_dequantise_packed_cuda_f16(d.c.shape, call, begin, end, out.data())
                                 : additive_dequantise_natural_cuda_f16(d.c.shape, call, begin, end, out.data());
    ASSERT_EQ(status, Status::kOk);
    const std::vector<uint16_t> got = out.read<uint16_t>();
    for (size_t i = 0; i < got.size(); ++i) {
      const double expected = d.weight[static_cast<size_t>(begin * d.c.shape.in_features) + i];
      ASSERT_NEAR(static_cast<double>(kernels::half_to_float(got[i])), expected,
                  std::fabs(expected) * 0x1.02p-11 + 6e-8)
          << d.c.name() << " at " << i;
    }
  };
  for (int books : {1, 2, 3, 4, 8})
    for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 75}, {16, 33}, {64, 75}})
      compare(Device(AdditiveCase(kx8(75, 536, books), 1, 4)), true, begin, end);
  for (int books : {1, 3, 6})
    for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 75}, {16, 33}, {64, 75}})
      compare(Device(AdditiveCase(kx8(75, 16 * 67, books, 8, 16), 1, 4)), true, begin, end);
  for (int group : {6, 8, 16}) {
    AdditiveShape s = kx8(24, group * 40, 2, 11, group);
    s.out_group_size = 2;
    s.scale_groups = s.num_in_groups();
    compare(Device(AdditiveCase(s, 1, 4)), false, 4, 24);
  }
}

TEST(AdditiveCuda, SaturatesToInfinityAndKeepsLargeInputs) {
  AQLM_EXP_NEEDS_HOPPER();
  AdditiveCase c(kx8(64, 512, 2), 4, 3, false);
  for (float& value : c.x) value *= 8000;  // some sums pass 65504
  for (float& value : c.scales) value = 1;
  const Device d(std::move(c));
  size_t infinite = 0;
  for (Entry entry : {Entry{additive_mma_cuda_f16}, Entry{additive_generic_cuda_f16}}) {
    const CudaBuffer y(d.c.expected.size() * 2);
    ASSERT_EQ(
        entry(d.c.shape, d.call(entry == Entry{additive_mma_cuda_f16} ? Codes::kPacked : Codes::kNatural, y.data())),
        Status::kOk);
    const std::vector<uint16_t> got = y.read<uint16_t>();
    for (size_t i = 0; i < got.size(); ++i) {
      const auto value = static_cast<double>(kernels::half_to_float(got[i]));
      if (std::fabs(d.c.expected[i]) > 65600) {
        ASSERT_TRUE(std::isinf(value));
        ++infinite;
      } else if (std::fabs(d.c.expected[i]) < 65400) {
        ASSERT_NEAR(value, d.c.expected[i], std::fabs(d.c.expected[i]) * 0x1.02p-11 + 2e-5 * d.norm[i]);
      }
    }
  }
  EXPECT_GT(infinite, 10U);
}

/// Small on purpose: `compute-sanitizer --tool racecheck` takes minutes over the other tests and seconds over this one.
TEST(AdditiveCuda, EveryKernelOnASmallShape) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int group : {8, 16})
    for (int books : {1, 2, 3, 4})
      check(additive_lookup_cuda_f16, Codes::kPacked, kx8(40, 64 * group, books, 8, group), 2);
  check(additive_lookup_cuda_f16, Codes::kPacked, kx8(24, 4096, 2), 1);  // a cluster of eight
  for (int books : {2, 4}) check(additive_lookup_cuda_f16, Codes::kPacked, kx8(24, 8200, books), 2);  // tables by turns
  for (int64_t batch : {4, 12, 20})
    for (int books : {1, 2, 4}) check(additive_mma_cuda_f16, Codes::kPacked, kx8(40, 520, books), batch);
  check(additive_mma_cuda_f16, Codes::kPacked, kx8(24, 4104, 2), 4);  // two chunks
  for (int64_t batch : {4, 12, 20})
    for (int group : {8, 16}) check(additive_gather_cuda_f16, Codes::kNatural, kx8(24, 512, 1, 12, group), batch);
  check(additive_generic_cuda_f16, Codes::kNatural, kx8(24, 256, 3, 12), 5);
}

/// A chain of linears y = W x in one graph, each reading what the one before wrote.
std::vector<uint16_t> run_chain(const Device& d, Entry entry, Codes codes, bool programmatic) {
  const size_t bytes = static_cast<size_t>(d.c.batch * d.c.shape.in_features) * 2;
  const CudaBuffer a(bytes), b(bytes);
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(a.data(), d.x.data(), bytes, cudaMemcpyDeviceToDevice, stream), cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  for (int i = 0; i < 24; ++i) {
    AdditiveCudaCall call = d.call(codes, i % 2 ? a.data() : b.data());
    call.x = i % 2 ? b.data() : a.data();
    call.bias = call.residual = nullptr;
    call.stream = stream;
    call.programmatic = programmatic;
    EXPECT_EQ(entry(d.c.shape, call), Status::kOk);
  }
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return a.read<uint16_t>();
}

TEST(AdditiveCuda, AChainInAGraphGivesTheSameBitsWithProgrammaticLaunch) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 2, 16}) {
    AdditiveCase c(kx8(1024, 1024, 2), batch, 3, false);
    for (float& value : c.scales) value = value > 0 ? 0.044F : -0.044F;  // keeps the chain's numbers in range
    const Device d(std::move(c));
    if (batch <= 2) {
      EXPECT_EQ(run_chain(d, additive_lookup_cuda_f16, Codes::kPacked, false),
                run_chain(d, additive_lookup_cuda_f16, Codes::kPacked, true));
    }
    EXPECT_EQ(run_chain(d, additive_mma_cuda_f16, Codes::kPacked, false),
              run_chain(d, additive_mma_cuda_f16, Codes::kPacked, true));
    AdditiveCase wide(kx8(1024, 1024, 1, 12), batch, 3, false);
    for (float& value : wide.scales) value = value > 0 ? 0.0625F : -0.0625F;
    const Device e(std::move(wide));
    EXPECT_EQ(run_chain(e, additive_gather_cuda_f16, Codes::kNatural, false),
              run_chain(e, additive_gather_cuda_f16, Codes::kNatural, true));
  }
}

TEST(AdditiveCuda, RefusesWhatNoKernelTakes) {
  const Status unsupported = Status::kUnsupportedShape;
  EXPECT_EQ(additive_lookup_cuda_supports(kx8(64, 64, 2), 3), unsupported);
  EXPECT_EQ(additive_lookup_cuda_supports(kx8(64, 64, 3, 12), 1), unsupported);
  EXPECT_EQ(additive_mma_cuda_supports(kx8(64, 64, 3, 12), 1), unsupported);
  EXPECT_EQ(additive_mma_cuda_supports(kx8(64, 64, 2), 65), unsupported);
  EXPECT_EQ(additive_gather_cuda_supports(kx8(64, 64, 3, 12), 1), unsupported);
  EXPECT_EQ(additive_generic_cuda_supports(kx8(64, 64, 3, 12), 1), Status::kOk);
  EXPECT_EQ(additive_mma_cuda_f16(kx8(64, 64, 3, 12), {}), unsupported);
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec
