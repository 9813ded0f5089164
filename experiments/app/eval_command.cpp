// `aqlm-exp eval`: models on a text under one or several conventions, side by side.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/eval/evaluate.h"
#include "framework/model/model.h"
#include "framework/statistics/paired.h"
#include "framework/text/tokenizer.h"
#include "framework/trial/device.h"
#include "framework/trial/usable_model.h"

namespace aqlm_exp::app {
namespace {

struct EvalArguments {
  std::vector<std::string> models;
  std::vector<std::string> conventions;
  std::string text, reference, token_losses, device = "cpu";
  int64_t seq_len = 1024, max_windows = 0, resamples = 10000, seed = 0;
  bool json = false, noise_floor = false;
};

/// One model under one convention.
struct Row {
  std::string model;
  eval::Convention convention;
  int64_t num_tokens = 0;
  eval::Evaluation result;
};

model::Model load(const std::string& folder, at::Device device) {
  model::Model model = model::load_model(folder, device);
  model.prepare(*trial::backend_named("dense"));
  return model;
}

std::vector<eval::Convention> conventions_of(const EvalArguments& arguments) {
  std::vector<eval::Convention> conventions;
  for (const std::string& tag : arguments.conventions) {
    conventions.push_back(eval::convention_from_tag(tag));
    if (arguments.max_windows > 0) conventions.back().max_windows = arguments.max_windows;
  }
  if (conventions.empty()) {
    conventions.push_back({.name = "gptq",
                           .seq_len = arguments.seq_len,
                           .stride = arguments.seq_len,
                           .max_windows = arguments.max_windows});
  }
  return conventions;
}

Json spread_json(const eval::Spread& spread) {
  return {{"mean", spread.mean}, {"standard_error", spread.standard_error},
          {"min", spread.min},   {"p01", spread.p01},
          {"p05", spread.p05},   {"median", spread.median},
          {"p95", spread.p95},   {"p99", spread.p99},
          {"p999", spread.p999}, {"max", spread.max}};
}

Json row_json(const Row& row, const eval::EvalText& text) {
  const eval::Evaluation& result = row.result;
  Json json = {{"model", row.model},
               {"ppl", result.perplexity},
               {"log_ppl", result.log_perplexity},
               {"log_ppl_standard_error", result.log_perplexity_error},
               {"convention", row.convention.tag()},
               {"convention_description", row.convention.description()},
               {"num_tokens", row.num_tokens},
               {"num_windows", result.num_windows},
               {"num_scored_tokens", result.num_scored_tokens},
               {"text_sha256", text.text_sha256},
               {"ids_sha256", text.ids_sha256},
               {"wall_s", result.wall_s}};
  if (result.bits_per_byte) json["bits_per_byte"] = *result.bits_per_byte;
  if (result.divergence) {
    json["kl"] = *result.kl;
    json["top1_agreement"] = *result.top1_agreement;
    json["kl_spread"] = spread_json(result.divergence->kl);
    json["delta_p"] = spread_json(result.divergence->delta_p);
    json["delta_p_rms"] = result.divergence->delta_p_rms;
  }
  return json;
}

void print_row(const Row& row, const std::string& reference) {
  const eval::Evaluation& result = row.result;
  fmt::print("{}: perplexity {:.4f} ± {:.4f} ({})\n", row.model, result.perplexity,
             result.perplexity * result.log_perplexity_error, row.convention.tag());
  if (result.bits_per_byte) fmt::print("  {:.4f} bits per byte\n", *result.bits_per_byte);
  if (result.divergence) {
    const eval::Divergence& d = *result.divergence;
    fmt::print(
        "  KL to {}: mean {:.5f} ± {:.5f}, median {:.5f}, 95% {:.5f}, 99% {:.5f}, 99.9% {:.5f}, max {:.4f} nats/token\n"
        "  same top token {:.2f} ± {:.2f}%; true token's probability {:+.3f}% on average, {:.3f}% rms, 1% {:+.2f}%, "
        "99% "
        "{:+.2f}%\n",
        reference, *result.kl, d.kl.standard_error, d.kl.median, d.kl.p95, d.kl.p99, d.kl.p999, d.kl.max,
        100 * d.top1_agreement, 100 * d.top1_standard_error, 100 * d.delta_p.mean, 100 * d.delta_p_rms,
        100 * d.delta_p.p01, 100 * d.delta_p.p99);
  }
}

std::vector<statistics::Block> blocks_of(const eval::Evaluation& result) {
  return statistics::make_blocks(result.token_losses, result.window_tokens);
}

/// Every pair of models under one convention, from per-token losses.
void compare(const std::vector<Row>& rows, const EvalArguments& arguments, Json* json) {
  for (size_t a = 0; a < rows.size(); ++a) {
    for (size_t b = a + 1; b < rows.size(); ++b) {
      if (rows[a].convention != rows[b].convention) continue;
      const statistics::Comparison result =
          statistics::compare_paired(blocks_of(rows[a].result), blocks_of(rows[b].result),
                                     {.resamples = arguments.resamples, .seed = static_cast<uint64_t>(arguments.seed)});
      const std::string sentence = statistics::sentence(result, rows[a].model, rows[b].model, "nats/token");
      if (json == nullptr) {
        fmt::print("{}: {}\n", rows[a].convention.tag(), sentence);
        continue;
      }
      json->push_back({{"a", rows[a].model},
                       {"b", rows[b].model},
                       {"convention", rows[a].convention.tag()},
                       {"difference", result.difference},
                       {"standard_error", result.standard_error},
                       {"ci_low", result.ci_low},
                       {"ci_high", result.ci_high},
                       {"p_value", result.p_value},
                       {"tie", result.is_tie()},
                       {"num_blocks", result.num_blocks},
                       {"num_tokens", result.num_tokens},
                       {"sentence", sentence}});
    }
  }
}

/// One JSON line a window: its losses token by token.
void write_token_losses(const std::string& path, const std::vector<Row>& rows) {
  std::ofstream out(path, std::ios::binary);
  for (const Row& row : rows) {
    size_t at = 0;
    for (size_t w = 0; w < row.result.window_tokens.size(); ++w) {
      const auto count = static_cast<size_t>(row.result.window_tokens[w]);
      const std::vector<double> losses(row.result.token_losses.begin() + static_cast<std::ptrdiff_t>(at),
                                       row.result.token_losses.begin() + static_cast<std::ptrdiff_t>(at + count));
      at += count;
      out << Json{{"model", row.model},
                  {"convention", row.convention.tag()},
                  {"window", w},
                  {"document", row.result.window_document[w]},
                  {"losses", losses}}
                 .dump()
          << "\n";
    }
  }
  if (!out.flush()) throw StorageError(path + ": cannot be written");
}

void evaluate(const EvalArguments& arguments) {
  if (arguments.noise_floor && arguments.reference.empty()) {
    throw UsageError("--noise-floor: needs --reference MODEL, whose bfloat16 noise it measures");
  }
  const at::Device device = trial::open_device(arguments.device);
  const std::vector<eval::Convention> conventions = conventions_of(arguments);
  std::optional<model::Model> original;
  if (!arguments.reference.empty()) original = load(arguments.reference, device);
  std::vector<Row> rows;
  std::vector<std::string> ids_sha256;
  eval::EvalText text;
  for (const std::string& folder : arguments.models) {
    const text::Tokenizer tokenizer = text::Tokenizer::load(folder);
    text = eval::load_eval_text(arguments.text, tokenizer, folder, conventions);
    if (!ids_sha256.empty() && ids_sha256.front() != text.ids_sha256) {
      throw DataError(
          fmt::format("{}: its tokenizer cuts the text differently from {}'s; perplexities per token are not "
                      "comparable, evaluate them apart",
                      folder, arguments.models.front()));
    }
    ids_sha256.push_back(text.ids_sha256);
    const model::Model model = load(folder, device);
    for (const eval::Convention& convention : conventions) {
      const eval::WindowSet set = eval::make_window_set(text, convention, device);
      const auto reference = original ? eval::logits_from_model(*original) : nullptr;
      rows.push_back(
          {folder, convention, static_cast<int64_t>(text.ids.size()), eval::evaluate(model, set, reference.get())});
    }
  }
  if (arguments.noise_floor) {
    for (const eval::Convention& convention : conventions) {
      const auto reference = eval::logits_from_model(*original);
      rows.push_back({arguments.reference + " with bfloat16 linears", convention, static_cast<int64_t>(text.ids.size()),
                      eval::evaluate(eval::with_bf16_linears(*original),
                                     eval::make_window_set(text, convention, device), reference.get())});
    }
  }
  if (!arguments.token_losses.empty()) write_token_losses(arguments.token_losses, rows);
  if (!arguments.json) {
    for (const Row& row : rows) print_row(row, arguments.reference);
    compare(rows, arguments, nullptr);
    fmt::print("{} tokens; conventions:\n", text.ids.size());
    for (const eval::Convention& convention : conventions) {
      fmt::print("  {}: {}\n", convention.tag(), convention.description());
    }
    return;
  }
  if (rows.size() == 1) {
    print_json(row_json(rows.front(), text));
    return;
  }
  Json json = {{"evaluations", Json::array()}, {"comparisons", Json::array()}};
  for (const Row& row : rows) json["evaluations"].push_back(row_json(row, text));
  compare(rows, arguments, &json["comparisons"]);
  print_json(json);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "perplexity of models on a text, and what sets them apart");
  auto arguments = std::make_shared<EvalArguments>();
  command->add_option("MODEL_DIR", arguments->models, "Hugging Face folders; every pair is compared")->required();
  command->add_option("--text", arguments->text, "one UTF-8 text")->required();
  command
      ->add_option("--convention", arguments->conventions,
                   "gptq-2048, llamacpp-512, hqq-1024/512, word-2048; several, with commas")
      ->delimiter(',');
  command->add_option("--seq-len", arguments->seq_len, "tokens in a window, without --convention")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--max-windows", arguments->max_windows, "first windows only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--reference", arguments->reference, "model to compute the KL divergence to");
  command->add_flag("--noise-floor", arguments->noise_floor, "also the reference with bfloat16 linears");
  command->add_option("--resamples", arguments->resamples, "of the bootstrap that compares models")
      ->capture_default_str()
      ->check(CLI::Range(100, 1000000));
  command->add_option("--seed", arguments->seed, "of the bootstrap")->capture_default_str();
  command->add_option("--token-losses", arguments->token_losses, "write each window's losses to this file, JSON lines");
  command->add_option("--device", arguments->device, "cpu, cuda, cuda:N, auto")->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { evaluate(*arguments); });
}

}  // namespace aqlm_exp::app
