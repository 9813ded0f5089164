#include "framework/quant/bitpack.h"

#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::quant {
namespace {

void check_nbits(int64_t nbits) {
  if (nbits < 1 || nbits > 16) throw DataError(fmt::format("[bitpack] nbits {}: need 1 to 16", nbits));
}

}  // namespace

std::vector<uint8_t> pack_bits(std::span<const int32_t> codes, int64_t nbits) {
  check_nbits(nbits);
  const auto count = static_cast<int64_t>(codes.size());
  std::vector<uint8_t> packed(static_cast<size_t>(packed_size_bytes(count, nbits)), 0);
  uint64_t buffer = 0;
  int64_t held = 0;
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t code = codes[static_cast<size_t>(i)];
    if (code < 0 || code >= (int32_t{1} << nbits)) {
      throw DataError(fmt::format("[bitpack] code {} at {}: need 0 to {}", code, i, (int32_t{1} << nbits) - 1));
    }
    buffer |= static_cast<uint64_t>(code) << held;
    for (held += nbits; held >= 8; held -= 8, buffer >>= 8) packed[at++] = static_cast<uint8_t>(buffer);
  }
  if (held > 0) packed[at] = static_cast<uint8_t>(buffer);
  return packed;
}

std::vector<int32_t> unpack_bits(std::span<const uint8_t> packed, int64_t count, int64_t nbits) {
  check_nbits(nbits);
  if (static_cast<int64_t>(packed.size()) < packed_size_bytes(count, nbits)) {
    throw DataError(fmt::format("[bitpack] {} bytes for {} codes of {} bits: need {}", packed.size(), count, nbits,
                                packed_size_bytes(count, nbits)));
  }
  std::vector<int32_t> codes(static_cast<size_t>(count));
  uint64_t buffer = 0;
  int64_t held = 0;
  size_t at = 0;
  for (int32_t& code : codes) {
    for (; held < nbits; held += 8) buffer |= static_cast<uint64_t>(packed[at++]) << held;
    code = static_cast<int32_t>(buffer & ((uint64_t{1} << nbits) - 1));
    buffer >>= nbits;
    held -= nbits;
  }
  return codes;
}

}  // namespace aqlm_exp::quant
