// The Hugging Face AQLM layout, as the aqlm package 1.1.7 and transformers 4 and 5 read it. Source: design/aqlm.md 1.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/model/save.h"
#include "framework/model/tensor_export.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::model {
namespace {

using Json = nlohmann::ordered_json;

const quant::AdditiveWeight* additive(const Linear& linear) {
  return dynamic_cast<const quant::AdditiveWeight*>(linear.weight.get());
}

at::ScalarType code_type(int64_t nbits) { return nbits <= 8 ? at::kChar : nbits <= 16 ? at::kShort : at::kInt; }

/// Codes as signed numbers of nbits: two's complement within nbits, not within the container.
at::Tensor wrapped(const quant::AdditiveWeight& weight) {
  const at::Tensor& codes = weight.codes();
  const int64_t size = weight.spec().codebook_size();
  return at::where(codes >= size / 2, codes - size, codes);
}

void add_additive(TensorExport& out, const Linear& linear) {
  const auto weight = std::dynamic_pointer_cast<quant::AdditiveWeight>(linear.weight);
  out.add(linear.name + ".codes", code_type(weight->spec().nbits_per_codebook), weight->codes().sizes().vec(),
          [weight] { return wrapped(*weight); });
  out.add_half(linear.name + ".codebooks", weight->codebooks().sizes().vec(), [weight] { return weight->codebooks(); });
  out.add_half(linear.name + ".scales", {weight->num_out_groups(), 1, 1, 1}, [weight] {
    return weight->scales().view({-1, 1, 1, 1});
  });
}

std::string quantisation_config(const quant::CodeSpec& spec, const TensorExport& tensors) {
  // transformers 4 compares full parameter names, transformers 5 matches module names: both forms are listed.
  std::vector<std::string> dense = tensors.dense_names();
  dense.insert(dense.end(), tensors.dense_modules().begin(), tensors.dense_modules().end());
  for (const char* name : {"lm_head.weight", "lm_head"}) {
    if (std::find(dense.begin(), dense.end(), name) == dense.end()) dense.emplace_back(name);
  }
  const Json json = {{"quant_method", "aqlm"},
                     {"in_group_size", spec.in_group_size},
                     {"out_group_size", spec.out_group_size},
                     {"num_codebooks", spec.num_codebooks},
                     {"nbits_per_codebook", spec.nbits_per_codebook},
                     {"linear_weights_not_to_quantize", dense}};
  return json.dump();
}

}  // namespace

std::string aqlm_refusal(const Model& model) {
  const quant::AdditiveWeight* first = nullptr;
  std::string first_name;
  for (const Linear* linear : model.linears()) {
    if (!linear->weight->is_quantised()) continue;
    const quant::AdditiveWeight* weight = additive(*linear);
    if (weight == nullptr) {
      return fmt::format("{} is quantised as {}, which the AQLM layout cannot hold; save it in aqlm-exp's own format",
                         linear->name, linear->weight->format());
    }
    if (first == nullptr) {
      first = weight;
      first_name = linear->name;
    } else if (weight->format() != first->format()) {
      return fmt::format(
          "{} is {}, {} is {}: the AQLM layout has one setting for the whole model; save it in aqlm-exp's own format, "
          "or quantise every linear alike",
          first_name, first->format(), linear->name, weight->format());
    }
  }
  return first == nullptr ? "no linear of the model is quantised with AQLM" : "";
}

void save_aqlm(const Model& model, const std::filesystem::path& folder, const SaveOptions& options) {
  if (const std::string reason = aqlm_refusal(model); !reason.empty()) throw ConfigError("[save] " + reason);
  const quant::AdditiveWeight* some = nullptr;
  for (const Linear* linear : model.linears()) some = additive(*linear) != nullptr ? additive(*linear) : some;
  const TensorExport tensors(model, add_additive);
  const std::string config = export_config(model, options.source, quantisation_config(some->spec(), tensors));
  checkpoint::make_empty_folder(folder);
  checkpoint::write_checkpoint(folder, tensors.tensors(), options.max_shard_bytes);
  checkpoint::copy_companion_files(options.source, folder);
  if (!options.model_card.empty()) write_file_atomically(folder / "README.md", options.model_card);
  write_file_atomically(folder / "config.json", config);
  if (model.config.moe) {
    log_warning("{}: transformers 5 keeps experts in fused tensors and cannot load quantised ones; transformers 4 can",
                folder.string());
  }
}

}  // namespace aqlm_exp::model
