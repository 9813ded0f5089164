// Decoding on a GPU against the model's own forward pass. Without a GPU each test says so and is skipped.
#include "framework/generate/cuda_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "framework/backend/backend.h"
#include "framework/base/error.h"
#include "framework/generate/generate.h"
#include "framework/model/join.h"
#include "framework/trial/device.h"

namespace aqlm_exp::generate {
namespace {

#define AQLM_EXP_NEEDS_CUDA()          \
  try {                                \
    trial::open_device("cuda");        \
  } catch (const ConfigError& error) { \
    GTEST_SKIP() << error.what();      \
  }

checkpoint::ModelConfig small_config(const std::string& family) {
  return checkpoint::parse_model_config(R"({"architectures": ["X"], "model_type": ")" + family +
                                            R"(", "hidden_size": 256, "intermediate_size": 520, "num_hidden_layers": 3,
      "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 300,
      "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
      "tie_word_embeddings": false})",
                                        "test");
}

model::Model small_model(const std::string& family, at::ScalarType type, const std::string& backend = "dense") {
  model::Model model = model::random_model(small_config(family), trial::open_device("cuda"), type, 3);
  for (model::DecoderBlock& block : model.blocks) {  // biases and norms that matter
    for (at::Tensor* tensor : block.dense_tensors()) tensor->add_(at::randn_like(*tensor) * 0.1);
  }
  config::Node empty = config::Node::map();
  config::Reader reader(empty);
  model.prepare(*backend::backends().find(backend)->maker(reader));
  return model;
}

/// The largest logit less that of each token chosen, by the model's forward pass over prompt and answer.
std::vector<double> regrets(const model::Model& model, const std::vector<int32_t>& prompt,
                            const std::vector<int32_t>& answer) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> all(prompt.begin(), prompt.end());
  all.insert(all.end(), answer.begin(), answer.end());
  const at::Tensor logits = model.forward(at::tensor(all, at::kLong).unsqueeze(0).to(model.device()))[0].cpu();
  std::vector<double> out;
  for (size_t i = 0; i < answer.size(); ++i) {
    const at::Tensor row = logits[static_cast<int64_t>(prompt.size() + i) - 1];
    out.push_back((row.max() - row[answer[i]]).item<double>());
  }
  return out;
}

void check(const std::string& family, at::ScalarType type, int64_t batch, double tolerance) {
  const model::Model model = small_model(family, type);
  const DecoderOptions options{.batch = batch, .capacity = 256};
  ASSERT_EQ(cuda_decoder_refusal(model, options), "");
  const auto decoder = make_cuda_decoder(model, options);
  std::vector<std::vector<int32_t>> prompts;
  for (int64_t b = 0; b < batch; ++b) {
    prompts.emplace_back();
    for (int64_t i = 0; i < 5 + 37 * b; ++i) prompts.back().push_back(static_cast<int32_t>((i * 31 + b * 7 + 1) % 300));
  }
  const GenerateOptions asked{.max_new_tokens = 60, .sampling = SamplingOptions::greedy()};
  const auto answers = generate(*decoder, prompts, asked);
  const auto again = generate(*decoder, prompts, asked);
  for (size_t b = 0; b < prompts.size(); ++b) {
    ASSERT_EQ(answers[b].tokens.size(), 60u);
    EXPECT_EQ(answers[b].tokens, again[b].tokens) << "a decoding step is deterministic";
    for (const double regret : regrets(model, prompts[b], answers[b].tokens)) EXPECT_LE(regret, tolerance);
  }
}

// Logits have a standard deviation of about 1; a chosen token may fall short of the best by the rounding of both ways.
constexpr double kF32 = 1e-3, kF16 = 0.02, kBF16 = 0.12;

