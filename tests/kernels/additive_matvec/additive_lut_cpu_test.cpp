#include "kernels/additive_matvec/additive_lut_cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/additive_matvec/additive_case.h"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::CpuIsa;
using kernels::Status;

constexpr CpuIsa kLevels[] = {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Vbmi};

std::vector<CpuIsa> levels_here() {
  std::vector<CpuIsa> levels;
  for (CpuIsa isa : kLevels)
    if (kernels::usable_cpu_isa(isa) == isa) levels.push_back(isa);
  return levels;
}

struct Packed {
  Aligned<uint8_t> codes;
  Aligned<float> codebooks;
  explicit Packed(const AdditiveCase& c)
      : codes(additive_lut_cpu_packed_code_bytes(c.shape), 0xAB),
        codebooks(additive_lut_cpu_packed_codebook_floats(c.shape), 0xFF) {
    additive_lut_cpu_pack_codes(c.shape, c.codes8.data(), codes.data());
    additive_lut_cpu_pack_codebooks(c.shape, c.codebooks.data(), codebooks.data());
  }
};

std::vector<float> run(const AdditiveCase& c, const Packed& packed, CpuIsa isa, int threads) {
  std::vector<float> y(static_cast<size_t>(c.batch * c.shape.out_features), std::nanf(""));
  Aligned<char> workspace(additive_lut_cpu_workspace_bytes(c.shape, c.batch, threads, isa), 0xFF);  // poisoned
  AdditiveLutCpuCall call;
  call.packed_codes = packed.codes.data();
  call.packed_codebooks = packed.codebooks.data();
  call.scales = c.scales.data();
  call.bias = c.bias.empty() ? nullptr : c.bias.data();
  call.residual = c.residual.empty() ? nullptr : c.residual.data();
  call.x = c.x.data();
  call.y = y.data();
  call.batch = c.batch;
  call.workspace = workspace.data();
  call.threads = threads;
  call.isa = isa;
  EXPECT_EQ(additive_lut_cpu(c.shape, call), Status::kOk);
  return y;
}

/// |error| <= what the int16 tables may add + fp32 rounding: 4 sqrt(terms) eps of the sum of |terms|, and eps of each
/// number added in the epilogue.
void expect_close(const AdditiveCase& c, const Packed& packed, const std::vector<float>& y, CpuIsa isa) {
  const int64_t n = c.shape.in_features, rows = c.shape.out_features;
  for (int64_t b = 0; b < c.batch; ++b) {
    const double table = additive_lut_cpu_error_bound(c.shape, packed.codebooks.data(), c.x.data() + b * n, isa);
    double norm = 0;
    for (int64_t i = 0; i < n; ++i) norm += std::fabs(static_cast<double>(c.x[static_cast<size_t>(b * n + i)]));
    for (int64_t o = 0; o < rows; ++o) {
      const auto at = static_cast<size_t>(b * rows + o);
      const double scale = std::fabs(static_cast<double>(c.scales[static_cast<size_t>(o)]));
      const double extras = c.bias.empty() ? 0
                                           : std::fabs(static_cast<double>(c.bias[static_cast<size_t>(o)])) +
                                                 std::fabs(static_cast<double>(c.residual[at]));
      const double rounding =
          1.2e-7 * extras + 4 * std::sqrt(static_cast<double>(n)) * 6e-8 *
                                (scale * norm * static_cast<double>(c.shape.num_codebooks) + std::fabs(c.expected[at]));
      ASSERT_NEAR(static_cast<double>(y[at]), c.expected[at], table * scale + rounding + 1e-30)
          << c.name() << " token " << b << " row " << o << " level " << kernels::cpu_isa_name(isa);
    }
  }
}

void check(const AdditiveShape& shape, int64_t batch, std::initializer_list<int> threads, bool extras = true) {
  ASSERT_EQ(additive_lut_cpu_supports(shape), Status::kOk);
  const AdditiveCase c(shape, batch, 17 + static_cast<uint64_t>(batch), extras);
  const Packed packed(c);
  for (CpuIsa isa : levels_here())
    for (int t : threads) expect_close(c, packed, run(c, packed, isa, t), isa);
}

TEST(AdditiveLutCpu, EqualsTheReferenceForEveryNumberOfCodebooksBitsAndGroupSize) {
  for (int codebooks : {1, 2, 3, 4, 7, 8, 16, 17, 64})
    check({.out_features = 70, .in_features = 72, .num_codebooks = codebooks, .in_group_size = 8}, 1, {2});
  for (int bits = 1; bits <= 8; ++bits)
    check({.out_features = 130, .in_features = 80, .num_codebooks = 2, .nbits_per_codebook = bits}, 2, {2});
  for (int group : {1, 3, 4, 8, 16, 32})
    check({.out_features = 66, .in_features = int64_t{group} * 19, .num_codebooks = 2, .in_group_size = group}, 1, {2});
}

TEST(AdditiveLutCpu, EqualsTheReferenceAroundEachTileEdge) {
  for (int64_t rows : {1, 2, 63, 64, 65, 511, 512, 513, 1025})
    for (int64_t groups : {1, 7, 8, 9, 33})
      check({.out_features = rows, .in_features = groups * 8, .num_codebooks = 2}, 1, {1, 3});
}

TEST(AdditiveLutCpu, EqualsTheReferenceAroundTheRowsThatShareTablesInCache) {
  for (int64_t rows : {2047, 2048, 2049, 2561, 4097})
    for (int64_t groups : {8, 17})
      check({.out_features = rows, .in_features = groups * 4, .num_codebooks = 2, .in_group_size = 4}, 2, {1, 3});
  check({.out_features = 2600, .in_features = 48, .num_codebooks = 3, .in_group_size = 4}, 1,
        {1});  // 15 tables a block
  check({.out_features = 2600, .in_features = 48, .num_codebooks = 16, .in_group_size = 8}, 2, {1});
}

