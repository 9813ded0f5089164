#include "framework/text/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/utf8.h"
#include "framework/text/bpe.h"
#include "framework/text/pieces.h"

namespace aqlm_exp::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the lowest score, as SentencePiece and Hugging Face's library do
constexpr size_t kMaxStepsPerByte = 256;  // tokens of published vocabularies have a few dozen bytes at most

class Unigram final : public Model {
 public:
  Unigram(const JsonFields& in, size_t num_added) : vocabulary_(in.array("vocab", kMaxTokens).size() + num_added) {
    byte_fallback_ = in.boolean_or("byte_fallback", false);
    const std::string where = fmt::format("{}: {}", in.where(), in.path_of("vocab"));
    int64_t id = 0;
    for (const auto& entry : in.array("vocab", kMaxTokens)) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
        in.fail("vocab", "TYPE", fmt::format("entry {} is {}, need [token, score]", id, json_excerpt(entry)));
      }
      const std::string& token = entry[0].get_ref<const std::string&>();
      const double score = entry[1].get<double>();
      if (!std::isfinite(score)) in.fail("vocab", "RANGE", fmt::format("entry {}: score is not finite", id));
      vocabulary_.add(token, id++, where);
      if (byte_fallback_) check_byte_token(token, where);
      scores_.push_back(score);
    }
    if (scores_.empty()) in.fail("vocab", "RANGE", "is empty");
    lowest_score_ = *std::min_element(scores_.begin(), scores_.end());
    if (in.has("unk_id")) unknown_ = static_cast<int32_t>(in.integer("unk_id", 0, id - 1));
    bytes_ = byte_token_ids(vocabulary_);
    sorted_.resize(scores_.size());
    for (size_t i = 0; i < sorted_.size(); ++i) sorted_[i] = static_cast<int32_t>(i);
    std::sort(sorted_.begin(), sorted_.end(),
              [&](int32_t a, int32_t b) { return vocabulary_.token(a) < vocabulary_.token(b); });
    build_trie();
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int32_t unknown_id() const override { return unknown_; }

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override {
    struct Node {
      double score = 0.0;
      size_t start = std::string::npos;  // npos: no path ends here
      int32_t id = kNoToken;
    };
    const double unknown_score = lowest_score_ - kUnknownPenalty;
    std::vector<Node> best(piece.size() + 1);
    size_t steps_left = kMaxStepsPerByte * piece.size() + (1 << 20);
    for (size_t at = 0; at < piece.size();) {
      const double score_here = best[at].score;
      const size_t size = utf8_decode(piece, at).size_bytes;
      bool has_single = false;
      uint32_t node = 0;
      for (size_t end = at; end < piece.size();) {
        node = child(node, piece[end]);
        if (node == 0) break;
        ++end;
        if (--steps_left == 0) {
          throw DataError(
              fmt::format("tokenizer: more than {} steps a byte on a text of {} bytes; its vocabulary holds long "
                          "tokens with a common start",
                          kMaxStepsPerByte, piece.size()),
              "K-LIMIT");
        }
        const int32_t id = nodes_[node].id;
        if (id == kNoToken) continue;
        const double score = score_here + scores_[static_cast<size_t>(id)];
        if (best[end].start == std::string::npos || score > best[end].score) best[end] = {score, at, id};
        has_single |= end - at == size;
      }
      if (!has_single) {
        Node& next = best[at + size];
        const double score = score_here + unknown_score;
        if (next.start == std::string::npos || score > next.score) next = {score, at, unknown_};
      }
      at += size;
    }
    // Backwards along the best path; neighbouring unknown stretches become one.
    std::vector<std::pair<Range, int32_t>> path;
    for (size_t end = piece.size(); end > 0;) {
      const Node& node = best[end];
      const bool is_unknown = node.id == kNoToken || node.id == unknown_;
      if (is_unknown && !path.empty() && path.back().second == kNoToken) {
        path.back().first.begin = node.start;
      } else {
        path.push_back({{node.start, end}, is_unknown ? kNoToken : node.id});
      }
      end = node.start;
    }
    for (auto step = path.rbegin(); step != path.rend(); ++step) {
      if (step->second != kNoToken) {
        ids.push_back(step->second);
      } else {
        append_unknown(piece.substr(step->first.begin, step->first.end - step->first.begin), ids);
      }
    }
  }

 private:
  struct TrieNode {
    uint32_t first_edge = 0;  // into edges_, sorted by byte
    uint32_t num_edges = 0;
    int32_t id = kNoToken;
  };
  struct Edge {
    unsigned char byte;
    uint32_t node;
  };

  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
    if (const int32_t id = vocabulary_.id_of(text); id != kNoToken) {
      ids.push_back(id);
      return;
    }
    if (byte_fallback_) {
      bool all = true;
      for (char c : text) all = all && bytes_[static_cast<unsigned char>(c)] != kNoToken;
      if (all) {
        for (char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
        return;
      }
    }
    if (unknown_ == kNoToken) {
      throw DataError(fmt::format("tokenizer: \"{}\" is not in the vocabulary, and unk_id names no token for that",
                                  text.substr(0, utf8_valid_prefix(text.substr(0, 40)))),
                      "K-UNK");
    }
    ids.push_back(unknown_);
  }

  /// Breadth first over the sorted tokens, so that the edges of a node lie side by side. Node 0 is the root.
  void build_trie() {
    struct Pending {
      size_t begin;  // tokens sorted_[begin, end) share the first `depth` bytes
      size_t end;
      size_t depth;
    };
    std::vector<Pending> pending = {{0, sorted_.size(), 0}};
    nodes_.push_back({});
    for (size_t index = 0; index < pending.size(); ++index) {
      auto [begin, end, depth] = pending[index];
      const auto token = [&](size_t i) -> const std::string& { return vocabulary_.token(sorted_[i]); };
      if (begin < end && token(begin).size() == depth) {
        if (depth > 0) nodes_[index].id = sorted_[begin];
        ++begin;
      }
      nodes_[index].first_edge = static_cast<uint32_t>(edges_.size());
      while (begin < end) {
        const char byte = token(begin)[depth];
        size_t last = begin;
        while (last < end && token(last)[depth] == byte) ++last;
        edges_.push_back({static_cast<unsigned char>(byte), static_cast<uint32_t>(nodes_.size())});
        nodes_.push_back({});
        pending.push_back({begin, last, depth + 1});
        begin = last;
      }
      nodes_[index].num_edges = static_cast<uint32_t>(edges_.size()) - nodes_[index].first_edge;
    }
  }

  /// 0 if there is none.
  uint32_t child(uint32_t node, char byte) const {
    const auto* first = edges_.data() + nodes_[node].first_edge;
    const auto* last = first + nodes_[node].num_edges;
    const auto* edge = std::lower_bound(first, last, static_cast<unsigned char>(byte),
                                        [](const Edge& a, unsigned char b) { return a.byte < b; });
    return edge != last && edge->byte == static_cast<unsigned char>(byte) ? edge->node : 0;
  }

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  std::vector<int32_t> sorted_;
  std::vector<TrieNode> nodes_;
  std::vector<Edge> edges_;
  std::vector<int32_t> bytes_;
  double lowest_score_ = 0.0;
  int32_t unknown_ = kNoToken;
  bool byte_fallback_ = false;
};

}  // namespace

std::unique_ptr<Model> make_unigram(const JsonFields& in, size_t num_added) {
  return std::make_unique<Unigram>(in, num_added);
}

std::unique_ptr<Model> make_model(const JsonFields& in, size_t num_added) {
  // Files of tokenizers before 0.9 name no type for BPE.
  const std::string type = in.has("type") ? in.text("type") : in.has("merges") ? "BPE" : "Unigram";
  if (type == "BPE") return make_bpe(in, num_added);
  if (type == "Unigram") return make_unigram(in, num_added);
  in.fail("type", "UNKNOWN", fmt::format("unknown model \"{}\"; known: BPE, Unigram", type.substr(0, 64)));
}

}  // namespace aqlm_exp::text
