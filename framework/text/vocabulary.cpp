#include "framework/text/vocabulary.h"

#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text {

void Vocabulary::add(std::string_view token, int64_t id, std::string_view where) {
  const auto name = [&] { return std::string(token.substr(0, utf8_valid_prefix(token.substr(0, 60)))); };
  if (token.size() > kMaxTokenBytes) {
    throw DataError(
        fmt::format("{}: token \"{}...\" of {} bytes, need at most {}", where, name(), token.size(), kMaxTokenBytes),
        "K-TOKEN");
  }
  if (id < 0 || id > kMaxTokenId) {
    throw DataError(fmt::format("{}: token \"{}\" has id {}, need 0 to {}", where, name(), id, kMaxTokenId), "K-ID");
  }
  if (static_cast<uint64_t>(id) >= id_bound_) {
    throw DataError(
        fmt::format("{}: token \"{}\" has id {}, but there are only {} tokens; ids may leave at most half unused",
                    where, name(), id, id_bound_ / 2),
        "K-ID");
  }
  if (ids_.size() >= kMaxTokens) throw DataError(fmt::format("{}: more than {} tokens", where, kMaxTokens), "K-LIMIT");
  if (has_id(id)) {
    throw DataError(
        fmt::format("{}: id {} belongs to \"{}\" and to \"{}\"", where, id, this->token(id).substr(0, 60), name()),
        "K-ID");
  }
  const auto [place, inserted] = ids_.emplace(token, static_cast<int32_t>(id));
  if (!inserted) {
    throw DataError(fmt::format("{}: token \"{}\" has the ids {} and {}", where, name(), place->second, id), "K-ID");
  }
  if (id > max_id_) {
    max_id_ = id;
    tokens_.resize(static_cast<size_t>(id) + 1, nullptr);
  }
  tokens_[static_cast<size_t>(id)] = &place->first;
}

int32_t Vocabulary::id_of(std::string_view token) const {
  const auto place = ids_.find(token);
  return place == ids_.end() ? kNoToken : place->second;
}

}  // namespace aqlm_exp::text
