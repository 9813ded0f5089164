// Byte pair encoding (Sennrich et al., arXiv:1508.07909) as tokenizer.json states it: symbols are merged in the order
// of the merge list, leftmost first.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/json_fields.h"
#include "framework/text/model.h"

namespace aqlm_exp::text {

inline constexpr size_t kMaxMerges = 8'000'000;

/// Which token two neighbours become, and how early: a flat hash table, since encoding asks little else.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1;  ///< -1: the pair does not merge
    int32_t id = kNoToken;
  };
  explicit MergeTable(size_t num_merges);
  void insert(int32_t left, int32_t right, Merge merge);  ///< the first of two equal pairs stays
  Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = UINT64_MAX;
    Merge merge;
  };
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
  size_t mask_;
};

/// A BPE model. Encoding a piece of n symbols takes O(n log n) time.
std::unique_ptr<Model> make_bpe(const JsonFields& in, size_t num_added);

/// Checks that tokens written like bytes ("<0x0A>") are well-formed. @throws DataError (K-BYTE)
void check_byte_token(std::string_view token, std::string_view where);
/// The ids of "<0x00>" to "<0xFF>"; kNoToken where absent.
std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary);

}  // namespace aqlm_exp::text
