// What turns a piece of text into tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/json_fields.h"
#include "framework/text/vocabulary.h"

namespace aqlm_exp::text {

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a piece (valid UTF-8, not empty). Safe to call from several threads.
  virtual void encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  /// Its own tokens, without the added ones.
  virtual const Vocabulary& vocabulary() const = 0;
  /// The token of a piece that it knows nothing about; kNoToken if there is none.
  virtual int32_t unknown_id() const = 0;
};

/// Builds the model of a tokenizer.json: BPE or Unigram.
/// @param num_added  how many added tokens the file lists: they may fill ids that the vocabulary leaves unused
/// @throws DataError: K-UNKNOWN, K-TYPE, K-MISSING, K-RANGE, K-TOKEN, K-ID, K-MERGE, K-BYTE, K-LIMIT
std::unique_ptr<Model> make_model(const JsonFields& in, size_t num_added);

}  // namespace aqlm_exp::text
