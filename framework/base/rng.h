// Seeded random numbers that are the same on every compiler and machine: xoshiro256** seeded by SplitMix64.
// Sources: Blackman and Vigna, "Scrambled linear pseudorandom number generators", arXiv:1805.01407.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace aqlm_exp {

class Rng {
 public:
  explicit Rng(uint64_t seed);
  uint64_t next();
  /// Uniform in [0, bound), without bias. bound must be >= 1.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1) with 53 random bits.
  double uniform();
  /// Standard normal (Box-Muller, one value a call).
  double normal();
  /// A random order of 0..size-1 (Fisher-Yates).
  std::vector<int64_t> permutation(int64_t size);
  /// An independent stream named by `tag` (and this generator's seed, not its state): the same whoever else drew
  /// numbers.
  Rng fork(std::string_view tag) const;
  uint64_t seed() const { return seed_; }

 private:
  uint64_t seed_;
  uint64_t state_[4];
};

}  // namespace aqlm_exp
