// Unigram language model tokenization (Kudo, arXiv:1804.10959): the segmentation with the largest sum of scores, by
// Viterbi.
#pragma once

#include <memory>

#include "framework/base/json_fields.h"
#include "framework/text/model.h"

namespace aqlm_exp::text {

/// Encoding a piece of n bytes takes O(n * longest token) steps, at most 256 n.
std::unique_ptr<Model> make_unigram(const JsonFields& in, size_t num_added);

}  // namespace aqlm_exp::text
