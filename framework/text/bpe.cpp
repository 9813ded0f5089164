#include "framework/text/bpe.h"

#include <fmt/format.h>

#include <bit>
#include <queue>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kScannedSymbols = 40;  // up to here scanning all pairs for the next merge beats a heap
constexpr char32_t kDirectCodePoints = 0x500;

struct Symbol {
  int32_t id;
  int32_t previous;  // index, -1 at the ends
  int32_t next;
  bool alive;
};

struct Candidate {
  int32_t rank;
  int32_t left;  // index of the left symbol
  int32_t id;    // what the pair becomes
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

class Bpe final : public Model {
 public:
  Bpe(const JsonFields& in, size_t num_added)
      : vocabulary_(in.object("vocab").json().size() + num_added), merges_(in.array("merges", kMaxMerges).size()) {
    prefix_ = in.text_or("continuing_subword_prefix", "");
    suffix_ = in.text_or("end_of_word_suffix", "");
    fuse_unknown_ = in.boolean_or("fuse_unk", false);
    byte_fallback_ = in.boolean_or("byte_fallback", false);
    ignore_merges_ = in.boolean_or("ignore_merges", false);
    if (in.has("dropout") && in.number("dropout", 0.0, 1.0) != 0.0) {
      in.fail("dropout", "RANGE", "BPE dropout makes encoding random; set it to null");
    }
    const std::string where = fmt::format("{}: {}", in.where(), in.path_of("vocab"));
    for (const auto& [token, id] : in.object("vocab").json().items()) {
      if (!id.is_number_integer() ||
          (id.is_number_unsigned() && id.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))) {
        in.fail("vocab", "TYPE",
                fmt::format("id {} of a token, need an integer from 0 to {}", json_excerpt(id), kMaxTokenId));
      }
      vocabulary_.add(token, id.get<int64_t>(), where);
      if (byte_fallback_) check_byte_token(token, where);
    }
    read_merges(in);
    bytes_ = byte_token_ids(vocabulary_);
    if (in.has("unk_token")) {
      const std::string unknown = in.text("unk_token");
      unknown_ = vocabulary_.id_of(unknown);
      if (unknown_ == kNoToken)
        in.fail("unk_token", "RANGE", fmt::format("\"{}\" is not in the vocabulary", unknown.substr(0, 60)));
    }
    direct_.assign(kDirectCodePoints, kNoToken);
    for (char32_t c = 0; c < kDirectCodePoints; ++c) {
      std::string text;
      utf8_append(text, c);
      direct_[c] = vocabulary_.id_of(text);
    }
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int32_t unknown_id() const override { return unknown_; }

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override {
    if (ignore_merges_) {
      if (const int32_t whole = vocabulary_.id_of(piece); whole != kNoToken) {
        ids.push_back(whole);
        return;
      }
    }
    const size_t first = ids.size();
    append_symbols(piece, ids);
    if (ids.size() - first <= kScannedSymbols) {
      merge_scanning(ids, first);
    } else {
      merge_with_heap(ids, first);
    }
  }

