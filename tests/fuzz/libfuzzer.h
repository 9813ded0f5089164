// Plugs the JSON mutation into libFuzzer; empty in the replay tests.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef AQLM_EXP_LIBFUZZER
#include <algorithm>
#include <cstring>
#include <string>

#include "framework/base/log.h"
#include "tests/fuzz/mutate_json.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  aqlm_exp::set_log_level(aqlm_exp::LogLevel::kError);
  return 0;
}

/// Half structured, half libFuzzer's own: that one also repairs the length prefix of a safetensors file.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  aqlm_exp::Rng rng(seed);
  if (rng.below(2) == 0) {
    const std::string out = aqlm_exp::fuzz::mutate_input(std::string(reinterpret_cast<const char*>(data), size), rng);
    if (out.size() <= max_size) {
      std::memcpy(data, out.data(), out.size());
      return out.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
#endif
