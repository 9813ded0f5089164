#include "framework/trial/usable_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/backend/backend.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/home.h"
#include "framework/base/timer.h"
#include "framework/config/reader.h"
#include "framework/config/suggestions.h"
#include "framework/generate/generation_config.h"
#include "framework/model/join.h"
#include "framework/trial/device.h"

namespace aqlm_exp::trial {
namespace {

namespace fs = std::filesystem;

/// "Qwen/Qwen2.5-3B": two words of a hub's alphabet.
bool looks_like_hub_name(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos || slash == 0 || text.find('/', slash + 1) != std::string::npos) return false;
  return text.front() != '.' && slash + 1 < text.size() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
         });
}

void check_folder(const fs::path& folder, const std::string& typed) {
  std::error_code error;
  if (fs::exists(folder, error)) return;
  if (looks_like_hub_name(typed)) {
    const std::string local = typed.substr(typed.find('/') + 1);
    throw DataError(fmt::format("{0}: no such folder, and nothing is downloaded here; run\n"
                                "  hf download {0} --local-dir {1}\nand name {1}",
                                typed, local),
                    "J-MISSING");
  }
  throw DataError(fmt::format("{}: no such folder; need a Hugging Face folder with config.json, safetensors and "
                              "tokenizer.json, e.g. builtin:models/qwen2-5m",
                              folder.string()),
                  "J-MISSING");
}

std::string dtype_text(at::ScalarType type) {
  return type == at::kFloat ? "float32" : type == at::kHalf ? "float16" : "bfloat16";
}

}  // namespace

fs::path model_folder(const std::string& text) {
  const fs::path path = named_path(text);
  return path.has_filename() ? path : path.parent_path();  // a slash at the end
}

std::unique_ptr<backend::Backend> backend_named(const std::string& name) {
  const auto& registry = backend::backends();
  const auto* entry = registry.find(name);
  if (entry == nullptr) {
    if (name == "triton" || name == "numba") {  // what the AQLM pages call theirs
      throw ConfigError(fmt::format("backend: got \"{}\"; here it is called {}", name,
                                    name == "triton" ? "cuda_generic" : "cpu_lut"));
    }
    std::vector<std::string> known;
    for (const auto& one : registry.entries()) known.push_back(one.name);
    throw ConfigError(fmt::format("backend: got \"{}\"; {} known: {}", name,
                                  config::did_you_mean(config::nearest_names(name, known)), config::join_names(known)));
  }
  config::Node empty = config::Node::map();
  config::Reader reader(empty);
  return entry->maker(reader);
}

at::ScalarType dtype_named(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "float16") return at::kHalf;
  if (name == "bfloat16") return at::kBFloat16;
  throw ConfigError(fmt::format("dtype: got \"{}\", need float32, float16, bfloat16 or auto", name));
}

std::string UsableModel::about() const { return fmt::format("{}, {}, backend {}", device, dtype, backend); }

UsableModel load_usable(const UseRequest& request) {
  UsableModel out;
  out.folder = model_folder(request.model);
  check_folder(out.folder, request.model);
  const at::Device device = open_device(request.device);
  out.device = device.str();
  const checkpoint::ModelConfig config =
      request.random && fs::is_regular_file(out.folder)
          ? checkpoint::parse_model_config(read_regular_file(out.folder, 4 << 20, "J"), out.folder.string())
          : checkpoint::load_model_config(out.folder);
  at::ScalarType type = at::kFloat;
  if (request.dtype != "auto") {
    type = dtype_named(request.dtype);
  } else if (device.is_cuda() && (config.dtype == "bfloat16" || config.dtype == "float16")) {
    type = dtype_named(config.dtype);
  }
  out.dtype = dtype_text(type);
  out.name = out.folder.filename().string();
  if (fs::is_regular_file(out.folder)) {
    out.name = out.name == "config.json" ? out.folder.parent_path().filename().string() : out.folder.stem().string();
  }
  if (request.random) out.name += request.scheme.empty() ? " (random weights)" : " (random " + request.scheme + ")";
  out.backend = request.backend;
  const std::unique_ptr<backend::Backend> backend = backend_named(out.backend);
  generate::reset_peaks(device);
  if (device.is_cuda()) at::empty({1}, at::TensorOptions().device(device));  // the context is there before the reading
  out.before_load = generate::read_memory(device);
  const Stopwatch watch;
  if (request.random) {
    std::optional<quant::CodeSpec> scheme;
    if (!request.scheme.empty()) scheme = quant::parse_code_spec(request.scheme);
    out.model = model::random_model(config, device, type, request.seed, scheme);
  } else {
    out.tokenizer = text::Tokenizer::load(out.folder);
    out.stop_tokens = generate::stop_tokens(out.folder, *out.tokenizer);
    out.model = model::load_model(out.folder, device, {.dtype = type});
    model::join_dense_projections(out.model);
    if (out.tokenizer->max_id() >= out.model.embedding.size(0)) {
      throw DataError(
          fmt::format("{}: tokenizer.json has token id {}, the model's embedding has {} rows; they belong to "
                      "different models",
                      out.folder.string(), out.tokenizer->max_id(), out.model.embedding.size(0)));
    }
  }
  out.model.prepare(*backend);
  out.model.release_weights();  // a backend's own copy is enough to answer
  out.load_s = watch.elapsed_s();
  out.after_load = generate::read_memory(device);
  return out;
}

}  // namespace aqlm_exp::trial
