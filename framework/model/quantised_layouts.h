// Quantised linears out of checkpoints: additive codes and the scalar layouts of AutoGPTQ, AutoAWQ, hqq and our own.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "framework/checkpoint/checkpoint.h"
#include "framework/checkpoint/model_config.h"
#include "framework/quant/weight.h"
#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::model {

/// The weight of the linear at module path `path`, or nullptr if it is stored dense. The checkpoint has been verified.
/// @param shape [out_features, in_features]
/// @throws DataError for codes, groups or scales that make no weight
std::shared_ptr<quant::Weight> read_quantised(const checkpoint::Checkpoint& files,
                                              const checkpoint::ModelConfig& config, const std::string& path,
                                              const std::vector<int64_t>& shape, at::Device device);

/// Eight 4-bit columns in a word, in AutoAWQ's order 0 2 4 6 1 3 5 7.
/// @param codes [rows, columns] uint8, columns a multiple of 8 → [rows, columns / 8] int32, and back
at::Tensor pack_awq(const at::Tensor& codes);
at::Tensor unpack_awq(const at::Tensor& words);

/// hqq core/bitpack.py: the first dimension is cut into as many parts as codes fit a byte (or ten into an int32), the
/// first part in the highest bits.
/// @param codes [rows, columns] uint8
at::Tensor pack_hqq(const at::Tensor& codes, int64_t nbits);
/// @param rows of the codes: 3-bit ones are padded to tens
at::Tensor unpack_hqq(const at::Tensor& packed, int64_t nbits, int64_t rows);

}  // namespace aqlm_exp::model
