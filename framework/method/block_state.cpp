#include "framework/method/block_state.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/log.h"
#include "framework/quant/additive_weight.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

using Json = nlohmann::json;

at::Tensor bytes_of(const std::string& text) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), static_cast<char*>(bytes.data_ptr()));
  return bytes;
}

std::string text_of(const at::Tensor& bytes) {
  const at::Tensor host = bytes.cpu().contiguous();
  return {static_cast<const char*>(host.data_ptr()), static_cast<size_t>(host.numel())};
}

/// How one linear's weight is stored; null for a form that is not known here.
Json save_weight(const model::Linear& linear, const quant::Weight* before, TensorMap& tensors) {
  const std::string& role = linear.role;
  const quant::Weight* weight = linear.weight.get();
  if (weight == before) return {{"kind", "as it was"}};
  if (const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(weight)) {
    const quant::CodeSpec& spec = additive->spec();
    tensors[role + ".codes"] = additive->codes();
    tensors[role + ".codebooks"] = additive->codebooks().detach();
    tensors[role + ".scales"] = additive->scales().detach();
    return {{"kind", "additive"},
            {"num_codebooks", spec.num_codebooks},
            {"nbits_per_codebook", spec.nbits_per_codebook},
            {"in_group_size", spec.in_group_size},
            {"out_group_size", spec.out_group_size}};
  }
  if (const auto* scalar = dynamic_cast<const scalar::ScalarWeight*>(weight)) {
    const scalar::ScalarCode& code = scalar->code();
    tensors[role + ".codes"] = code.codes;
    tensors[role + ".scales"] = code.scales;
    tensors[role + ".zero_points"] = code.zero_points;
    if (code.g_idx.defined()) tensors[role + ".g_idx"] = code.g_idx;
    const std::string format = scalar->format();
    return {{"kind", "scalar"},
            {"method", format.substr(0, format.find(' '))},
            {"nbits", code.nbits},
            {"group_size", code.group_size},
            {"symmetric", code.symmetric},
            {"axis", code.axis},
            {"packing", static_cast<int>(code.packing)}};
  }
  if (const auto* dense = dynamic_cast<const quant::DenseWeight*>(weight)) {
    tensors[role + ".matrix"] = dense->dequantise().detach();
    return {{"kind", "dense"}, {"stored_bits", dense->stored_bits()}};
  }
  return nullptr;
}

std::shared_ptr<quant::Weight> load_weight(const Json& json, const std::string& role, const TensorMap& tensors) {
  const std::string kind = json.at("kind");
  if (kind == "additive") {
    const quant::CodeSpec spec{.num_codebooks = json.at("num_codebooks"),
                               .nbits_per_codebook = json.at("nbits_per_codebook"),
                               .in_group_size = json.at("in_group_size"),
                               .out_group_size = json.at("out_group_size")};
    return std::make_shared<quant::AdditiveWeight>(spec, tensors.at(role + ".codes"), tensors.at(role + ".codebooks"),
                                                   tensors.at(role + ".scales"));
  }
  if (kind == "scalar") {
    const auto g_idx = tensors.find(role + ".g_idx");
    scalar::ScalarCode code{.codes = tensors.at(role + ".codes"),
                            .scales = tensors.at(role + ".scales"),
                            .zero_points = tensors.at(role + ".zero_points"),
                            .nbits = json.at("nbits"),
                            .group_size = json.at("group_size"),
                            .symmetric = json.at("symmetric"),
                            .axis = json.at("axis"),
                            .packing = static_cast<scalar::CodePacking>(json.at("packing").get<int>()),
                            .g_idx = g_idx == tensors.end() ? at::Tensor() : g_idx->second};
    return std::make_shared<scalar::ScalarWeight>(std::move(code), json.at("method").get<std::string>());
  }
  if (kind == "dense") {
    return std::make_shared<quant::DenseWeight>(tensors.at(role + ".matrix"), json.at("stored_bits").get<int64_t>());
  }
  throw std::runtime_error("unknown kind of weight " + kind);
}

/// NaN and infinities have no JSON number: their bits travel in a tensor of all values.
Json save_reports(const Context& context, size_t first, TensorMap& tensors) {
  Json reports = Json::array();
  std::vector<double> values;
  for (size_t i = first; i < context.layers.size(); ++i) {
    const LayerReport& report = context.layers[i];
    Json names = Json::array();
    for (const auto& [name, value] : report.metrics) {
      names.push_back(name);
      values.push_back(value);
    }
    reports.push_back({{"name", report.name}, {"role", report.role}, {"metrics", names}});
  }
  tensors["report values"] = at::tensor(values, at::kDouble);
  return reports;
}

