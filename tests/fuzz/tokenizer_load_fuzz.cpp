// tokenizer.json: loaded, and every id turned into its token and bytes.
#include <cstdlib>
#include <string_view>

#include "framework/base/error.h"
#include "framework/text/tokenizer.h"
#include "tests/fuzz/libfuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = aqlm_exp::text::Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
    int64_t count = 0;
    for (int64_t id = 0; id <= tokenizer.max_id(); ++id) {
      if (!tokenizer.has_id(id)) continue;
      ++count;
      tokenizer.token(static_cast<int32_t>(id));
      if (id < 64) tokenizer.token_bytes(static_cast<int32_t>(id));
    }
    if (count != tokenizer.vocab_size()) std::abort();
  } catch (const aqlm_exp::DataError& error) {
    if (error.code().empty()) std::abort();
  }
  return 0;
}
