// config.json to the tensors it implies.
#include <cstdlib>
#include <string_view>

#include "framework/base/error.h"
#include "framework/checkpoint/expected_tensors.h"
#include "framework/checkpoint/model_config.h"
#include "tests/fuzz/libfuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto config = aqlm_exp::checkpoint::parse_model_config({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (config.windows.size() != static_cast<size_t>(config.num_layers) || config.num_heads % config.num_kv_heads != 0)
      std::abort();
    for (const auto& tensor : aqlm_exp::checkpoint::expected_tensors(config)) {
      for (int64_t dimension : tensor.shape) {
        if (dimension < 1 || dimension > int64_t{1} << 40) std::abort();
      }
    }
  } catch (const aqlm_exp::DataError& error) {
    if (error.code().empty()) std::abort();
  }
  return 0;
}
