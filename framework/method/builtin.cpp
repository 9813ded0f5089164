#include "framework/method/method.h"

namespace aqlm_exp::method {

const MethodRegistry& methods() {
  static const MethodRegistry registry = [] {
    MethodRegistry list;
    register_none(list);
    register_aqlm(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::method
