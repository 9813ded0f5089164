// Codes that are the integers 0, 1, 2, ... themselves. The including file defines `struct Lanes` (a vector of floats
// and what is done to it) before it includes this.
//
// A code is converted where it stands in its word: masked by an AND, it is code 2^position as an integer, and the
// inputs it meets were multiplied by 2^-position beforehand (exact), once for all rows. No shift, three
// micro-operations a vector of weights: and, convert, multiply-add. The top code of a word is shifted down, since the
// conversion is signed.
//   S = steps of 16 columns handled as one: those of a block, or fewer where a group of scales ends inside it.
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

/// Code K of a block's lanes, times 2^position_of(Bits, K). `words`: the row's part of the block, at the vector's
/// lanes.
template <int Bits, int K>
inline Lanes::Integers code_in_place(const uint32_t* words) {
  constexpr int kSlot = Bits == 3 ? K % 16 : K;
  constexpr int kWidth = Bits == 3 ? 2 : Bits;
  constexpr int kShift = kSlot * kWidth, kTop = 32 - kWidth;
  const auto low = Lanes::load_words(words + (Bits == 3 && K >= 16 ? 16 : 0));
  const auto value =
      kShift == kTop ? Lanes::template right<kTop>(low) : Lanes::keep(low, ((1U << kWidth) - 1) << kShift);
  if constexpr (Bits != 3) {
    return value;
  } else {  // the high bit of code K is bit K of the third word
    constexpr int kTo = (kShift == kTop ? 0 : kShift) + 2;
    const auto high = Lanes::load_words(words + 32);
    if constexpr (kTo >= K)
      return Lanes::either(value, Lanes::keep(Lanes::template left<kTo - K>(high), 1U << kTo));
    else
      return Lanes::either(value, Lanes::keep(Lanes::template right<K - kTo>(high), 1U << kTo));
  }
}

constexpr int kVectors = 16 / Lanes::kWidth;
/// Sums that a row's codes are added to in turn. One chain of eight multiply-adds a vector fills the scheduler of a Zen
/// 4 with what waits (int4, 2048x4096, one thread: AVX-512 273 us, two chains 252; AVX2 324 and 291).
constexpr int chains(int tokens) { return tokens == 1 && kVectors < 4 ? kVectors * 2 : kVectors; }

/// Adds codes Begin to Begin + sizeof...(Step) - 1 of one row's block, times x, to sums[token][chain].
template <int Bits, int T, int Begin, int... Step>
inline void add_codes(std::integer_sequence<int, Step...>, const uint32_t* words, const float* x, int64_t stride,
                      Lanes::Floats (&sums)[T][chains(T)]) {
  const auto add = [&]<int K>(std::integral_constant<int, K>) {
    for (int v = 0; v < kVectors; ++v) {
      const auto weight = Lanes::convert(code_in_place<Bits, K>(words + v * Lanes::kWidth));
      for (int t = 0; t < T; ++t) {
        auto& sum = sums[t][(K * kVectors + v) % chains(T)];
        sum = Lanes::multiply_add(weight, Lanes::load(x + t * stride + K * 16 + v * Lanes::kWidth), sum);
      }
    }
  };
  (add(std::integral_constant<int, Begin + Step>()), ...);
}

/// Scales of the group at hand, and how many steps of it are left.
struct Group {
  int64_t left = 0, next = 0;
  alignas(32) float scales[8] = {};  // four scales, four zero points
};

template <int Bits, int T, int S, int... Part>
inline void quad_of_integers(std::integer_sequence<int, Part...>, const Pass& p, int64_t q, int64_t token) {
  constexpr int kRows = static_cast<int>(kQuad);
  const uint32_t* words = p.codes + q * p.blocks * kRows * block_words(Bits);
  const uint16_t* scales = p.scales + q * p.groups * 8;
  const float* x = p.x_in_place + token * p.padded_inputs;
  Lanes::Floats sums[kRows][T];
  Lanes::Four offset[T] = {};  // of the four rows: - scale zero_point (sum of x), over the groups
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < kRows; ++r) sums[r][t] = Lanes::zero();
  Group group;
  const auto add_part = [&]<int P>(std::integral_constant<int, P>) {
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
      add_codes<Bits, T, P * S>(std::make_integer_sequence<int, S>(), words + r * block_words(Bits), x, p.padded_inputs,
                                part);
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
    (add_part(std::integral_constant<int, Part>()), ...);
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
  constexpr auto kParts = std::make_integer_sequence<int, static_cast<int>(block_columns(Bits) / 16) / S>();
  for (int64_t q = begin; q < end; ++q) {
    int64_t token = 0;
    for (; token + 4 <= p.batch; token += 4) quad_of_integers<Bits, 4, S>(kParts, p, q, token);
    if (p.batch - token >= 2) {
      quad_of_integers<Bits, 2, S>(kParts, p, q, token);
      token += 2;
    }
    if (token < p.batch) quad_of_integers<Bits, 1, S>(kParts, p, q, token);
  }
}

template <int Bits>
void quads_of_integers(const Pass& p, int64_t begin, int64_t end) {
  const int64_t steps = p.groups == 1 ? 8 : p.group_size / 16;
  if (steps % 8 == 0)
    quads_of_integers<Bits, 8>(p, begin, end);
  else if (steps % 2 == 0)
    quads_of_integers<Bits, 2>(p, begin, end);
  else
    quads_of_integers<Bits, 1>(p, begin, end);
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec::cpu
