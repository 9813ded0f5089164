// Scores the choices of a task and writes them down as lm-evaluation-harness does.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/base/timer.h"
#include "framework/eval/reference_logits.h"
#include "framework/eval/task.h"
#include "framework/eval/windows.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::eval {
namespace {

using Json = nlohmann::ordered_json;

/// A choice of a question, ready for the model.
struct Request {
  size_t question, choice;
  EncodedChoice encoded;
};

/// Log-likelihood and greediness of each request of a batch. Rows are padded on the right, which a causal model does
/// not see from the left.
void score_batch(const model::Model& model, std::span<const Request> batch, std::vector<Answer>& answers) {
  size_t longest = 0;
  for (const Request& request : batch) longest = std::max(longest, request.encoded.ids.size() - 1);
  std::vector<int64_t> flat(batch.size() * longest, 0);
  for (size_t row = 0; row < batch.size(); ++row) {
    std::copy(batch[row].encoded.ids.begin(), batch[row].encoded.ids.end() - 1,
              flat.begin() + static_cast<std::ptrdiff_t>(row * longest));
  }
  const at::Tensor ids = at::tensor(flat, at::kLong)
                             .view({static_cast<int64_t>(batch.size()), static_cast<int64_t>(longest)})
                             .to(model.device());
  at::Tensor hidden = model.embed(ids);  // [batch, tokens, hidden]
  for (const model::DecoderBlock& block : model.blocks) hidden = block.forward(hidden, *model.rotary);
  for (size_t row = 0; row < batch.size(); ++row) {
    const EncodedChoice& encoded = batch[row].encoded;
    const auto end = static_cast<int64_t>(encoded.ids.size()) - 1;
    const std::vector<int64_t> targets(encoded.ids.end() - encoded.num_scored, encoded.ids.end());
    const at::Tensor target = at::tensor(targets, at::kLong).to(model.device());
    const at::Tensor log_p =
        at::log_softmax(model.logits(hidden[static_cast<int64_t>(row)].slice(0, end - encoded.num_scored, end)), -1);
    const double sum = log_p.gather(1, target.unsqueeze(1)).sum(at::kDouble).item<double>();
    if (!std::isfinite(sum)) {
      throw NumericalError(
          fmt::format("[tasks] question {}: log-likelihood {}; the model produces NaN or infinite logits",
                      batch[row].question, sum));
    }
    Answer& answer = answers[batch[row].question];
    answer.log_likelihoods[batch[row].choice] = sum;
    answer.is_greedy[batch[row].choice] = log_p.argmax(-1).eq(target).all().item<bool>();
  }
}

int64_t largest(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

/// Python's str of a float.
std::string python_float(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string alias(const Task& task) { return task.name; }

}  // namespace

TaskOptions task_options(const model::Model& model, const text::Tokenizer& tokenizer,
                         const std::filesystem::path& model_folder) {
  return {.prefix = prefix_token(model_folder, tokenizer),
          .max_length = std::min<int64_t>(model.config.max_position_embeddings, 1 << 20) - 1};
}

EncodedChoice encode_choice(const text::Tokenizer& tokenizer, const Choice& choice, const TaskOptions& options) {
  std::string context = choice.context, continuation = choice.continuation;
  size_t kept = context.size();
  while (kept > 0 && std::isspace(static_cast<unsigned char>(context[kept - 1])) != 0) --kept;
  continuation = context.substr(kept) + continuation;
  context.resize(kept);
  const text::EncodeOptions encode{.add_special_tokens = options.add_special_tokens};
  EncodedChoice out;
  std::vector<int32_t> whole = tokenizer.encode(context + continuation, encode);
  const size_t num_context = context.empty() ? 0 : tokenizer.encode(context, encode).size();
  if (num_context >= whole.size()) {
    throw DataError(fmt::format("[tasks] \"{}\" adds no token to its context", choice.continuation), "K-TEXT");
  }
  if (num_context == 0) whole.insert(whole.begin(), options.prefix);
  out.num_scored = static_cast<int64_t>(whole.size() - std::max<size_t>(num_context, 1));
  const auto keep = static_cast<size_t>(options.max_length) + 1;
  if (whole.size() > keep) whole.erase(whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(keep));
  out.num_scored = std::min(out.num_scored, static_cast<int64_t>(whole.size()) - 1);
  out.ids = std::move(whole);
  return out;
}

TaskResult run_task(const model::Model& model, const text::Tokenizer& tokenizer, const Task& task,
                    const TaskOptions& options) {
  const c10::NoGradGuard no_grad;
  const Stopwatch watch;
  std::vector<Request> requests;
  TaskResult result;
  for (size_t q = 0; q < task.questions.size(); ++q) {
    const Question& question = task.questions[q];
    for (size_t c = 0; c < question.choices.size(); ++c) {
      requests.push_back({q, c, encode_choice(tokenizer, question.choices[c], options)});
      for (const int32_t id : requests.back().encoded.ids) {
        if (id >= model.config.vocab_size) {
          throw DataError(
              fmt::format("[tasks] token id {}, the model's vocabulary has {}; tokenizer.json belongs to "
                          "another model",
                          id, model.config.vocab_size));
        }
      }
    }
    Answer answer;
    answer.log_likelihoods.resize(question.choices.size());
    answer.is_greedy.resize(question.choices.size());
    result.answers.push_back(std::move(answer));
  }
  // Long ones first: requests of a batch have about the same length, and memory runs out early or not at all.
  std::stable_sort(requests.begin(), requests.end(),
                   [](const Request& a, const Request& b) { return a.encoded.ids.size() > b.encoded.ids.size(); });
  for (size_t begin = 0; begin < requests.size();) {
    const size_t longest = requests[begin].encoded.ids.size();
    const size_t rows = std::max<size_t>(1, static_cast<size_t>(options.batch_tokens) / longest);
    const size_t count = std::min(rows, requests.size() - begin);
    score_batch(model, std::span(requests).subspan(begin, count), result.answers);
    begin += count;
    report_progress("tasks", static_cast<int64_t>(begin), static_cast<int64_t>(requests.size()));
  }
  for (size_t q = 0; q < task.questions.size(); ++q) {
    Answer& answer = result.answers[q];
    std::vector<double> per_character;
    for (size_t c = 0; c < answer.log_likelihoods.size(); ++c) {
      per_character.push_back(answer.log_likelihoods[c] / static_cast<double>(task.questions[q].choices[c].length));
    }
    answer.chosen = largest(answer.log_likelihoods);
    answer.chosen_per_character = largest(per_character);
    result.correct.push_back(answer.chosen == task.questions[q].gold ? 1.0 : 0.0);
    result.correct_norm.push_back(answer.chosen_per_character == task.questions[q].gold ? 1.0 : 0.0);
  }
  result.acc = statistics::mean(result.correct);
  result.acc_stderr = statistics::standard_error(result.correct);
  result.acc_norm = task.has_acc_norm() ? statistics::mean(result.correct_norm) : std::nan("");
  result.acc_norm_stderr = task.has_acc_norm() ? statistics::standard_error(result.correct_norm) : std::nan("");
  result.wall_s = watch.elapsed_s();
  return result;
}

nlohmann::ordered_json harness_results(const std::vector<Task>& tasks, const std::vector<TaskResult>& results,
                                       const std::string& model_name) {
  Json out = {{"results", Json::object()},   {"group_subtasks", Json::object()}, {"configs", Json::object()},
              {"versions", Json::object()},  {"n-shot", Json::object()},         {"higher_is_better", Json::object()},
              {"n-samples", Json::object()}, {"config", Json::object()}};
  const auto number = [](double value) { return std::isnan(value) ? Json("N/A") : Json(value); };
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks[i];
    Json row = {
        {"alias", alias(task)}, {"acc,none", results[i].acc}, {"acc_stderr,none", number(results[i].acc_stderr)}};
    Json higher = {{"acc", true}};
    if (task.has_acc_norm()) {
      row["acc_norm,none"] = results[i].acc_norm;
      row["acc_norm_stderr,none"] = number(results[i].acc_norm_stderr);
      higher["acc_norm"] = true;
    }
    out["results"][task.name] = row;
    out["group_subtasks"][task.name] = Json::array();
    out["configs"][task.name] = {
        {"task", task.name},     {"dataset_path", task.path.string()}, {"dataset_sha256", task.sha256},
        {"layout", task.layout}, {"output_type", "multiple_choice"},   {"num_fewshot", 0}};
    out["versions"][task.name] = 1.0;
    out["n-shot"][task.name] = 0;
    out["higher_is_better"][task.name] = higher;
    out["n-samples"][task.name] = {{"original", task.questions.size()}, {"effective", task.questions.size()}};
  }
  out["config"] = {{"model", "aqlm-exp"}, {"model_args", "pretrained=" + model_name}};
  out["model_name"] = model_name;
  return out;
}

std::string harness_samples(const Task& task, const TaskResult& result) {
  std::string out;
  for (size_t q = 0; q < task.questions.size(); ++q) {
    const Question& question = task.questions[q];
    const Answer& answer = result.answers[q];
    Json arguments = Json::object(), responses = Json::array(), filtered = Json::array();
    std::string prompts;
    for (size_t c = 0; c < question.choices.size(); ++c) {
      arguments["gen_args_" + std::to_string(c)] = {{"arg_0", question.choices[c].context},
                                                    {"arg_1", question.choices[c].continuation}};
      const Json response = {python_float(answer.log_likelihoods[c]), answer.is_greedy[c] ? "True" : "False"};
      responses.push_back(Json::array({response}));
      filtered.push_back(response);
      if (c == 0) prompts = question.choices[c].context;
    }
    Json line = {{"doc_id", q},
                 {"doc", question.doc},
                 {"target", question.gold},
                 {"arguments", arguments},
                 {"resps", responses},
                 {"filtered_resps", filtered},
                 {"filter", "none"},
                 {"metrics", task.has_acc_norm() ? Json({"acc", "acc_norm"}) : Json({"acc"})},
                 {"doc_hash", sha256_hex(question.doc.dump(-1, ' ', true))},
                 {"prompt_hash", sha256_hex(prompts)},
                 {"target_hash", sha256_hex(std::to_string(question.gold))},
                 {"acc", result.correct[q]}};
    if (task.has_acc_norm()) line["acc_norm"] = result.correct_norm[q];
    out += line.dump() + "\n";
  }
  return out;
}

}  // namespace aqlm_exp::eval
