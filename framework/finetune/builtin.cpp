#include "framework/finetune/block_finetuner.h"

namespace aqlm_exp::finetune {

const BlockFinetunerRegistry& block_finetuners() {
  static const BlockFinetunerRegistry registry = [] {
    BlockFinetunerRegistry list;
    register_none(list);
    register_block_mse(list);
    return list;
  }();
  return registry;
}

}  // namespace aqlm_exp::finetune
