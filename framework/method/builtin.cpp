#include "framework/method/method.h"

namespace aqlm_exp::method {

const MethodRegistry& methods() {
  static const MethodRegistry registry = [] {
    MethodRegistry list;
    register_none(list);
    register_aqlm(list);
    register_gptq(list);
    register_awq(list);
    register_hqq(list);
    register_rtn(list);
    register_nf4(list);
    register_fp4(list);
    register_llm_int8(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::method
