#include "tests/framework/support/models.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "tests/framework/support/layers.h"

namespace aqlm_exp::test {
namespace {

namespace fs = std::filesystem;

fs::path shared_root() {
  const char* named = std::getenv("AQLM_EXP_SHARED");
  return named != nullptr && *named != '\0' ? fs::path(named) : fs::path(AQLM_EXP_SOURCE_DIR) / ".." / "shared";
}

}  // namespace

fs::path embedded_model() { return fs::path(AQLM_EXP_SOURCE_DIR) / "models" / "qwen2-5m"; }

fs::path shared_file(const std::string& name) {
  const fs::path path = shared_root() / name;
  return fs::exists(path) ? path : fs::path();
}

fs::path shared_model(const std::string& name) {
  const fs::path archive = shared_file("models/" + name + ".tar.xz");
  if (archive.empty()) return {};
  const fs::path parent = fs::path(AQLM_EXP_BINARY_DIR) / "test-models";
  const fs::path folder = parent / name;
  if (fs::exists(folder / "config.json")) return folder;
  const fs::path staging = parent / fmt::format("{}.tmp-{}", name, ::getpid());  // two tests may unpack at once
  fs::create_directories(staging);
  const std::string command = fmt::format("tar xf '{}' -C '{}'", archive.string(), staging.string());
  if (std::system(command.c_str()) != 0) return {};
  std::error_code taken;
  fs::rename(staging / name, folder, taken);
  fs::remove_all(staging);
  return folder;
}

std::string skip_reason() {
  return fmt::format("no shared material at {}; set AQLM_EXP_SHARED", shared_root().string());
}

std::string test_python(const std::string& modules, const char* variable) {
  std::string python;
  if (const char* named = std::getenv(variable); named != nullptr && *named != '\0') {
    python = named;
  } else {
    std::ifstream file(fs::path(AQLM_EXP_BINARY_DIR) / "test-python");
    std::getline(file, python);
  }
  if (python.empty() || !fs::exists(python)) return {};
  const std::string probe = fmt::format("'{}' -c 'import {}' 2> /dev/null", python, modules);
  return std::system(probe.c_str()) == 0 ? python : std::string();
}

model::Model tiny_model(uint64_t seed) {
  constexpr int64_t kHidden = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kMlp = 64, kVocab = 50;
  model::Model model;
  model.config.model_type = "qwen2";
  model.config.hidden_size = kHidden;
  model.config.vocab_size = kVocab;
  model.config.num_layers = 2;
  model.config.rms_norm_eps = 1e-6;
  uint64_t next = seed * 1000;
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return gaussian({rows, columns}, ++next) / std::sqrt(static_cast<double>(columns));
  };
  const auto linear = [&](const std::string& block, const std::string& role, int64_t out, int64_t in, bool bias) {
    model::Linear made;
    made.name = block + "." + role;
    made.role = role;
    made.weight = std::make_shared<quant::DenseWeight>(matrix(out, in));
    if (bias) made.bias = gaussian({out}, ++next) * 0.1;
    return made;
  };
  model.embedding = gaussian({kVocab, kHidden}, ++next);
  model.output = model.embedding;
  model.final_norm = at::ones({kHidden});
  model.rotary = std::make_shared<model::RotaryEmbedding>(kHeadDim, 10000.0, 64, at::kCPU);
  for (int64_t i = 0; i < model.config.num_layers; ++i) {
    model::DecoderBlock block;
    block.name = fmt::format("model.layers.{}", i);
    block.shape = {kHeads, kKvHeads, kHeadDim, 1e-6};
    block.q_proj = linear(block.name, "q_proj", kHeads * kHeadDim, kHidden, true);
    block.k_proj = linear(block.name, "k_proj", kKvHeads * kHeadDim, kHidden, true);
    block.v_proj = linear(block.name, "v_proj", kKvHeads * kHeadDim, kHidden, true);
    block.o_proj = linear(block.name, "o_proj", kHidden, kHeads * kHeadDim, false);
    block.gate_proj = linear(block.name, "gate_proj", kMlp, kHidden, false);
    block.up_proj = linear(block.name, "up_proj", kMlp, kHidden, false);
    block.down_proj = linear(block.name, "down_proj", kHidden, kMlp, false);
    block.input_norm = at::ones({kHidden}) + 0.1 * gaussian({kHidden}, ++next);
    block.post_attention_norm = at::ones({kHidden}) + 0.1 * gaussian({kHidden}, ++next);
    model.blocks.push_back(std::move(block));
  }
  return model;
}

}  // namespace aqlm_exp::test
