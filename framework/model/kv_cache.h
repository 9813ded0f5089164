// Keys and values of the tokens seen so far.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace aqlm_exp::model {

/// Keys and values of one block.
struct LayerCache {
  at::Tensor keys, values;  ///< [batch, num_kv_heads, capacity, head_dim] in the model's dtype
};

/// Where the next tokens go in a cache.
struct CachePlace {
  int64_t start = 0;  ///< tokens that every sequence holds
  /// [batch] int64 on the model's device: tokens that each sequence holds, where they differ. One token each comes
  /// then, and `start` is the largest of the numbers.
  at::Tensor rows = {};
};

/// Keys and values of all blocks, and how many tokens they hold.
struct KvCache {
  std::vector<LayerCache> layers;
  int64_t num_tokens = 0;
  int64_t capacity = 0;
};

/// Empty cache of one block on `like`'s device and in its dtype.
LayerCache make_layer_cache(int64_t batch, int64_t num_kv_heads, int64_t capacity, int64_t head_dim,
                            const at::Tensor& like);

}  // namespace aqlm_exp::model
