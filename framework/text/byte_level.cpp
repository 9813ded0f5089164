#include "framework/text/byte_level.h"

#include "framework/base/utf8.h"

namespace aqlm_exp::text {
namespace {

constexpr char32_t kMaxMapped = 0x144;  // 0x100 + the 68 bytes that are not printable themselves - 1, and one spare

struct Tables {
  std::array<std::string, 256> forms;
  std::array<int16_t, kMaxMapped> bytes;
  Tables() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t value = printable ? byte : next++;
      utf8_append(forms[byte], value);
      bytes[value] = static_cast<int16_t>(byte);
    }
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

}  // namespace

const std::array<std::string, 256>& byte_level_forms() { return tables().forms; }

void append_byte_level(std::string& out, std::string_view bytes) {
  const auto& forms = tables().forms;
  for (char c : bytes) out += forms[static_cast<unsigned char>(c)];
}

std::optional<std::string> byte_level_bytes(std::string_view token) {
  std::string out;
  for (size_t offset = 0; offset < token.size();) {
    const CodePoint c = utf8_decode(token, offset);
    if (c.value >= kMaxMapped || tables().bytes[c.value] < 0) return std::nullopt;
    out += static_cast<char>(tables().bytes[c.value]);
    offset += c.size_bytes;
  }
  return out;
}

}  // namespace aqlm_exp::text
