#include <gtest/gtest.h>

#include "kernels/decode/decode_cuda.h"
#include "tests/kernels/cuda_buffer.h"
#include "tests/kernels/decode/decode_case.h"

namespace aqlm_exp::decode {
namespace {

using kernels::CudaBuffer;
using kernels::Status;

TEST(SampleCuda, AgreesWithTheRuleOnTheHost) {
  AQLM_EXP_NEEDS_HOPPER();
  const std::vector<SampleParams> settings = {
      {},
      {.temperature = 1},
      {.temperature = 0.7F, .top_p = 0.9F},
      {.temperature = 0.7F, .top_p = 0.5F, .top_k = 40},
      {.temperature = 1.3F, .min_p = 0.05F},
      {.temperature = 1, .repetition_penalty = 1.3F, .top_k = 5},
      {.temperature = 0.01F, .top_p = 0.99F},
      {.temperature = 2, .top_p = 0.0F},
      {.temperature = 1, .top_k = 1},
  };
  const auto batch = static_cast<int64_t>(settings.size());
  for (const int64_t vocab : {1, 100, 1023, 32000, 151936}) {
    for (const float sigma : {0.2F, 3.0F}) {
      constexpr int64_t kSteps = 8;
      auto logits = normals(batch * vocab, static_cast<uint64_t>(vocab), sigma);
      std::vector<uint8_t> seen(static_cast<size_t>(batch * vocab));
      Rng rng(9);
      for (uint8_t& s : seen) s = rng.below(4) == 0;
      std::vector<double> uniforms(static_cast<size_t>(kSteps * batch));
      for (double& u : uniforms) u = rng.uniform();
      const std::vector<int64_t> positions(static_cast<size_t>(batch), 10), zero = {0};
      const CudaBuffer params(settings.data(), settings.size() * sizeof(SampleParams)),
          uniforms_d(uniforms.data(), uniforms.size() * 8), seen_d(seen.data(), seen.size()),
          ids(static_cast<size_t>(batch * 8)), positions_d(positions.data(), positions.size() * 8),
          step(zero.data(), 8), history(static_cast<size_t>(kSteps * batch * 8)), ticket(zero.data(), 4);
      std::vector<int64_t> wanted;
      for (int64_t s = 0; s < kSteps; ++s) {
        const CudaBuffer logits_d(logits.data(), logits.size() * 4);
        SampleCall call{.batch = batch, .vocab_size = vocab};
        call.logits = static_cast<float*>(logits_d.data());
        call.params = static_cast<const SampleParams*>(params.data());
        call.uniforms = static_cast<const double*>(uniforms_d.data());
        call.seen = static_cast<uint8_t*>(seen_d.data());
        call.ids = static_cast<int64_t*>(ids.data());
        call.positions = static_cast<int64_t*>(positions_d.data());
        call.step = static_cast<int64_t*>(step.data());
        call.history = static_cast<int64_t*>(history.data());
        call.ticket = static_cast<uint32_t*>(ticket.data());
        ASSERT_EQ(sample_cuda(call, {}), Status::kOk);
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        for (int64_t b = 0; b < batch; ++b) {
          std::vector<float> row(logits.begin() + b * vocab, logits.begin() + (b + 1) * vocab);
          wanted.push_back(sample_ref(settings[static_cast<size_t>(b)], vocab, row.data(), seen.data() + b * vocab,
                                      uniforms[static_cast<size_t>(s * batch + b)]));
          seen[static_cast<size_t>(b * vocab + wanted.back())] = 1;
        }
      }
      // expf of host and device may differ in the last bit, which can move one draw in a great many; none of these.
      EXPECT_EQ(history.read<int64_t>(), wanted) << vocab << " tokens, sigma " << sigma;
      EXPECT_EQ(positions_d.read<int64_t>(), std::vector<int64_t>(static_cast<size_t>(batch), 10 + kSteps));
      EXPECT_EQ(step.read<int64_t>()[0], kSteps);
      EXPECT_EQ(seen_d.read<uint8_t>(), seen);
    }
  }
}

TEST(SampleCuda, SaysMinusOneWhereThereIsNoNumber) {
  AQLM_EXP_NEEDS_HOPPER();
  const std::vector<int64_t> zero(2, 0);
  const double uniform = 0.5;
  std::vector<float> beyond(50, 1.0F);
  beyond[3] = INFINITY;
  std::vector<float> some(50, NAN);
  some[7] = -2;
  const std::vector<std::pair<std::vector<float>, int64_t>> cases = {
      {std::vector<float>(50, NAN), -1}, {std::vector<float>(50, -INFINITY), -1}, {beyond, -1}, {some, 7}};
  for (const auto& [logits, wanted] : cases) {
    for (const SampleParams& setting : {SampleParams{}, SampleParams{.temperature = 1, .top_p = 0.9F, .top_k = 9}}) {
      const CudaBuffer l(logits.data(), logits.size() * 4), p(&setting, sizeof setting), u(&uniform, 8),
          i(zero.data(), 8), pos(zero.data(), 8), step(zero.data(), 8), history(zero.data(), 8), ticket(zero.data(), 4);
      SampleCall call{.batch = 1, .vocab_size = 50};
      call.logits = static_cast<float*>(l.data()), call.params = static_cast<const SampleParams*>(p.data());
      call.uniforms = static_cast<const double*>(u.data()), call.ids = static_cast<int64_t*>(i.data());
      call.positions = static_cast<int64_t*>(pos.data()), call.step = static_cast<int64_t*>(step.data());
      call.history = static_cast<int64_t*>(history.data()), call.ticket = static_cast<uint32_t*>(ticket.data());
      ASSERT_EQ(sample_cuda(call, {}), Status::kOk);
      EXPECT_EQ(history.read<int64_t>()[0], wanted);
      EXPECT_EQ(i.read<int64_t>()[0], std::max<int64_t>(wanted, 0));
      std::vector<float> copy = logits;
      EXPECT_EQ(sample_ref(setting, 50, copy.data(), nullptr, uniform), wanted);
    }
  }
}

}  // namespace
}  // namespace aqlm_exp::decode
