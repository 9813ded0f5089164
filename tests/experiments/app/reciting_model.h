// A model folder that recites a text: its layers add nothing, its output layer maps each token to the one that follows
// it in the text. Tokens are pieces of two bytes and a little more, so that most of them end within a character.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "framework/base/utf8.h"
#include "framework/checkpoint/safetensors.h"

namespace aqlm_exp::app {

/// A byte as tokenizer.json writes it (GPT-2's table).
inline std::string byte_character(unsigned char byte) {
  char32_t value = byte;
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  if (!printable(byte)) {
    int rank = 0;
    for (int b = 0; b < byte; ++b) rank += !printable(b);
    value = static_cast<char32_t>(256 + rank);
  }
  std::string out;
  utf8_append(out, value);
  return out;
}

/// @param start the prompt's last byte: what comes after it is the text, and then the end
inline void write_reciting_model(const std::filesystem::path& folder, char start, const std::string& text) {
  std::filesystem::create_directories(folder);
  std::vector<std::string> pieces;
  std::set<std::string> used;
  for (size_t i = 0; i < text.size();) {
    size_t size = std::min<size_t>(2, text.size() - i);
    while (i + size < text.size() && used.contains(text.substr(i, size))) ++size;
    pieces.push_back(text.substr(i, size));
    used.insert(pieces.back());
    i += size;
  }
  nlohmann::json vocab = nlohmann::json::object();
  std::map<std::string, int64_t> id_of;
  for (int b = 0; b < 256; ++b) {
    vocab[byte_character(static_cast<unsigned char>(b))] = b;
    id_of[std::string(1, static_cast<char>(b))] = b;
  }
  std::vector<int64_t> chain = {static_cast<unsigned char>(start)};
  int64_t next_id = 256;
  for (const std::string& piece : pieces) {
    if (!id_of.contains(piece)) {
      std::string written;
      for (const char c : piece) written += byte_character(static_cast<unsigned char>(c));
      vocab[written] = next_id;
      id_of[piece] = next_id++;
    }
    chain.push_back(id_of[piece]);
  }
  const int64_t end = next_id++;
  chain.push_back(end);
  const int64_t vocab_size = next_id, hidden = (vocab_size + 63) / 64 * 64;
  nlohmann::json tokenizer = {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", end},
         {"content", "<|end|>"},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false},
         {"special", true}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", nlohmann::json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
  const nlohmann::json config = {{"architectures", {"Qwen2ForCausalLM"}},
                                 {"model_type", "qwen2"},
                                 {"hidden_size", hidden},
                                 {"intermediate_size", 8},
                                 {"num_hidden_layers", 1},
                                 {"num_attention_heads", hidden / 64},
                                 {"num_key_value_heads", hidden / 64},
                                 {"max_position_embeddings", 1024},
                                 {"rms_norm_eps", 1e-6},
                                 {"rope_theta", 10000.0},
                                 {"tie_word_embeddings", false},
                                 {"hidden_act", "silu"},
                                 {"vocab_size", vocab_size},
                                 {"eos_token_id", end}};
  std::ofstream(folder / "config.json") << config.dump();

  std::vector<checkpoint::TensorToWrite> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    tensors.push_back({name, checkpoint::Dtype::kF32, std::move(shape),
                       [values](const ByteSink& sink) { sink(std::as_bytes(std::span<const float>(values))); }});
  };
  const auto constant = [&](const std::string& name, std::vector<int64_t> shape, float value) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    add(name, std::move(shape), std::vector<float>(static_cast<size_t>(count), value));
  };
  std::vector<float> embedding(static_cast<size_t>(vocab_size * hidden), 0.0F), output = embedding;
  for (int64_t t = 0; t < vocab_size; ++t) embedding[static_cast<size_t>(t * hidden + t)] = 1;
  for (size_t i = 0; i + 1 < chain.size(); ++i) output[static_cast<size_t>(chain[i + 1] * hidden + chain[i])] = 10;
  add("model.embed_tokens.weight", {vocab_size, hidden}, embedding);
  add("lm_head.weight", {vocab_size, hidden}, output);
  constant("model.norm.weight", {hidden}, 1);
  const std::string block = "model.layers.0.";
  constant(block + "input_layernorm.weight", {hidden}, 1);
  constant(block + "post_attention_layernorm.weight", {hidden}, 1);
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    constant(block + "self_attn." + name + ".weight", {hidden, hidden}, 0);
    constant(block + "self_attn." + name + ".bias", {hidden}, 0);
  }
  constant(block + "self_attn.o_proj.weight", {hidden, hidden}, 0);
  constant(block + "mlp.gate_proj.weight", {8, hidden}, 0);
  constant(block + "mlp.up_proj.weight", {8, hidden}, 0);
  constant(block + "mlp.down_proj.weight", {hidden, 8}, 0);
  checkpoint::write_safetensors(folder / "model.safetensors", tensors);
}

}  // namespace aqlm_exp::app
