#include "framework/encoder/encoder.h"

namespace aqlm_exp::encoder {

const EncoderRegistry& encoders() {
  static const EncoderRegistry registry = [] {
    EncoderRegistry list;
    register_beam_search(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::encoder