TEST(CudaDecoder, ChoosesWhatTheForwardPassChooses_f32) {
  AQLM_EXP_NEEDS_CUDA();
  check("qwen2", at::kFloat, 1, kF32);
  check("qwen2", at::kFloat, 3, kF32);
}
TEST(CudaDecoder, ChoosesWhatTheForwardPassChooses_f16) {
  AQLM_EXP_NEEDS_CUDA();
  check("qwen2", at::kHalf, 1, kF16);
  check("qwen2", at::kHalf, 4, kF16);
  check("llama", at::kHalf, 5, kF16);  // above the kernel's batch: the library's product
}
TEST(CudaDecoder, ChoosesWhatTheForwardPassChooses_bf16) {
  AQLM_EXP_NEEDS_CUDA();
  check("qwen2", at::kBFloat16, 1, kBF16);
  check("qwen3", at::kBFloat16, 2, kBF16);  // norms on heads
}

TEST(CudaDecoder, RunsAnyBackendsLinears) {
  AQLM_EXP_NEEDS_CUDA();
  const model::Model model = small_model("qwen2", at::kFloat, "dequantise");
  const auto decoder = make_cuda_decoder(model, {.batch = 1, .capacity = 100});
  const std::vector<int32_t> prompt = {1, 2, 3};
  const auto answer =
      generate(*decoder, {&prompt, 1}, {.max_new_tokens = 30, .sampling = SamplingOptions::greedy()})[0];
  for (const double regret : regrets(model, prompt, answer.tokens)) EXPECT_LE(regret, kF32);
}

TEST(CudaDecoder, DrawsTheSameTokensAsTheEagerDecoder) {
  AQLM_EXP_NEEDS_CUDA();
  const model::Model model = small_model("qwen2", at::kFloat);
  const std::vector<int32_t> prompt = {9, 8, 7, 6};
  const GenerateOptions options{
      .max_new_tokens = 40,
      .sampling = {.temperature = 0.8, .top_k = 60, .top_p = 0.95, .repetition_penalty = 1.1, .seed = 5}};
  const auto graph = make_decoder(model, {.batch = 1, .capacity = 100});
  const auto eager = make_decoder(model, {.batch = 1, .capacity = 100, .cuda_graph = false});
  EXPECT_EQ(eager->description(), "eager");
  // Sums in float32 differ in their last bits; that these move none of 40 draws is a property of the seed.
  EXPECT_EQ(generate(*graph, {&prompt, 1}, options)[0].tokens, generate(*eager, {&prompt, 1}, options)[0].tokens);
}

TEST(CudaDecoder, AConversationReusesItsCache) {
  AQLM_EXP_NEEDS_CUDA();
  const model::Model model = small_model("qwen2", at::kFloat);
  const auto decoder = make_cuda_decoder(model, {.batch = 1, .capacity = 200});
  std::vector<int32_t> held, text = {3, 14, 15, 9};
  for (int turn = 0; turn < 4; ++turn) {
    const Answer answer = continue_text(
        *decoder, held, text, {.max_new_tokens = 7, .sampling = SamplingOptions::greedy()},
        [&, count = 0](int64_t, int32_t) mutable { return turn != 1 || ++count < 4; });  // one answer is cut short
    for (const double regret : regrets(model, text, answer.tokens)) EXPECT_LE(regret, kF32) << turn;
    text.insert(text.end(), answer.tokens.begin(), answer.tokens.end());
    text.push_back(turn + 20);
  }
}

TEST(CudaDecoder, SaysWhyItCannotRunAModel) {
  AQLM_EXP_NEEDS_CUDA();
  model::Model model = small_model("qwen2", at::kFloat);
  model.blocks[0].shape.attention_softcap = 50;
  EXPECT_NE(cuda_decoder_refusal(model, {}), "");
  EXPECT_THROW(make_cuda_decoder(model, {}), ConfigError);
  EXPECT_EQ(make_decoder(model, {.batch = 1, .capacity = 64})->description(), "eager");
}

TEST(CudaDecoder, IsNotForModelsOnTheCpu) {
  const model::Model model = model::random_model(small_config("qwen2"), at::Device(at::kCPU), at::kFloat, 3);
  EXPECT_EQ(cuda_decoder_refusal(model, {}), "the model is not on a GPU");
}

}  // namespace
}  // namespace aqlm_exp::generate
