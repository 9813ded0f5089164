// Decoding on a GPU: one step, from the last token to the next, is a CUDA graph of fused kernels (kernels/decode) and
// of whatever the backend's linears launch. Prompts run through the model's own forward pass.
#pragma once

#include <memory>
#include <string>

#include "framework/generate/decoder.h"

namespace aqlm_exp::generate {

/// Empty if make_cuda_decoder can run the model, otherwise why not.
std::string cuda_decoder_refusal(const model::Model& model, const DecoderOptions& options);

/// @throws ConfigError with the refusal; DataError if the capacity is beyond the model's positions
std::unique_ptr<Decoder> make_cuda_decoder(const model::Model& model, const DecoderOptions& options);

}  // namespace aqlm_exp::generate
