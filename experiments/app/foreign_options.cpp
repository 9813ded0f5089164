#include "experiments/app/foreign_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "framework/base/error.h"

namespace aqlm_exp::app {
namespace {

struct Foreign {
  const char* name;  // without dashes, words joined by "_"
  const char* ours;  // "{}" stands for the value
};

constexpr Foreign kValues[] = {
    // the guide's script
    {"model", "model.path={}"},
    {"model_path", "model.path={}"},
    {"model_name", "model.path={}"},
    {"model_name_or_path", "model.path={}"},
    {"output", "-o {}"},
    {"output_dir", "-o {}"},
    {"output_path", "-o {}"},
    {"save_dir", "-o {}"},
    {"save_path", "-o {}"},
    {"num_codebooks", "quant.num_codebooks={}"},
    {"nbits_per_codebook", "quant.nbits_per_codebook={}"},
    {"codebook_bits", "quant.nbits_per_codebook={}"},
    {"in_group_size", "quant.in_group_size={}"},
    {"out_group_size", "quant.out_group_size={}"},
    {"device", "device={}"},
    {"device_map", "device={}"},
    // AQLM's main.py
    {"save", "-o {}"},
    {"nsamples", "calibration.num_samples={}"},
    {"num_samples", "calibration.num_samples={}"},
    {"model_seqlen", "calibration.seq_len={}"},
    {"seqlen", "calibration.seq_len={}"},
    {"dataset", "calibration.path={}"},
    {"calib_data", "calibration.path={}"},
    {"beam_size", "encoder.beam_size={}"},
    {"init_max_iter", "codebook.max_iter={}"},
    {"relative_mse_tolerance", "schedule.relative_mse_tolerance={}"},
    {"finetune_max_epochs", "finetune.epochs={}"},
    {"finetune_batch_size", "finetune.batch_size={}"},
    {"finetune_lr", "finetune.lr={}"},
    {"lr", "tuner.lr={}"},
    {"steps_per_epoch", "tuner.steps={}"},
    // GPTQ, AWQ, HQQ
    {"wbits", "quant.nbits={}"},
    {"w_bit", "quant.nbits={}"},
    {"bits", "quant.nbits={}"},
    {"nbits", "quant.nbits={}"},
    {"groupsize", "quant.group_size={}"},
    {"group_size", "quant.group_size={}"},
    {"q_group_size", "quant.group_size={}"},
    {"percdamp", "method.damp_percent={}"},
};

constexpr Foreign kFlags[] = {
    {"use_cuda", "backend=cuda"},
    {"use_triton", "backend=cuda_generic"},
    {"use_numba", "backend=cpu_lut"},
    {"triton", "backend=cuda_generic"},
    {"numba", "backend=cpu_lut"},
    {"save_results", "exp.output.json=true"},
    {"act_order", "method.desc_act=true"},
    {"trust_remote_code", "nothing: no code of a model is run here"},
    {"chat", "nothing: chat starts by itself at a terminal (--no-chat leaves it out)"},
};

std::string plain(const std::string& word) {
  std::string name = word.substr(word.find_first_not_of('-'));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// Ours, but with underscores.
constexpr const char* kUnderscored[] = {"max_new_tokens", "top_k", "top_p", "min_p", "repetition_penalty"};

/// A codebook's size is bits at the guide (8, 16) and entries elsewhere (256, 65536).
std::string codebook_size_line(const std::string& value) {
  int64_t size = 0;
  try {
    size = std::stoll(value);
  } catch (const std::exception&) {
    return "quant.nbits_per_codebook=8 or 16";
  }
  int64_t bits = size;
  if (size > 16) {
    for (bits = 0; (int64_t{1} << bits) < size && bits < 62;) ++bits;
  }
  return fmt::format("quant.nbits_per_codebook={}", bits);
}

std::optional<std::string> backend_line(const std::string& value) {
  if (value == "triton") return "backend=cuda_generic";
  if (value == "numba") return "backend=cpu_lut";
  return std::nullopt;
}

}  // namespace

std::vector<std::string> foreign_options(const std::vector<std::string>& words) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& typed, const std::string& ours) {
    lines.push_back(fmt::format("{}: write {}", typed, ours));
  };
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.starts_with("backend=") || word.starts_with("backend.type=")) {
      if (const auto ours = backend_line(word.substr(word.find('=') + 1))) add(word, *ours);
      continue;
    }
    if (!word.starts_with("--") || word.size() < 4) continue;
    const size_t equals = word.find('=');
    const std::string name = plain(word.substr(0, equals));
    // The next word is its value, unless it is an option or an override.
    std::string value, typed = word;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (i + 1 < words.size() && !words[i + 1].starts_with("-") && words[i + 1].find('=') == std::string::npos) {
      value = words[i + 1];
    }
    const bool separate = equals == std::string::npos && !value.empty();
    const auto with_value = [&] { return separate ? typed + " " + value : typed; };
    if (name == "codebook_size") {
      add(with_value(), codebook_size_line(value));
      continue;
    }
    if (name == "backend") {
      const auto ours = backend_line(value);
      add(with_value(), ours ? *ours : fmt::format("backend={}", value.empty() ? "auto" : value));
      continue;
    }
    for (const char* ours : kUnderscored) {
      if (name != ours || word.find('_') == std::string::npos) continue;
      std::string dashed = name;
      std::replace(dashed.begin(), dashed.end(), '_', '-');
      add(with_value(), fmt::format("--{} {}", dashed, value.empty() ? "..." : value));
    }
    for (const Foreign& foreign : kFlags) {
      if (name == foreign.name) add(word, foreign.ours);
    }
    for (const Foreign& foreign : kValues) {
      if (name != foreign.name) continue;
      add(with_value(), fmt::format(fmt::runtime(foreign.ours), value.empty() ? "..." : value));
    }
  }
  return lines;
}

void refuse_foreign_options(const std::string& command, const std::vector<std::string>& words) {
  const std::vector<std::string> lines = foreign_options(words);
  if (lines.empty()) return;
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + command + ": " + line;
  throw UsageError(text);
}

}  // namespace aqlm_exp::app
