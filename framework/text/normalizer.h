// Normalisers of tokenizer.json: what happens to a text before it is cut.
#pragma once

#include <memory>
#include <string>

#include "framework/base/json_fields.h"

namespace aqlm_exp::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Changes valid UTF-8 to valid UTF-8.
  /// @param max_bytes  DataError (K-LIMIT) if the text would grow beyond it
  virtual void apply(std::string& text, size_t max_bytes) const = 0;
  /// Whether it may remove the first code points of a text (which moves what Metaspace takes for the start of the
  /// input).
  virtual bool may_strip_front() const { return false; }
};

/// Builds a normaliser, or a sequence of at most 16, from its JSON. Known types: NFC, NFD, NFKC, NFKD, Lowercase,
/// Strip, StripAccents, Prepend, Replace, ByteLevel, Precompiled, Sequence.
/// @throws DataError: K-UNKNOWN, K-NESTED, K-TYPE, K-MISSING, K-RANGE, K-REGEX, K-TABLE
std::unique_ptr<Normalizer> make_normalizer(const JsonFields& in);

inline constexpr int kMaxNestedSteps = 16;

}  // namespace aqlm_exp::text
