// The error code with which foreign input is refused.
#pragma once

#include <functional>
#include <string>

#include "framework/base/error.h"

namespace aqlm_exp {

/// The code of the DataError that `use` throws; "none" if it throws nothing.
inline std::string code_of(const std::function<void()>& use) {
  try {
    use();
  } catch (const DataError& error) {
    return error.code();
  }
  return "none";
}

}  // namespace aqlm_exp