 private:
  void read_merges(const JsonFields& in) {
    int32_t rank = 0;
    std::string joined;
    for (const auto& entry : in.array("merges", kMaxMerges)) {
      std::string_view left;
      std::string_view right;
      if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        left = entry[0].get_ref<const std::string&>();
        right = entry[1].get_ref<const std::string&>();
      } else if (entry.is_string()) {  // files from before tokenizers 0.20
        const std::string& text = entry.get_ref<const std::string&>();
        const size_t blank = text.find(' ');
        if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
          in.fail("merges", "MERGE",
                  fmt::format("entry {} is {}, need two tokens with one blank between", rank, json_excerpt(entry)));
        }
        left = std::string_view(text).substr(0, blank);
        right = std::string_view(text).substr(blank + 1);
      } else {
        in.fail("merges", "TYPE", fmt::format("entry {} is {}, need a pair of tokens", rank, json_excerpt(entry)));
      }
      const int32_t left_id = vocabulary_.id_of(left);
      const int32_t right_id = vocabulary_.id_of(right);
      if (left_id == kNoToken || right_id == kNoToken) {
        in.fail(
            "merges", "MERGE",
            fmt::format("entry {} merges {}, one of which is not in the vocabulary", rank, entry.dump().substr(0, 80)));
      }
      if (right.substr(0, prefix_.size()) == prefix_) right.remove_prefix(prefix_.size());
      joined.assign(left);
      joined += right;
      const int32_t merged = vocabulary_.id_of(joined);
      if (merged == kNoToken) {
        in.fail("merges", "MERGE",
                fmt::format("entry {} makes \"{}\", which is not in the vocabulary", rank, joined.substr(0, 60)));
      }
      merges_.insert(left_id, right_id, {rank++, merged});
    }
  }

  int32_t symbol_id(std::string_view code_point, bool is_first, bool is_last) const {
    const bool plain = (is_first || prefix_.empty()) && (!is_last || suffix_.empty());
    if (plain) {
      const CodePoint c = utf8_decode(code_point, 0);
      return c.value < kDirectCodePoints ? direct_[c.value] : vocabulary_.id_of(code_point);
    }
    return vocabulary_.id_of((is_first ? "" : prefix_) + std::string(code_point) + (is_last ? suffix_ : ""));
  }

  /// One symbol a code point; unknown ones as bytes, as the unknown token, or not at all: what the model says.
  void append_symbols(std::string_view piece, std::vector<int32_t>& ids) const {
    bool pending_unknown = false;
    for (size_t offset = 0; offset < piece.size();) {
      const size_t size = utf8_decode(piece, offset).size_bytes;
      const std::string_view code_point = piece.substr(offset, size);
      const int32_t id = symbol_id(code_point, offset == 0, offset + size == piece.size());
      offset += size;
      if (id != kNoToken) {
        if (pending_unknown) ids.push_back(unknown_);
        pending_unknown = false;
        ids.push_back(id);
        continue;
      }
      if (byte_fallback_) {
        bool all = true;
        for (char c : code_point) all = all && bytes_[static_cast<unsigned char>(c)] != kNoToken;
        if (all) {
          for (char c : code_point) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
          continue;
        }
      }
      if (unknown_ == kNoToken) continue;
      if (pending_unknown && !fuse_unknown_) ids.push_back(unknown_);
      pending_unknown = true;
    }
    if (pending_unknown) ids.push_back(unknown_);
  }

  /// Merges ids[first..] in place, looking at all pairs for each merge.
  void merge_scanning(std::vector<int32_t>& ids, size_t first) const {
    size_t count = ids.size() - first;
    int32_t* symbols = ids.data() + first;
    MergeTable::Merge pairs[kScannedSymbols];
    for (size_t i = 0; i + 1 < count; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);
    while (count > 1) {
      size_t best = count;
      for (size_t i = 0; i + 1 < count; ++i) {
        if (pairs[i].rank >= 0 && (best == count || pairs[i].rank < pairs[best].rank)) best = i;
      }
      if (best == count) break;
      symbols[best] = pairs[best].id;
      for (size_t i = best + 1; i + 1 < count; ++i) symbols[i] = symbols[i + 1];
      --count;
      for (size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
      if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
      if (best + 1 < count) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
    }
    ids.resize(first + count);
  }

  /// The same with a heap over a linked list.
  void merge_with_heap(std::vector<int32_t>& ids, size_t first) const {
    const size_t count = ids.size() - first;
    std::vector<Symbol> symbols(count);
    std::vector<Candidate> start;
    start.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const auto index = static_cast<int32_t>(i);
      symbols[i] = {ids[first + i], index - 1, i + 1 < count ? index + 1 : -1, true};
    }
    const auto candidate = [&](int32_t left) {
      const int32_t right = symbols[static_cast<size_t>(left)].next;
      const MergeTable::Merge merge =
          merges_.find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
      return Candidate{merge.rank, left, merge.id};
    };
    for (size_t i = 0; i + 1 < count; ++i) {
      if (const Candidate found = candidate(static_cast<int32_t>(i)); found.rank >= 0) start.push_back(found);
    }
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{}, std::move(start));
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<size_t>(top.left)];
      if (!left.alive || left.next < 0) continue;
      Symbol& right = symbols[static_cast<size_t>(left.next)];
      const MergeTable::Merge now = merges_.find(left.id, right.id);
      if (now.rank < 0 || now.id != top.id) continue;  // one of the two was merged with another meanwhile
      left.id = now.id;
      left.next = right.next;
      right.alive = false;
      if (left.next >= 0) {
        symbols[static_cast<size_t>(left.next)].previous = top.left;
        if (const Candidate found = candidate(top.left); found.rank >= 0) queue.push(found);
      }
      if (left.previous >= 0) {
        if (const Candidate found = candidate(left.previous); found.rank >= 0) queue.push(found);
      }
    }
    size_t kept = first;
    for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next)
      ids[kept++] = symbols[static_cast<size_t>(i)].id;
    ids.resize(kept);
  }

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::string prefix_;
  std::string suffix_;
  std::vector<int32_t> bytes_;   // [256] ids of "<0x00>".."<0xFF>"
  std::vector<int32_t> direct_;  // ids of the first code points
  int32_t unknown_ = kNoToken;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

}  // namespace

MergeTable::MergeTable(size_t num_merges) : slots_(std::bit_ceil(2 * num_merges + 2)), mask_(slots_.size() - 1) {}

size_t MergeTable::slot_of(uint64_t key) const {
  uint64_t hash =
      key * 0x9E3779B97F4A7C15ULL;  // ids are bounded by the file, so nobody can fill one chain at will for long
  hash ^= hash >> 32;
  size_t slot = static_cast<size_t>(hash) & mask_;
  while (slots_[slot].key != UINT64_MAX && slots_[slot].key != key) slot = (slot + 1) & mask_;
  return slot;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = pair_key(left, right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == UINT64_MAX) slot = {key, merge};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  return slots_[slot_of(pair_key(left, right))].merge;
}

void check_byte_token(std::string_view token, std::string_view where) {
  if (token.size() < 4 || token.substr(0, 3) != "<0x" || token.back() != '>') return;
  if (token.size() == 6 && hex_digit(token[3]) >= 0 && hex_digit(token[4]) >= 0) return;
  throw DataError(fmt::format("{}: token \"{}\" looks like a byte, need <0x00> to <0xFF> with upper-case digits", where,
                              token.substr(0, 40)),
                  "K-BYTE");
}

std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids(256);
  for (size_t byte = 0; byte < 256; ++byte) ids[byte] = vocabulary.id_of(fmt::format("<0x{:02X}>", byte));
  return ids;
}

std::unique_ptr<Model> make_bpe(const JsonFields& in, size_t num_added) { return std::make_unique<Bpe>(in, num_added); }

}  // namespace aqlm_exp::text
