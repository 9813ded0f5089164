#include "framework/quant/scheme.h"

#include <fmt/format.h>

namespace aqlm_exp::quant {

std::string Scheme::str() const {
  switch (kind) {
    case Kind::kDense:
      return "dense";
    case Kind::kAdditive:
      return code.str();
    case Kind::kScalar:
      return fmt::format("{} bits {}{}", nbits, group_size < 0 ? "a group a row" : fmt::format("g{}", group_size),
                         axis == 0 ? " axis 0" : "");
    case Kind::kTable4:
      return fmt::format("4-bit table g{}", group_size);
    case Kind::kInt8:
      return "llm_int8";
  }
  return "unknown";
}

}  // namespace aqlm_exp::quant
