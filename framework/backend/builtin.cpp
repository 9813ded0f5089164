#include "framework/backend/backend.h"

namespace aqlm_exp::backend {

const BackendRegistry& backends() {
  static const BackendRegistry registry = [] {
    BackendRegistry list;
    register_auto(list);
    register_cpu(list);
    register_cuda(list);
    register_dense(list);
    register_dequantise(list);
    register_reference(list);
    register_llm_int8(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::backend
