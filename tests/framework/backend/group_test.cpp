#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/backend/profile.h"
#include "framework/base/error.h"
#include "framework/model/join.h"
#include "framework/model/model.h"
#include "tests/framework/backend/weights.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::backend {
namespace {

model::Model quantised_model() {
  model::Model model = test::tiny_model(1);
  for (model::Linear* linear : model.linears()) {
    linear->weight = std::const_pointer_cast<quant::Weight>(
        random_additive({2, 8, 8, 1}, linear->weight->out_features(), linear->weight->in_features()));
  }
  return model;
}

TEST(Group, GivesWhatItsLinearsGiveOneByOne) {
  const auto backend = make_backend("cpu");
  std::vector<std::shared_ptr<const LinearOp>> ops;
  for (const int64_t rows : {64, 32}) ops.push_back(backend->prepare(random_additive({2, 8, 8, 1}, rows, 64), {}));
  const auto group = backend->prepare_group(ops);
  const at::Tensor x = test::gaussian({3, 64}, 1);
  const auto y = group->forward(x);
  ASSERT_EQ(y.size(), 2u);
  EXPECT_TRUE(y[0].equal(ops[0]->forward(x)));
  EXPECT_TRUE(y[1].equal(ops[1]->forward(x)));
  EXPECT_THROW(backend->prepare_group({}), InternalError);
}

TEST(Group, IsLeftAsideOnceALinearIsObservedOrReplaced) {
  model::Model model = quantised_model();
  model.prepare(*make_backend("cpu"));
  model::DecoderBlock& block = model.blocks[0];
  ASSERT_TRUE(block.q_proj.group);
  const at::Tensor x = test::gaussian({2, block.q_proj.weight->in_features()}, 2);
  int seen = 0;
  block.k_proj.observer = [&](const at::Tensor&) { ++seen; };
  model::forward_together({&block.q_proj, &block.k_proj, &block.v_proj}, x);
  EXPECT_EQ(seen, 1);
  block.k_proj.observer = nullptr;
  const auto other = random_additive({1, 8, 8, 1}, block.k_proj.weight->out_features(), x.size(1));
  block.k_proj.op = make_backend("cpu")->prepare(other, {});
  const auto y = model::forward_together({&block.q_proj, &block.k_proj, &block.v_proj}, x);
  EXPECT_LE(((y[1] - at::linear(x, other->dequantise())).norm() / y[1].norm()).item<double>(), 2e-3);
}

TEST(Profile, FilesEveryLinearUnderItsKernel) {
  model::Model model = quantised_model();
  model.prepare(*make_backend("cpu"));
  Profile profile(at::kCPU);
  model.forward(at::zeros({1, 3}, at::kLong));
  const auto shares = profile.shares();
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_TRUE(shares[0].kernel.starts_with("cpu_lut_"));
  EXPECT_EQ(shares[0].calls, 2 * 4);  // per block: q/k/v, o, gate/up, down
  EXPECT_EQ(shares[1].kernel, "other");
  EXPECT_NEAR(shares[0].fraction + shares[1].fraction, 1.0, 1e-9);
  EXPECT_EQ(Profile::current(), &profile);
}

TEST(RandomModel, HasCodesOfItsSchemeAndActivationsOfSizeOne) {
  const checkpoint::ModelConfig config = checkpoint::load_model_config(test::embedded_model());
  model::Model model = model::random_model(config, at::kCPU, at::kFloat, 5, quant::CodeSpec{2, 8, 8, 1});
  for (const model::Linear* linear : model.linears()) {
    EXPECT_EQ(linear->weight->format(), "aqlm 2x8 g8") << linear->name;
    const double std = linear->weight->dequantise().std().item<double>();
    EXPECT_NEAR(std * std::sqrt(static_cast<double>(linear->weight->in_features())), 1.0, 0.1) << linear->name;
  }
  const model::Model again = model::random_model(config, at::kCPU, at::kFloat, 5, quant::CodeSpec{2, 8, 8, 1});
  EXPECT_TRUE(model.linears()[3]->weight->dequantise().equal(again.linears()[3]->weight->dequantise()));
  model.prepare(*make_backend("cpu"));
  EXPECT_TRUE(at::isfinite(model.forward(at::zeros({1, 4}, at::kLong))).all().item<bool>());
  EXPECT_THROW(model::random_model(config, at::kCPU, at::kFloat, 5, quant::CodeSpec{2, 8, 24, 1}), DataError);
}

TEST(ReleasedWeight, RunsButCannotBeReadAgain) {
  model::Model model = quantised_model();
  model.prepare(*make_backend("cpu"));
  const at::Tensor ids = at::zeros({1, 3}, at::kLong);
  const at::Tensor before = model.forward(ids);
  const int64_t bits = model::quantised_bits(model).total_bits();
  model.release_weights();
  EXPECT_TRUE(model.forward(ids).equal(before));
  EXPECT_EQ(model::quantised_bits(model).total_bits(), bits);
  EXPECT_THROW(model.linears()[0]->weight->dequantise(), InternalError);
}

}  // namespace
}  // namespace aqlm_exp::backend
