#include "framework/model/kv_cache.h"

#include <ATen/ATen.h>

namespace aqlm_exp::model {

LayerCache make_layer_cache(int64_t batch, int64_t num_kv_heads, int64_t capacity, int64_t head_dim,
                            const at::Tensor& like) {
  const std::vector<int64_t> size = {batch, num_kv_heads, capacity, head_dim};
  return {at::zeros(size, like.options()), at::zeros(size, like.options())};
}

}  // namespace aqlm_exp::model
