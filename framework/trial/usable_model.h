// A model folder made ready to answer: weights, tokenizer, device, dtype and backend, as chat, generate and perf use
// it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/backend/backend.h"
#include "framework/generate/decoder.h"
#include "framework/generate/memory.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::trial {

struct UseRequest {
  std::string model;             ///< a Hugging Face folder, "builtin:models/..." too; with `random` a config.json
  std::string device = "auto";   ///< cpu, cuda, cuda:N, auto
  std::string dtype = "auto";    ///< float32, float16, bfloat16; auto: float32 on a CPU, on a GPU the model's own
  std::string backend = "auto";  ///< a backend's name
  bool random = false;           ///< random weights of the shape that a config.json states, no tokenizer
  std::string scheme = {};       ///< of random weights: "2x8", "1x16 g16": additive codes; empty: dense
  uint64_t seed = 0;             ///< of random weights
};

struct UsableModel {
  std::string name;  ///< of the folder
  std::filesystem::path folder;
  model::Model model;
  std::optional<text::Tokenizer> tokenizer;  ///< not for random weights
  std::vector<int32_t> stop_tokens;
  std::string device, dtype, backend;
  double load_s = 0;
  generate::MemoryReading before_load, after_load;

  std::string about() const;  ///< "cpu, float32, backend dense"
};

/// @throws ConfigError for a device, dtype or backend that is not there; DataError for files that cannot be used. A
/// hub's
///         name ("Qwen/Qwen2.5-3B") is answered with the command that downloads it
UsableModel load_usable(const UseRequest& request);

/// "builtin:models/x" → the program's own folder; everything else as it is.
std::filesystem::path model_folder(const std::string& text);
/// A backend with its defaults. @throws ConfigError for another name, with the nearest ones
std::unique_ptr<backend::Backend> backend_named(const std::string& name);
/// @throws ConfigError for another name
at::ScalarType dtype_named(const std::string& name);

}  // namespace aqlm_exp::trial
