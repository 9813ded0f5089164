// Pre-tokenizers of tokenizer.json: how a text is cut into pieces for the model.
#pragma once

#include <memory>

#include "framework/base/json_fields.h"
#include "framework/text/pieces.h"

namespace aqlm_exp::text {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts each piece further; may rewrite the text. @throws DataError (K-LIMIT, K-REGEX-LIMIT)
  virtual void apply(Pieces& pieces) const = 0;
};

/// Builds a pre-tokenizer, or a sequence of at most 16, from its JSON. Known types: ByteLevel, Split, Metaspace,
/// Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Sequence.
/// @throws DataError: K-UNKNOWN, K-NESTED, K-TYPE, K-MISSING, K-RANGE, K-REGEX
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonFields& in);

/// What a Metaspace step does at the start of a text.
enum class PrependScheme { kAlways, kFirst, kNever };
/// `replacement` (default U+2581) and `prepend_scheme` (or the older `add_prefix_space`) of a Metaspace step.
struct MetaspaceOptions {
  std::string replacement;
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
};
MetaspaceOptions read_metaspace(const JsonFields& in);

}  // namespace aqlm_exp::text
