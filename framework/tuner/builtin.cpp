#include "framework/tuner/tuner.h"

namespace aqlm_exp::tuner {

const TunerRegistry& tuners() {
  static const TunerRegistry registry = [] {
    TunerRegistry list;
    register_adam(list);
    register_least_squares(list);
    register_closed_form_scales(list);
    register_none(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::tuner
