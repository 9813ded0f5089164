#include "framework/codebook/initialiser.h"

namespace aqlm_exp::codebook {

const InitialiserRegistry& initialisers() {
  static const InitialiserRegistry registry = [] {
    InitialiserRegistry list;
    register_residual_kmeans(list);
    register_random(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::codebook
