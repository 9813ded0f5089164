#include "framework/model/tensor_export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/checkpoint/expected_tensors.h"

namespace aqlm_exp::model {
namespace {

checkpoint::Dtype stored_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return checkpoint::Dtype::kF16;
    case at::kChar:
      return checkpoint::Dtype::kI8;
    case at::kByte:
      return checkpoint::Dtype::kU8;
    case at::kShort:
      return checkpoint::Dtype::kI16;
    case at::kInt:
      return checkpoint::Dtype::kI32;
    case at::kFloat:
      return checkpoint::Dtype::kF32;
    default:
      throw InternalError("[save] a tensor of a type that is not stored");
  }
}

}  // namespace

TensorExport::TensorExport(const Model& model, const std::function<void(TensorExport&, const Linear&)>& quantised)
    : model_(model), quantised_(quantised) {
  add_dense("model.embed_tokens.weight", model.embedding);
  for (size_t i = 0; i < model.blocks.size(); ++i) add_block(model.blocks[i], static_cast<int64_t>(i));
  add_norm("model.norm.weight", model.final_norm);
  if (!model.output.is_same(model.embedding)) {
    add_dense("lm_head.weight", model.output);
    dense_modules_.push_back("lm_head");
  }
}

void TensorExport::add(const std::string& name, at::ScalarType dtype, std::vector<int64_t> shape,
                       std::function<at::Tensor()> make) {
  const checkpoint::Dtype type = stored_type(dtype);
  tensors_.push_back({name, type, std::move(shape), [name, dtype, make = std::move(make)](const ByteSink& sink) {
                        const c10::NoGradGuard no_grad;
                        const at::Tensor tensor = make().to(dtype).cpu().contiguous();
                        sink({static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()});
                      }});
}

void TensorExport::add_half(const std::string& name, std::vector<int64_t> shape, std::function<at::Tensor()> make) {
  add(name, at::kHalf, std::move(shape), [name, make = std::move(make)] {
    const at::Tensor half = make().to(at::kHalf);
    if (!at::isfinite(half).all().item<bool>()) {
      throw NumericalError(
          fmt::format("[save] {}: holds values that float16 cannot (above 65504, or not finite)", name));
    }
    return half;
  });
}

void TensorExport::add_dense(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  add_half(name, tensor.sizes().vec(), [tensor] { return tensor; });
  dense_names_.push_back(name);
}

/// The loader added Gemma's one; the file is without it.
void TensorExport::add_norm(const std::string& name, const at::Tensor& tensor) {
  if (tensor.defined() && model_.config.norm_adds_one) {
    add_half(name, tensor.sizes().vec(), [tensor] { return tensor.to(at::kFloat) - 1.0; });
    dense_names_.push_back(name);
    return;
  }
  add_dense(name, tensor);
}

void TensorExport::add_linear(const Linear& linear) {
  if (!linear.weight) return;
  if (linear.weight->is_quantised()) {
    quantised_(*this, linear);
  } else {
    const auto weight = linear.weight;
    add_half(linear.name + ".weight", {weight->out_features(), weight->in_features()},
             [weight] { return weight->dequantise(); });
    dense_names_.push_back(linear.name + ".weight");
    dense_modules_.push_back(linear.name);
  }
  add_dense(linear.name + ".bias", linear.bias);
}

void TensorExport::add_block(const DecoderBlock& block, int64_t index) {
  add_norm(block.name + ".input_layernorm.weight", block.input_norm);
  for (const Linear* linear : {&block.qkv_proj, &block.q_proj, &block.k_proj, &block.v_proj}) add_linear(*linear);
  add_norm(block.name + ".self_attn.q_norm.weight", block.q_norm);
  add_norm(block.name + ".self_attn.k_norm.weight", block.k_norm);
  add_linear(block.o_proj);
  add_norm(block.name + ".post_attention_layernorm.weight", block.post_attention_norm);
  add_norm(block.name + ".pre_feedforward_layernorm.weight", block.pre_mlp_norm);
  if (!block.moe.empty()) {
    const std::string module =
        checkpoint::moe_module(model_.config, index, checkpoint::ExpertLayout::kSeparate);  // as on the hub
    add_dense(module + ".gate.weight", block.moe.router);
    dense_modules_.push_back(module + ".gate");
    for (const Expert& expert : block.moe.experts) {
      for (const Linear* linear : {&expert.gate_proj, &expert.up_proj, &expert.down_proj}) add_linear(*linear);
    }
    if (block.moe.shared) {
      for (const Linear* linear :
           {&block.moe.shared->gate_proj, &block.moe.shared->up_proj, &block.moe.shared->down_proj}) {
        add_linear(*linear);
      }
      add_dense(module + ".shared_expert_gate.weight", block.moe.shared_gate);
      dense_modules_.push_back(module + ".shared_expert_gate");
    }
  }
  for (const Linear* linear : {&block.gate_up_proj, &block.gate_proj, &block.up_proj, &block.down_proj}) {
    add_linear(*linear);
  }
  add_norm(block.name + ".post_feedforward_layernorm.weight", block.post_mlp_norm);
}

std::string export_config(const Model& model, const std::filesystem::path& source, const std::string& quantisation) {
  checkpoint::load_model_config(source);  // nothing below meets a file that has not been checked
  auto config = nlohmann::ordered_json::parse(read_regular_file(source / "config.json", uint64_t{16} << 20, "J"));
  config.erase("quantization_config");
  // A stored output layer beside tied embeddings is one of its own: loaders that tie would lose it.
  const bool own_output = !model.output.is_same(model.embedding);
  if (own_output && model.config.tie_word_embeddings) config["tie_word_embeddings"] = false;
  config["torch_dtype"] = "float16";
  if (config.contains("dtype")) config["dtype"] = "float16";
  config["quantization_config"] = nlohmann::ordered_json::parse(quantisation);
  return config.dump(2) + "\n";
}

}  // namespace aqlm_exp::model
