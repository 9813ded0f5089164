// Codes that are the integers 0, 1, 2, ... themselves. The including file defines `struct Lanes` (a vector of floats
// and what is done to it) before it includes this.
//
// A code is converted where it stands in its word: masked by an AND, it is code 2^position as an integer, and the
// inputs it meets were multiplied by 2^-position beforehand (exact), once for all rows. No shift, three
// micro-operations a vector of weights: and, convert, multiply-add. A code that ends at bit 31 is shifted down, since
// the conversion is signed.
//   S = steps of 16 columns handled as one part (steps_of_part); words are shifted once a part.
#pragma once

#include <cstring>
#include <utility>

#include "kernels/scalar_matvec/scalar_cpu_levels.h"

namespace aqlm_exp::scalar_matvec::cpu {
namespace {

/// Fetches what a block ahead holds, a little ahead into L1 and far ahead into L2 (table of 4 bits, AVX-512, 2048x4096
/// from DRAM, one Zen 4 core: 405 us without, 320 with).
template <int Bits>
inline void fetch_ahead(const uint32_t* words) {
  for (int64_t word = 0; word < kQuad * block_words(Bits); word += 16) {
    __builtin_prefetch(reinterpret_cast<const char*>(words + word) + 2048, 0, 3);
    __builtin_prefetch(reinterpret_cast<const char*>(words + word) + 8192, 0, 2);
  }
}

/// The words of one vector's lanes, shifted so that the part's first code is at bit 0.
template <int Bits>
struct Words {
  Lanes::Integers low, high;
  inline void load(const uint32_t* words, int first) {  // first: the part's first code in the block
    if constexpr (Bits == 3) {
      low = Lanes::right(Lanes::load_words(words + (first >= 16 ? 16 : 0)), 2 * (first % 16));
      high = Lanes::right(Lanes::load_words(words + 32), first);
    } else {
      low = Lanes::right(Lanes::load_words(words), Bits * first);
    }
  }
  /// Code K of the part, times 2^code_position(Bits, K).
  template <int K>
  Lanes::Integers in_place() const {
    constexpr int kWidth = Bits == 3 ? 2 : Bits, kAt = K * kWidth;
    if constexpr (kAt + kWidth == 32) {
      return Lanes::right(low, kAt);
    } else {
      const auto value = Lanes::keep(low, ((1U << kWidth) - 1) << kAt);
      if constexpr (Bits == 3)  // its high bit is bit K of the third word
        return Lanes::either(value, Lanes::keep(Lanes::left(high, kAt + 2 - K), 4U << kAt));
      else
        return value;
    }
  }
};

constexpr int kVectors = 16 / Lanes::kWidth;
/// Sums that a row's codes are added to in turn. One chain of eight multiply-adds a vector fills the scheduler of a Zen
/// 4 with what waits (int4, 2048x4096, one thread: AVX-512 273 us, two chains 252; AVX2 324 and 291).
constexpr int chains(int tokens) { return tokens == 1 && kVectors < 4 ? kVectors * 2 : kVectors; }

/// Adds a part's codes of one row, times x, to sums[token][chain].
template <int Bits, int T, int... Step>
inline void add_codes(std::integer_sequence<int, Step...>, const uint32_t* words, int first, const float* x,
                      int64_t stride, Lanes::Floats (&sums)[T][chains(T)]) {
  Words<Bits> parts[kVectors];
  for (int v = 0; v < kVectors; ++v) parts[v].load(words + v * Lanes::kWidth, first);
  const auto add = [&]<int K>(std::integral_constant<int, K>) {
    for (int v = 0; v < kVectors; ++v) {
      const auto weight = Lanes::convert(parts[v].template in_place<K>());
      for (int t = 0; t < T; ++t) {
        auto& sum = sums[t][(K * kVectors + v) % chains(T)];
        sum = Lanes::multiply_add(weight, Lanes::load(x + t * stride + K * 16 + v * Lanes::kWidth), sum);
      }
    }
  };
  (add(std::integral_constant<int, Step>()), ...);
}

/// Scales of the group at hand, and how many steps of it are left.
struct Group {
  int64_t left = 0, next = 0;
  alignas(32) float scales[8] = {};  // four scales, four zero points
};

template <int Bits, int T, int S>
inline void quad_of_integers(const Pass& p, int64_t q, int64_t token) {
  constexpr int kRows = static_cast<int>(kQuad);
  const uint32_t* words = p.codes + q * p.blocks * kRows * block_words(Bits);
  const uint16_t* scales = p.scales + q * p.groups * 8;
  const float* x = p.x_in_place + token * p.padded_inputs;
  Lanes::Floats sums[kRows][T];
  Lanes::Four offset[T] = {};  // of the four rows: - scale zero_point (sum of x), over the groups
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < kRows; ++r) sums[r][t] = Lanes::zero();
  Group group;
  const auto add_part = [&](int first) {
    if (group.left ==
        0) {  // past the last group come padded columns, whose inputs are zero: the last scales serve them
      const int64_t g = group.next < p.groups ? group.next : p.groups - 1;
      Lanes::load_halves(scales + g * 8, group.scales);
      if (group.next < p.groups)
        for (int t = 0; t < T; ++t)
          offset[t] = Lanes::less_product(offset[t], group.scales, p.x_sums[(token + t) * p.groups + g]);
      group.left = group.next + 1 >= p.groups ? INT64_MAX : p.group_size / 16;
      ++group.next;
    }
    group.left -= S;
    for (int r = 0; r < kRows; ++r) {
      Lanes::Floats part[T][chains(T)];
      for (int t = 0; t < T; ++t)
        for (int c = 0; c < chains(T); ++c) part[t][c] = Lanes::zero();
      add_codes<Bits, T>(std::make_integer_sequence<int, S>(), words + r * block_words(Bits), first, x + first * 16,
                         p.padded_inputs, part);
      const auto scale = Lanes::set(group.scales[r]);
      for (int t = 0; t < T; ++t) {
        for (int c = chains(T) / 2; c > 0; c /= 2)
          for (int i = 0; i < c; ++i) part[t][i] = Lanes::add(part[t][i], part[t][i + c]);
        sums[r][t] = Lanes::multiply_add(part[t][0], scale, sums[r][t]);
      }
    }
  };
  for (int64_t b = 0; b < p.blocks; ++b) {
    if (token == 0) fetch_ahead<Bits>(words);
    for (int first = 0; first < static_cast<int>(block_columns(Bits) / 16); first += S) add_part(first);
    words += kRows * block_words(Bits);
    x += block_columns(Bits);
  }
  for (int t = 0; t < T; ++t) {
    float offsets[kRows];
    std::memcpy(offsets, &offset[t], sizeof(offsets));
    for (int r = 0; r < kRows; ++r) finish(p, token + t, q * kQuad + r, Lanes::sum(sums[r][t]) + offsets[r]);
  }
}

template <int Bits, int S>
void quads_of_integers(const Pass& p, int64_t begin, int64_t end) {
  for (int64_t q = begin; q < end; ++q) {
    int64_t token = 0;
    if constexpr (Lanes::kMaxTokens >= 4)
      for (; token + 4 <= p.batch; token += 4) quad_of_integers<Bits, 4, S>(p, q, token);
    for (; token + 2 <= p.batch; token += 2) quad_of_integers<Bits, 2, S>(p, q, token);
    if (token < p.batch) quad_of_integers<Bits, 1, S>(p, q, token);
  }
}

template <int Bits>
void quads_of_integers(const Pass& p, int64_t begin, int64_t end) {
  switch (p.part_steps) {
    case 8:
      return quads_of_integers<Bits, 8>(p, begin, end);
    case 4:
      return quads_of_integers<Bits, 4>(p, begin, end);
    case 2:
      return quads_of_integers<Bits, 2>(p, begin, end);
    default:
      return quads_of_integers<Bits, 1>(p, begin, end);
  }
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec::cpu
