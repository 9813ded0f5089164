// Options that chat, generate and perf share.
#pragma once

#include <cstdint>
#include <string>

#include "framework/generate/generate.h"
#include "framework/trial/usable_model.h"

namespace CLI {
class App;
}

namespace aqlm_exp::app {

struct ModelOptions {
  std::string device = "auto", dtype = "auto", backend = "auto";
  int64_t context = 0;  ///< 0: the command's default
  bool no_cuda_graph = false;

  trial::UseRequest request(const std::string& model) const;
};
void add_model_options(CLI::App& command, ModelOptions& options, bool with_context = true);

struct AnswerOptions {
  generate::SamplingOptions sampling;
  bool greedy = false;
  int64_t max_new_tokens = 50;
  std::string system;

  /// @throws UsageError naming the option for values out of range
  generate::GenerateOptions generate_options() const;
};
void add_answer_options(CLI::App& command, AnswerOptions& options);

/// Tokens of a cache: as asked for, at most what the model has; 0: 4096, or all that the model has if fewer.
/// @throws UsageError for more than the model has
int64_t context_of(const ModelOptions& options, const model::Model& model);

}  // namespace aqlm_exp::app
