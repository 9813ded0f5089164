#include "framework/checkpoint/dtype.h"

#include <array>

namespace aqlm_exp::checkpoint {
namespace {

struct Row {
  std::string_view name;
  Dtype dtype;
  int64_t bits;
};
constexpr std::array<Row, 22> kRows = {{
    {"BOOL", Dtype::kBool, 8},
    {"F4", Dtype::kF4, 4},
    {"F6_E2M3", Dtype::kF6E2M3, 6},
    {"F6_E3M2", Dtype::kF6E3M2, 6},
    {"U8", Dtype::kU8, 8},
    {"I8", Dtype::kI8, 8},
    {"F8_E5M2", Dtype::kF8E5M2, 8},
    {"F8_E4M3", Dtype::kF8E4M3, 8},
    {"F8_E8M0", Dtype::kF8E8M0, 8},
    {"F8_E4M3FNUZ", Dtype::kF8E4M3Fnuz, 8},
    {"F8_E5M2FNUZ", Dtype::kF8E5M2Fnuz, 8},
    {"I16", Dtype::kI16, 16},
    {"U16", Dtype::kU16, 16},
    {"F16", Dtype::kF16, 16},
    {"BF16", Dtype::kBF16, 16},
    {"I32", Dtype::kI32, 32},
    {"U32", Dtype::kU32, 32},
    {"F32", Dtype::kF32, 32},
    {"C64", Dtype::kC64, 64},
    {"F64", Dtype::kF64, 64},
    {"I64", Dtype::kI64, 64},
    {"U64", Dtype::kU64, 64},
}};

const Row& row_of(Dtype dtype) { return kRows[static_cast<size_t>(dtype)]; }

}  // namespace

std::string_view dtype_name(Dtype dtype) { return row_of(dtype).name; }

std::optional<Dtype> dtype_of(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

int64_t dtype_bits(Dtype dtype) { return row_of(dtype).bits; }

bool is_weight_dtype(Dtype dtype) {
  return dtype == Dtype::kF16 || dtype == Dtype::kBF16 || dtype == Dtype::kF32 || dtype == Dtype::kF64;
}

bool is_integer_dtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::kU8:
    case Dtype::kI8:
    case Dtype::kI16:
    case Dtype::kU16:
    case Dtype::kI32:
    case Dtype::kU32:
    case Dtype::kI64:
    case Dtype::kU64:
      return true;
    default:
      return false;
  }
}

}  // namespace aqlm_exp::checkpoint