TEST(AdditiveLutCpu, EqualsTheReferenceWhetherThreadsShareTheirTablesOrNot) {
  // Up to two threads of at most 8192 rows build their own; the last rows of each count lie past a whole block.
  for (int64_t rows : {8192, 8193, 16384, 16450})
    check({.out_features = rows, .in_features = 36, .num_codebooks = 2, .in_group_size = 4}, 2, {1, 2, 3}, false);
}

TEST(AdditiveLutCpu, EqualsTheReferenceForBatchesOneToSeventy) {
  for (int64_t batch : {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 33, 70}) {
    check({.out_features = 100, .in_features = 64, .num_codebooks = 2}, batch, {2});   // tables a token
    check({.out_features = 1030, .in_features = 64, .num_codebooks = 2}, batch, {2});  // entries of many tokens
  }
}

TEST(AdditiveLutCpu, EqualsTheReferenceWithoutBiasAndResidual) {
  check({.out_features = 100, .in_features = 64, .num_codebooks = 2}, 5, {1}, false);
}

TEST(AdditiveLutCpu, GivesTheSameBitsForOneToSixtyFourThreadsAndAgain) {
  for (int64_t batch : {1, 2}) {  // larger batches change the method with the rows a thread has
    const AdditiveCase c({.out_features = 2500, .in_features = 128, .num_codebooks = 2}, batch, 5);
    const Packed packed(c);
    for (CpuIsa isa : levels_here()) {
      const std::vector<float> first = run(c, packed, isa, 1);
      for (int threads : {1, 2, 3, 8, 64}) ASSERT_EQ(run(c, packed, isa, threads), first) << threads;
    }
  }
}

TEST(AdditiveLutCpu, KeepsHugeTinyAndOutlierInputsWithinTheBound) {
  for (float size : {0.0F, 1e-38F, 1e-20F, 65504.0F, 1e30F}) {
    AdditiveCase c({.out_features = 90, .in_features = 256, .num_codebooks = 2}, 2, 9, false);
    for (float& value : c.x) value *= size;
    c.x[3] *= 1000;  // one group far above its block: int16 entries of its neighbours lose bits, as the bound says
    c.answer();
    const Packed packed(c);
    for (CpuIsa isa : levels_here()) expect_close(c, packed, run(c, packed, isa, 2), isa);
  }
}

TEST(AdditiveLutCpu, SaturatedTablesDoNotOverflow) {
  // Every look-up hits the largest entry of its table, so the int16 sums reach their limit exactly.
  for (int codebooks : {1, 2, 4, 16, 64}) {
    AdditiveCase c({.out_features = 64, .in_features = 512, .num_codebooks = codebooks}, 1, 3, false);
    for (float& value : c.codebooks) value = -1;
    for (float& value : c.x) value = 2;
    c.answer();
    const Packed packed(c);
    for (CpuIsa isa : levels_here()) expect_close(c, packed, run(c, packed, isa, 1), isa);
  }
}

TEST(AdditiveLutCpu, NanAndInfinityReachEveryRow) {
  for (float poison : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    AdditiveCase c({.out_features = 70, .in_features = 256, .num_codebooks = 2}, 2, 3, false);
    c.x[200] = poison;
    const Packed packed(c);
    for (CpuIsa isa : levels_here()) {
      const std::vector<float> y = run(c, packed, isa, 2);
      for (size_t o = 0; o < 70; ++o) ASSERT_FALSE(std::isfinite(y[o]));
      for (size_t o = 70; o < 140; ++o) ASSERT_TRUE(std::isfinite(y[o])) << "the other token stays clean";
    }
  }
}

TEST(AdditiveLutCpu, DequantisesAnyRangeOfRows) {
  const AdditiveCase c({.out_features = 700, .in_features = 48, .num_codebooks = 3, .nbits_per_codebook = 6}, 1, 21);
  const Packed packed(c);
  std::vector<double> dense(700 * 48);
  additive_dequantise_ref(c.shape, c.codes.data(), c.codebooks.data(), c.scales.data(), dense.data());
  AdditiveLutCpuCall call;
  call.packed_codes = packed.codes.data();
  call.packed_codebooks = packed.codebooks.data();
  call.scales = c.scales.data();
  for (int threads : {1, 3})
    for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 700}, {64, 65}, {448, 600}, {640, 700}}) {
      call.threads = threads;
      std::vector<float> weight(static_cast<size_t>((end - begin) * 48), std::nanf(""));
      additive_lut_cpu_dequantise(c.shape, call, begin, end, weight.data());
      for (size_t i = 0; i < weight.size(); ++i)
        ASSERT_NEAR(static_cast<double>(weight[i]), dense[static_cast<size_t>(begin * 48) + i], 1e-6);
    }
}

TEST(AdditiveLutCpu, RefusesWhatItHasNoTablesFor) {
  const AdditiveShape good{.out_features = 8, .in_features = 64, .num_codebooks = 2};
  EXPECT_EQ(additive_lut_cpu_supports(good), Status::kOk);
  for (auto change :
       {+[](AdditiveShape& s) { s.nbits_per_codebook = 9; }, +[](AdditiveShape& s) { s.out_group_size = 2; },
        +[](AdditiveShape& s) { s.scale_groups = 8; }, +[](AdditiveShape& s) { s.num_codebooks = 65; }}) {
    AdditiveShape bad = good;
    change(bad);
    EXPECT_EQ(additive_lut_cpu_supports(bad), Status::kUnsupportedShape);
    EXPECT_EQ(additive_lut_cpu(bad, {}), Status::kUnsupportedShape);
  }
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec
