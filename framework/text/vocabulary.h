// Tokens and their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace aqlm_exp::text {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

inline constexpr size_t kMaxTokens = 4'000'000;
inline constexpr size_t kMaxTokenBytes = 4096;
inline constexpr int64_t kMaxTokenId = (1 << 24) - 1;
inline constexpr int32_t kNoToken = -1;

/// A two-way table. Ids are unique; at most half of those up to the largest may be unused.
class Vocabulary {
 public:
  /// @param num_tokens  how many will be added: bounds the ids, and with them the memory, before the first one is seen
  explicit Vocabulary(size_t num_tokens) : id_bound_(2 * num_tokens) {}
  /// @throws DataError: K-TOKEN (too long), K-ID (negative, too large, taken, or too far from dense), K-LIMIT (too
  /// many)
  void add(std::string_view token, int64_t id, std::string_view where);

  int32_t id_of(std::string_view token) const;  ///< kNoToken if absent
  bool has_id(int64_t id) const { return id >= 0 && id < max_id_ + 1 && tokens_[static_cast<size_t>(id)] != nullptr; }
  /// The token of an id that exists.
  const std::string& token(int64_t id) const { return *tokens_[static_cast<size_t>(id)]; }
  size_t size() const { return ids_.size(); }
  int64_t max_id() const { return max_id_; }  ///< -1 if empty

 private:
  std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // keys of ids_, which do not move
  int64_t max_id_ = -1;
  size_t id_bound_;
};

}  // namespace aqlm_exp::text
