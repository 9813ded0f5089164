// Packs unsigned codes of 1 to 16 bits into a dense little-endian bit stream, least significant bit first.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace aqlm_exp::quant {

/// Bytes that `count` codes of `nbits` take: the stream is padded to a whole byte.
constexpr int64_t packed_size_bytes(int64_t count, int64_t nbits) { return (count * nbits + 7) / 8; }

/// @throws DataError if nbits is not in 1..16 or a code does not fit
std::vector<uint8_t> pack_bits(std::span<const int32_t> codes, int64_t nbits);
/// @throws DataError if nbits is not in 1..16 or `packed` is too short for `count` codes
std::vector<int32_t> unpack_bits(std::span<const uint8_t> packed, int64_t count, int64_t nbits);

}  // namespace aqlm_exp::quant
