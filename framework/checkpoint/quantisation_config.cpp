#include "framework/checkpoint/quantisation_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace aqlm_exp::checkpoint {
namespace {

using Json = nlohmann::json;

std::vector<std::string> names(const JsonFields& in, std::string_view key) {
  std::vector<std::string> values;
  if (!in.has(key)) return values;
  for (const Json& entry : in.array(key, 1'000'000)) {
    if (!entry.is_string()) in.fail(key, "TYPE", fmt::format("got {}, need strings", json_excerpt(entry)));
    values.push_back(entry.get<std::string>());
  }
  return values;
}

AqlmLayout read_aqlm(const JsonFields& in) {
  AqlmLayout layout;
  layout.num_codebooks = in.integer_or("num_codebooks", 1, 1, 64);
  layout.nbits_per_codebook = in.integer_or("nbits_per_codebook", 16, 1, 16);
  layout.in_group_size = in.integer_or("in_group_size", 8, 1, 1024);
  layout.out_group_size = in.integer_or("out_group_size", 1, 1, 1024);
  layout.not_quantised = names(in, "linear_weights_not_to_quantize");
  return layout;
}

int64_t read_group_size(const JsonFields& in, int64_t fallback) {
  const int64_t size = in.integer_or("group_size", fallback, -1, int64_t{1} << 20);
  if (size == 0) in.fail("group_size", "RANGE", "got 0, need >= 1, or -1 for one group per row");
  return size;
}

void one_of(const JsonFields& in, std::string_view key, int64_t value, std::initializer_list<int64_t> known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  std::string list;
  for (const int64_t one : known) list += (list.empty() ? "" : ", ") + std::to_string(one);
  in.fail(key, "UNKNOWN", fmt::format("got {}; known: {}", value, list));
}

/// AutoGPTQ, GPTQModel.
ScalarLayout read_gptq(const JsonFields& in) {
  ScalarLayout layout{.method = "gptq"};
  layout.nbits = in.integer("bits", 1, 32);
  one_of(in, "bits", layout.nbits, {2, 3, 4, 8});
  layout.group_size = read_group_size(in, 128);
  layout.symmetric = in.boolean_or("sym", true);
  const std::string format = in.text_or("checkpoint_format", "gptq");
  if (format != "gptq" && format != "gptq_v2") {
    in.fail("checkpoint_format", "UNKNOWN", fmt::format("got \"{}\"; known: gptq, gptq_v2", format.substr(0, 64)));
  }
  layout.zeros_minus_one = format == "gptq";
  return layout;
}

/// AutoAWQ's GEMM layout.
ScalarLayout read_awq(const JsonFields& in) {
  ScalarLayout layout{.method = "awq"};
  layout.nbits = in.integer_or("bits", 4, 1, 32);
  one_of(in, "bits", layout.nbits, {4});
  layout.group_size = read_group_size(in, 128);
  const std::string version = in.text_or("version", "gemm");
  if (version != "gemm" && version != "GEMM") {
    in.fail("version", "UNKNOWN", fmt::format("got \"{}\", only gemm is read", version.substr(0, 64)));
  }
  return layout;
}

/// hqq through transformers 4: quant_config.weight_quant_params, or the same keys beside quant_method.
ScalarLayout read_hqq(const JsonFields& in) {
  const auto outer = in.object_if("quant_config");
  const auto inner = outer ? outer->object_if("weight_quant_params") : std::nullopt;
  if (outer && !inner) {
    outer->fail("weight_quant_params", "MISSING", "need it: a setting of its own for each kind of linear is not read");
  }
  const JsonFields& keys = inner ? *inner : in;
  ScalarLayout layout{.method = "hqq"};
  layout.nbits = keys.integer_or("nbits", 4, 1, 8);
  one_of(keys, "nbits", layout.nbits, {1, 2, 3, 4, 5, 6, 8});
  layout.group_size = keys.has("group_size") ? read_group_size(keys, 64) : -1;
  layout.axis = keys.integer_or("axis", 1, 0, 1);
  layout.integer_zero_points = false;
  if (keys.boolean_or("view_as_float", false)) keys.fail("view_as_float", "UNKNOWN", "got true, need false");
  return layout;
}

OwnLinear read_own_linear(const JsonFields& in) {
  OwnLinear linear;
  const std::string kind = in.text("kind");
  if (kind == "additive") {
    linear.additive = read_aqlm(in);
  } else if (kind == "scalar") {
    ScalarLayout layout{.method = in.text("method")};
    layout.nbits = in.integer("nbits", 1, 8);
    layout.group_size = in.integer("group_size", 1, int64_t{1} << 32);
    layout.axis = in.integer_or("axis", 1, 0, 1);
    layout.symmetric = in.boolean_or("symmetric", false);
    layout.integer_zero_points = in.boolean_or("integer_zero_points", true);
    linear.scalar = layout;
  } else {
    in.fail("kind", "UNKNOWN", fmt::format("got \"{}\"; known: additive, scalar", kind.substr(0, 64)));
  }
  return linear;
}

}  // namespace

void read_quantisation(const JsonFields& in, ModelConfig& model) {
  if (in.has("aqlm")) {
    in.fail("aqlm", "UNKNOWN",
            "a checkpoint from before February 2024, whose layout is not read; load it in Python with its own "
            "modelling code and save it again, or take a newer upload");
  }
  const auto quantisation = in.object_if("quantization_config");
  if (!quantisation) return;
  const std::string method = quantisation->text("quant_method");
  if (method == "aqlm") {
    model.aqlm = read_aqlm(*quantisation);
  } else if (method == "gptq") {
    model.scalar = read_gptq(*quantisation);
  } else if (method == "awq") {
    model.scalar = read_awq(*quantisation);
  } else if (method == "hqq") {
    model.scalar = read_hqq(*quantisation);
  } else if (method == "aqlm-exp") {
    quantisation->integer("version", 1, 1);
    const JsonFields linears = quantisation->object("linears");
    for (const auto& [name, unused] : linears.json().items()) model.own[name] = read_own_linear(linears.object(name));
  } else {
    quantisation->fail(
        "quant_method", "UNKNOWN",
        fmt::format("got \"{}\"; known: aqlm, gptq, awq, hqq, aqlm-exp; start from the unquantised model",
                    method.substr(0, 64)));
  }
}

}  // namespace aqlm_exp::checkpoint
