// Element types of safetensors files.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace aqlm_exp::checkpoint {

/// The types of safetensors 0.8, in its order.
enum class Dtype {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64
};

/// The name in the file: "BF16".
std::string_view dtype_name(Dtype dtype);
std::optional<Dtype> dtype_of(std::string_view name);
int64_t dtype_bits(Dtype dtype);
/// F16, BF16, F32, F64: what weights may come in.
bool is_weight_dtype(Dtype dtype);
/// Signed or unsigned integers of 8 bits and more.
bool is_integer_dtype(Dtype dtype);

}  // namespace aqlm_exp::checkpoint
