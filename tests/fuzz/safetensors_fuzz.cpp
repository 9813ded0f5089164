// A whole safetensors file: header, then every byte that the header promises.
#include <cstdlib>
#include <span>

#include "framework/base/error.h"
#include "framework/checkpoint/safetensors.h"
#include "tests/fuzz/libfuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto header = aqlm_exp::checkpoint::parse_safetensors(file, "fuzz");
    uint64_t covered = 0;
    unsigned sum = 0;
    for (const auto& info : header.tensors) {
      if (info.offset > size || info.size_bytes > size - info.offset) std::abort();
      const auto bits = static_cast<uint64_t>(info.num_elements()) *
                        static_cast<uint64_t>(aqlm_exp::checkpoint::dtype_bits(info.dtype));
      if (bits != 8 * info.size_bytes) std::abort();
      covered += info.size_bytes;
      for (std::byte byte : file.subspan(info.offset, info.size_bytes)) sum += static_cast<unsigned>(byte);
    }
    if (covered > size) std::abort();
    if (sum == 0xFFFFFFFFU) std::abort();  // keeps the reads from being removed
  } catch (const aqlm_exp::DataError& error) {
    if (error.code().empty()) std::abort();  // every refusal has a code
  }
  return 0;
}
