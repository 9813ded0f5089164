#include "framework/trial/text_inputs.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "framework/checkpoint/model_config.h"
#include "framework/eval/windows.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::trial {
namespace {

/// A tokenizer of another model gives ids that this one has no embedding for.
void check_ids(const std::vector<int32_t>& ids, int64_t vocab_size, const std::filesystem::path& path) {
  const auto largest = std::max_element(ids.begin(), ids.end());
  if (largest != ids.end() && *largest >= vocab_size) {
    throw DataError(
        fmt::format("{}: token id {}, the model's vocabulary has {}; tokenizer.json belongs to another model",
                    path.string(), *largest, vocab_size));
  }
}

method::Calibration sample_calibration(const TrialSpec& spec, const std::vector<int32_t>& ids, std::string& sha256) {
  Rng rng = Rng(static_cast<uint64_t>(spec.seed)).fork("calibration");
  const auto sequences = text::sample_windows(ids, text::sample_rule_of(spec.calibration.sampling),
                                              spec.calibration.num_samples, spec.calibration.seq_len, rng);
  at::Tensor tensor = at::empty({spec.calibration.num_samples, spec.calibration.seq_len}, at::kLong);
  std::vector<int32_t> flat;
  for (size_t i = 0; i < sequences.size(); ++i) {
    std::copy(sequences[i].begin(), sequences[i].end(),
              tensor.data_ptr<int64_t>() + static_cast<int64_t>(i) * spec.calibration.seq_len);
    flat.insert(flat.end(), sequences[i].begin(), sequences[i].end());
  }
  sha256 = text::ids_sha256(flat);
  return {.input_ids = tensor,
          .original_activations = spec.calibration.activations == "original",
          .experts = {.all_tokens = spec.calibration.all_experts, .min_tokens = spec.calibration.min_expert_tokens}};
}

}  // namespace

TextInputs load_text_inputs(const TrialSpec& spec, at::Device device, const TokenSource& source) {
  std::optional<text::Tokenizer> tokenizer;  // loaded when a text has to be tokenised
  const auto the_tokenizer = [&]() -> const text::Tokenizer& {
    if (!tokenizer) tokenizer.emplace(text::Tokenizer::load(spec.model_path));
    return *tokenizer;
  };
  const auto text_set = [&](const std::filesystem::path& path, bool special_tokens) {
    const auto tokenise = [&] {
      return text::load_text_set(path, the_tokenizer(), {.add_special_tokens = special_tokens});
    };
    return source ? source(path, special_tokens, tokenise) : tokenise();
  };
  const int64_t vocab_size = checkpoint::load_model_config(spec.model_path).vocab_size;
  TextInputs inputs;
  std::vector<eval::Convention> conventions = {spec.eval.convention};
  conventions.insert(conventions.end(), spec.eval.also.begin(), spec.eval.also.end());
  text::TextSet set = text_set(spec.eval.path, true);
  set.path = spec.eval.path;
  eval::EvalText eval_set = eval::make_eval_text(std::move(set), the_tokenizer, spec.model_path, conventions);
  check_ids(eval_set.ids, vocab_size, spec.eval.path);
  for (const auto& document : eval_set.documents) check_ids(document.ids, vocab_size, spec.eval.path);
  inputs.windows = eval::make_window_set(eval_set, spec.eval.convention, device);
  for (const eval::Convention& convention : spec.eval.also) {
    inputs.also.push_back(eval::make_window_set(eval_set, convention, device));
  }
  inputs.eval_ids = std::move(eval_set.ids);
  inputs.eval_text_sha256 = eval_set.text_sha256;
  inputs.eval_ids_sha256 = eval_set.ids_sha256;
  if (spec.method->needs_calibration()) {
    const text::TextSet calibration = text_set(spec.calibration.path, false);
    check_ids(calibration.ids, vocab_size, spec.calibration.path);
    inputs.calibration = sample_calibration(spec, calibration.ids, inputs.calibration_ids_sha256);
  }
  return inputs;
}

}  // namespace aqlm_exp::trial
