// Entry of one libFuzzer program; CMake names the target.
#include "tests/fuzz/config/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  aqlm_exp::config::fuzz::AQLM_EXP_FUZZ_TARGET(data, size);
  return 0;
}
