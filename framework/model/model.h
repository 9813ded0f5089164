// A decoder-only language model: embedding, blocks, final norm, output layer. In float32 unless loaded otherwise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "framework/checkpoint/model_config.h"
#include "framework/model/decoder_block.h"
#include "framework/model/kv_cache.h"

namespace aqlm_exp::model {

class Model {
 public:
  checkpoint::ModelConfig config;
  at::Tensor embedding;  ///< [vocab_size, hidden_size]
  std::vector<DecoderBlock> blocks;
  at::Tensor final_norm;  ///< [hidden_size]
  at::Tensor output;      ///< [vocab_size, hidden_size]; the embedding itself when tied
  std::shared_ptr<const RotaryEmbedding> rotary;

  /// @param ids [batch, tokens] int64 → [batch, tokens, hidden_size] in the model's dtype
  at::Tensor embed(const at::Tensor& ids) const;
  /// Final norm and output layer. @param hidden [..., hidden_size] → [..., vocab_size] float32
  at::Tensor logits(const at::Tensor& hidden) const;
  /// @param ids [batch, tokens] int64 → [batch, tokens, vocab_size] float32
  at::Tensor forward(const at::Tensor& ids) const;

  KvCache make_cache(int64_t batch, int64_t capacity) const;
  /// Hidden states of the next tokens, which join the cache. @throws DataError if they do not fit its capacity
  /// @param ids [batch, tokens] int64 → [batch, tokens, hidden_size] in the model's dtype, before the final norm
  at::Tensor forward_cached(const at::Tensor& ids, KvCache& cache) const;
  /// The same for one token a sequence, of sequences that hold `lengths` tokens; cache.num_tokens is not looked at.
  /// @param ids [batch, 1] int64 → [batch, 1, hidden_size]
  at::Tensor forward_rows(const at::Tensor& ids, KvCache& cache, const std::vector<int64_t>& lengths) const;

  /// Every linear of every block, in order.
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;
  at::Device device() const { return embedding.device(); }

  /// A model that shares no quantisable state with this one: weights are replaced, never changed, by methods that
  /// assign Linear::weight; norms and biases are copied.
  Model clone() const;

  /// Has `backend` prepare every linear, and those that share an input together. Needed before evaluation; undone by
  /// clear_ops(). @param batch tokens of a decoding step that backends which measure should look at
  void prepare(const backend::Backend& backend, int64_t batch = 1);
  void clear_ops();
  /// Lets go of the weights behind operations that hold all they need: only the backend's own copies stay in memory.
  /// Such a model runs, but cannot be prepared, quantised or stored again.
  void release_weights();
  /// Bytes of weights held while the model runs: linears as prepared, embedding, output, norms, biases and routers as
  /// held.
  int64_t resident_bytes() const;
};

/// Sum of the audited bits of the quantised linears.
quant::BitCount quantised_bits(const Model& model);
/// Bits of everything: quantised linears as audited, all other tensors at their stored precision.
quant::BitCount model_bits(const Model& model);

struct LoadOptions {
  /// float32, float16 or bfloat16: of activations, embedding, norms (Gemma's stay float32) and dense weights. Codebooks
  /// and scales of quantised linears are float32 in any case.
  at::ScalarType dtype = at::ScalarType::Float;
  /// Dense linears stay in their file and are read at each use (MappedWeight): for models larger than the memory.
  bool stream = false;
};

/// Loads a Hugging Face folder (config.json + safetensors, single or sharded, bf16/fp16/fp32) on `device`.
/// Everything is checked before anything is allocated. @throws DataError naming file, tensor and reason
Model load_model(const std::filesystem::path& folder, at::Device device, const LoadOptions& options = {});

}  // namespace aqlm_exp::model
