// Multiple-choice tasks from local files, scored as EleutherAI's lm-evaluation-harness scores them: the answer whose
// continuation is likeliest, plain (acc) and per character (acc_norm).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "framework/model/model.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::eval {

struct Choice {
  std::string context;
  std::string continuation;
  int64_t length = 0;  ///< characters (code points) of the answer, which acc_norm divides by
};

struct Question {
  nlohmann::ordered_json doc;  ///< the line of the file
  std::vector<Choice> choices;
  int64_t gold = 0;
};

/// The layouts are those of the data sets on the Hugging Face hub, one JSON object a line, and are told by their keys:
/// `arc` question, choices {text, label}, answerKey; `hellaswag` activity_label, ctx_a, ctx_b, endings, label; `piqa`
/// goal, sol1, sol2, label; `winogrande` sentence, option1, option2, answer; `harness` the harness's own sample logs
/// (doc, arguments, target), through which any of its multiple-choice tasks can be scored; `plain` query, choices,
/// gold.
struct Task {
  std::string name;
  std::string layout;
  std::filesystem::path path;
  std::string sha256;  ///< of the file
  std::vector<Question> questions;
  bool has_acc_norm() const { return layout != "winogrande"; }  // both contexts end in the same continuation
};

/// @param name  empty: the file's stem. @param limit  first questions only; 0: all
/// @throws DataError: J-SYNTAX, J-MISSING, J-TYPE, J-RANGE, with file and line; for an unknown layout the known ones
Task load_task(const std::filesystem::path& path, const std::string& name = {}, int64_t limit = 0);

struct TaskOptions {
  int32_t prefix = 0;               ///< token in front of an empty context: BOS, else EOS
  bool add_special_tokens = false;  ///< BOS in front of contexts: the harness leaves it out unless add_bos_token=True
  int64_t max_length = 2048;        ///< longer inputs lose their beginning
  int64_t batch_tokens = 4096;      ///< tokens of one forward pass, padding included
};

/// The options that fit a model: its BOS (or else EOS) as prefix, and its number of positions.
TaskOptions task_options(const model::Model& model, const text::Tokenizer& tokenizer,
                         const std::filesystem::path& model_folder);

struct Answer {
  std::vector<double> log_likelihoods;  ///< of the continuations, nats
  std::vector<bool> is_greedy;          ///< the model would have written the continuation itself
  int64_t chosen = 0, chosen_per_character = 0;
};

struct TaskResult {
  std::vector<Answer> answers;
  double acc = 0, acc_stderr = 0;             ///< standard error of the mean: sample deviation over √n
  double acc_norm = 0, acc_norm_stderr = 0;   ///< NaN for winogrande
  std::vector<double> correct, correct_norm;  ///< 0 or 1 a question, for paired comparisons
  double wall_s = 0;
};

/// Context and continuation as tokens: what the model reads, and from where on it is scored.
struct EncodedChoice {
  std::vector<int32_t> ids;
  int64_t num_scored = 0;
};
/// As the harness: blanks at the context's end move to the continuation, both are tokenized together, and the
/// continuation is what the context alone does not account for.
EncodedChoice encode_choice(const text::Tokenizer& tokenizer, const Choice& choice, const TaskOptions& options);

TaskResult run_task(const model::Model& model, const text::Tokenizer& tokenizer, const Task& task,
                    const TaskOptions& options);

/// The harness's results_*.json: results, configs, versions, n-shot, higher_is_better, n-samples, config.
nlohmann::ordered_json harness_results(const std::vector<Task>& tasks, const std::vector<TaskResult>& results,
                                       const std::string& model_name);
/// The harness's samples_*.jsonl: one line a question.
std::string harness_samples(const Task& task, const TaskResult& result);

}  // namespace aqlm_exp::eval
