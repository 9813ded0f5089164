// What a method will turn a linear's weight into, known from its configuration alone: backends say yes or no to it
// before any work.
#pragma once

#include <cstdint>
#include <string>

#include "framework/quant/code_spec.h"

namespace aqlm_exp::quant {

struct Scheme {
  enum class Kind {
    kDense,     ///< left alone
    kAdditive,  ///< sums of codewords: `code`
    kScalar,    ///< one integer a weight: nbits, group_size, axis
    kTable4,    ///< NF4, FP4: one of 16 levels a weight, blocks of group_size along the flattened matrix
    kInt8,      ///< LLM.int8(): activations are quantised as well
  };
  Kind kind = Kind::kDense;
  CodeSpec code = {};
  int64_t nbits = 0;
  int64_t group_size = 0;  ///< -1: a whole row
  int64_t axis = 1;        ///< 0: groups run across rows (HQQ)

  std::string str() const;  ///< "3x12 g8", "5 bits g128"
};

}  // namespace aqlm_exp::quant
