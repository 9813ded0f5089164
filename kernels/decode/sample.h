// Choosing the next token from logits: the rule, in plain C++. The device kernel (sample_cuda in decode_cuda.h) and the
// CPU path of framework/generate give the same token for the same logits and the same uniform number, up to the last
// bit of expf.
//
//   1. repetition penalty r (arXiv:1909.05858 §4.1): a token that occurred gets logit / r if positive, logit · r if not
//   2. temperature 0: the largest logit, the lowest id among equals. Otherwise the weight of a token is
//      e^((logit - largest) / temperature), in whole multiples of 2^-32: sums do not depend on their order
//   3. top-k: tokens whose logit is at least the k-th largest
//   4. top-p (nucleus, arXiv:1904.09751): of those, the shortest list of largest ones with a share of at least p
//   5. min-p (arXiv:2407.01082): of those, tokens whose weight is at least min_p of the largest one's
//   6. tokens in the order of their ids share [0, 1) by weight; the uniform number falls into one
//
// Equal logits stay or go together in 3 and 4; everything else is as in Hugging Face's transformers, in its order.
#pragma once

#include <cstdint>
#include <vector>

namespace aqlm_exp::decode {

struct SampleParams {
  float temperature = 0;         // 0: greedy
  float top_p = 1, min_p = 0;    // 1 and 0: off
  float repetition_penalty = 1;  // 1: off
  int32_t top_k = 0;             // 0: off
};

/// Weights of all tokens after steps 2-5, in multiples of 2^-32 of the largest; 0 for those left out. Greedy: one
/// token. Empty if no logit is a number or one is infinite.
/// @param logits [vocab_size]; changed by step 1
/// @param seen   [vocab_size], 1 where a token occurred; or null
std::vector<uint64_t> sample_weights_ref(const SampleParams& params, int64_t vocab_size, float* logits,
                                         const uint8_t* seen);

/// The token that a uniform number in [0, 1) falls on; -1 where sample_weights_ref is empty.
int64_t sample_ref(const SampleParams& params, int64_t vocab_size, float* logits, const uint8_t* seen, double uniform);

}  // namespace aqlm_exp::decode
