// A tokenizer.json, NUL, a text: loaded, the text encoded, its ids decoded.
#include <cstdlib>
#include <string>
#include <string_view>

#include "framework/base/error.h"
#include "framework/base/utf8.h"
#include "framework/text/tokenizer.h"
#include "tests/fuzz/libfuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  if (nul == std::string_view::npos) return 0;
  try {
    const auto tokenizer = aqlm_exp::text::Tokenizer::parse(input.substr(0, nul), "fuzz");
    const std::string text = aqlm_exp::utf8_replace_invalid(input.substr(nul + 1));
    const auto ids = tokenizer.encode(text, {.add_special_tokens = true});
    for (int32_t id : ids) {
      if (!tokenizer.has_id(id)) std::abort();
    }
    const std::string decoded = tokenizer.decode(ids);
    if (aqlm_exp::utf8_valid_prefix(decoded) != decoded.size()) std::abort();
    tokenizer.encode(text, {.parse_special = false});
  } catch (const aqlm_exp::DataError& error) {
    if (error.code().empty()) std::abort();
  }
  return 0;
}
