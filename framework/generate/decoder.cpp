#include "framework/generate/decoder.h"

#include "framework/base/log.h"
#include "framework/generate/cuda_decoder.h"
#include "framework/generate/eager_decoder.h"

namespace aqlm_exp::generate {

std::unique_ptr<Decoder> make_decoder(const model::Model& model, const DecoderOptions& options) {
  if (options.cuda_graph && model.device().is_cuda()) {
    const std::string reason = cuda_decoder_refusal(model, options);
    if (reason.empty()) return make_cuda_decoder(model, options);
    log_info("decoding without a CUDA graph: {}", reason);
  }
  return std::make_unique<EagerDecoder>(model, options);
}

}  // namespace aqlm_exp::generate