std::vector<LayerReport> load_reports(const Json& json, int64_t block, const at::Tensor& values) {
  std::vector<LayerReport> reports;
  const at::Tensor host = values.cpu();
  int64_t next = 0;
  for (const Json& item : json) {
    LayerReport report{.name = item.at("name"), .block = block, .role = item.at("role"), .metrics = {}};
    for (const Json& name : item.at("metrics")) report.metrics[name] = host[next++].item<double>();
    reports.push_back(std::move(report));
  }
  return reports;
}

Json save_curves(const Context& context, size_t first, TensorMap& tensors) {
  Json curves = Json::array();
  std::vector<double> values;
  for (size_t i = first; i < context.curves.size(); ++i) {
    const LossCurve& curve = context.curves[i];
    curves.push_back({{"of", static_cast<int>(curve.of)}, {"name", curve.name}, {"size", curve.losses.size()}});
    values.insert(values.end(), curve.losses.begin(), curve.losses.end());
  }
  tensors["curve values"] = at::tensor(values, at::kDouble);
  return curves;
}

std::vector<LossCurve> load_curves(const Json& json, const at::Tensor& values) {
  std::vector<LossCurve> curves;
  const at::Tensor host = values.cpu();
  int64_t next = 0;
  for (const Json& item : json) {
    LossCurve curve{static_cast<LossCurve::Of>(item.at("of").get<int>()), item.at("name"), {}};
    for (size_t i = 0; i < item.at("size").get<size_t>(); ++i) curve.losses.push_back(host[next++].item<double>());
    curves.push_back(std::move(curve));
  }
  return curves;
}

}  // namespace

std::optional<TensorMap> save_block(const model::DecoderBlock& block,
                                    const std::vector<std::shared_ptr<quant::Weight>>& before, int64_t index,
                                    const Context& context, size_t first_report, size_t first_curve) {
  TensorMap tensors;
  Json json = {{"name", block.name}, {"index", index}, {"linears", Json::object()}};
  const auto linears = block.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    Json weight = save_weight(*linears[i], before.at(i).get(), tensors);
    if (weight.is_null()) {
      log_debug("{}: {} has no form for checkpoints", linears[i]->name, linears[i]->weight->format());
      return std::nullopt;
    }
    json["linears"][linears[i]->role] = std::move(weight);
  }
  const std::vector<at::Tensor> dense = const_cast<model::DecoderBlock&>(block).dense_parameters();
  for (size_t i = 0; i < dense.size(); ++i) tensors[fmt::format("dense.{}", i)] = dense[i].detach();
  json["reports"] = save_reports(context, first_report, tensors);
  json["curves"] = save_curves(context, first_curve, tensors);
  tensors["description"] = bytes_of(json.dump());
  return tensors;
}

bool restore_block(const TensorMap& tensors, model::DecoderBlock& block, int64_t index, Context& context) {
  try {
    const Json json = Json::parse(text_of(tensors.at("description")));
    if (json.at("name") != block.name || json.at("index") != index) return false;
    std::map<std::string, std::shared_ptr<quant::Weight>> weights;
    for (const model::Linear* linear : block.linears()) {
      const Json& stored = json.at("linears").at(linear->role);
      if (stored.at("kind") == "as it was") continue;
      auto weight = load_weight(stored, linear->role, tensors);
      if (weight->out_features() != linear->weight->out_features() ||
          weight->in_features() != linear->weight->in_features()) {
        return false;
      }
      weights[linear->role] = std::move(weight);
    }
    std::vector<at::Tensor> dense = block.dense_parameters();
    for (size_t i = 0; i < dense.size(); ++i) {
      if (tensors.at(fmt::format("dense.{}", i)).sizes() != dense[i].sizes()) return false;
    }
    std::vector<LayerReport> reports = load_reports(json.at("reports"), index, tensors.at("report values"));
    std::vector<LossCurve> curves = load_curves(json.at("curves"), tensors.at("curve values"));
    // Nothing below fails.
    const c10::NoGradGuard no_grad;
    for (size_t i = 0; i < dense.size(); ++i) dense[i].copy_(tensors.at(fmt::format("dense.{}", i)));
    for (model::Linear* linear : block.linears()) {
      if (const auto found = weights.find(linear->role); found != weights.end()) linear->weight = found->second;
    }
    for (LayerReport& report : reports) context.layers.push_back(std::move(report));
    for (LossCurve& curve : curves) context.curves.push_back(std::move(curve));
    return true;
  } catch (const std::exception& error) {
    log_warning("{}: its checkpoint does not fit ({}); it is quantised again", block.name, error.what());
    return false;
  }
}

}  // namespace aqlm_exp::method
