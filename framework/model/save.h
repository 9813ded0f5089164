// Quantised models as folders that others load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/model/model.h"

namespace aqlm_exp::model {

struct SaveOptions {
  /// The folder the model was loaded from: config.json is taken from it and completed; tokenizer, chat template and
  /// generation settings are copied.
  std::filesystem::path source = {};
  std::string model_card = {};  ///< text of README.md (model_card() below); empty: none is written
  uint64_t max_shard_bytes = 5'000'000'000;
};

/// Why save_aqlm cannot write this model, and what to use instead; empty if it can.
std::string aqlm_refusal(const Model& model);

/// Writes the Hugging Face AQLM layout (design/aqlm.md 1.1): `transformers` with the `aqlm` package loads it. Codes
/// wrapped into the smallest signed integers, codebooks, scales and everything dense in float16 under its own name,
/// tied output left out. Linears that no method has touched stay dense and are listed as such. config.json comes last:
/// a folder whose writing was cut off cannot be loaded.
/// @throws ConfigError with aqlm_refusal()'s text, or if `folder` holds files already; NumericalError for values that
///         float16 cannot hold; StorageError
void save_aqlm(const Model& model, const std::filesystem::path& folder, const SaveOptions& options);

/// What a model card says besides how to load the model.
struct CardFacts {
  std::string base_model;  ///< "Qwen/Qwen2.5-7B", or a folder's name
  std::string method;      ///< "AQLM"
  std::string setting;     ///< "2x8 g8"
  /// Measured numbers in the order of the table: what (with convention and data), value.
  std::vector<std::pair<std::string, std::string>> figures;
  std::string command;   ///< that made it
  std::string software;  ///< "aqlm-exp 0.1 (commit)"
};
/// README.md with the front matter that the hub reads.
std::string model_card(const CardFacts& facts, const std::string& quant_method);
/// A name as published models have it: "Qwen2.5-7B-AQLM-2Bit-2x8-hf" for base "Qwen/Qwen2.5-7B", 2x8 g8.
std::string hub_name(const std::string& base_model, const Model& model);

}  // namespace aqlm_exp::model
