// Layouts of GPTQ, AWQ and HQQ checkpoints, and our own. Sources: AutoGPTQ qlinear_cuda_old.py (pack), AutoAWQ gemm.py
// (from_linear), hqq 0.2.8 core/quantize.py (state_dict) and core/bitpack.py.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/checkpoint/expected_tensors.h"
#include "framework/checkpoint/scalar_tensors.h"
#include "framework/model/quantised_layouts.h"
#include "framework/model/save.h"
#include "framework/model/tensor_export.h"
#include "framework/quant/additive_weight.h"
#include "framework/scalar/bitpack.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::model {
namespace {

using Json = nlohmann::ordered_json;
using CodePointer = std::shared_ptr<const scalar::ScalarCode>;

CodePointer code_of(const Linear& linear) {
  const auto weight = std::dynamic_pointer_cast<scalar::ScalarWeight>(linear.weight);
  return weight ? CodePointer(weight, &weight->code()) : nullptr;
}

const char* name_of(ScalarFormat format) {
  return format == ScalarFormat::kGptq ? "gptq" : format == ScalarFormat::kAwq ? "awq" : "hqq";
}

/// A group that is a whole row (or column, axis 0) is -1, so that linears of all shapes have one setting.
int64_t group_size(const scalar::ScalarCode& code) {
  const int64_t whole = code.axis == 1 ? code.in_features() : code.out_features();
  return code.group_size == whole ? -1 : code.group_size;
}

/// All linears agree where group sizes can: a -1 among others means that a row happens to have that length.
int64_t common_group_size(const Model& model) {
  int64_t size = -1;
  for (const Linear* linear : model.linears()) {
    if (const CodePointer code = code_of(*linear)) size = std::max(size, group_size(*code));
  }
  return size;
}

bool has_zero_of_nought(const Model& model) {
  for (const Linear* linear : model.linears()) {
    const CodePointer code = code_of(*linear);
    if (code && (code->zero_points == 0).any().item<bool>()) return true;
  }
  return false;
}

at::Tensor plain_groups(const scalar::ScalarCode& code) {
  return at::arange(code.in_features(), at::kLong).floor_divide(code.group_size).to(at::kInt);
}

void add_gptq(TensorExport& out, const Linear& linear, bool minus_one) {
  const CodePointer code = code_of(linear);
  const int64_t rows = code->out_features(), columns = code->in_features(), groups = code->scales.size(1);
  out.add(linear.name + ".qweight", at::kInt, {columns * code->nbits / 32, rows},
          [code] { return scalar::pack_rows(code->codes, code->nbits).t(); });
  out.add(linear.name + ".qzeros", at::kInt, {groups, rows * code->nbits / 32}, [code, minus_one] {
    at::Tensor zeros = code->zero_points.to(at::kInt).t();
    if (minus_one) zeros = zeros - 1;
    return scalar::pack_rows(zeros.bitwise_and((1 << code->nbits) - 1).to(at::kByte), code->nbits);
  });
  out.add(linear.name + ".scales", at::kHalf, {groups, rows}, [code] { return code->scales.t(); });
  out.add(linear.name + ".g_idx", at::kInt, {columns},
          [code] { return code->g_idx.defined() ? code->g_idx : plain_groups(*code); });
}

void add_awq(TensorExport& out, const Linear& linear) {
  const CodePointer code = code_of(linear);
  const int64_t rows = code->out_features(), groups = code->scales.size(1);
  out.add(linear.name + ".qweight", at::kInt, {code->in_features(), rows / 8},
          [code] { return pack_awq(code->codes.t().contiguous()); });
  out.add(linear.name + ".qzeros", at::kInt, {groups, rows / 8},
          [code] { return pack_awq(code->zero_points.t().contiguous()); });
  out.add(linear.name + ".scales", at::kHalf, {groups, rows}, [code] { return code->scales.t(); });
}

at::Tensor text_tensor(const std::string& text) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), static_cast<char*>(bytes.data_ptr()));
  return bytes;
}

void add_hqq(TensorExport& out, const Linear& linear, const checkpoint::ScalarLayout& layout) {
  const CodePointer code = code_of(linear);
  const int64_t group = code->group_size, rows = code->out_features(), columns = code->in_features();
  const auto add = [&](const checkpoint::ScalarTensor& tensor, at::ScalarType type, std::function<at::Tensor()> make) {
    out.add(linear.name + tensor.suffix, type, tensor.shape, std::move(make));
  };
  const auto tensors = checkpoint::scalar_tensors(layout, rows, columns);
  add(tensors[0], code->nbits == 3 ? at::kInt : at::kByte, [code, group] {
    const std::vector<int64_t> grouped =
        code->axis == 1 ? std::vector<int64_t>{-1, group} : std::vector<int64_t>{group, -1};
    return pack_hqq(code->codes.reshape(grouped), code->nbits);
  });
  add(tensors[1], at::kHalf, [code, shape = tensors[1].shape] { return code->scales.reshape(shape); });
  add(tensors[2], at::kHalf, [code, shape = tensors[2].shape] { return code->zero_points.reshape(shape); });
  // What hqq keeps beside them, encoded as its encode_safetensor_type does.
  const auto constant = [&](const std::string& name, const at::Tensor& value) {
    out.add(linear.name + "." + name, value.scalar_type(), value.sizes().vec(), [value] { return value; });
  };
  const auto flag = [&](const std::string& name, bool value) {
    constant(name, at::scalar_tensor(static_cast<int64_t>(value), at::kByte));
  };
  const int64_t in_use = code->nbits == 5 || code->nbits == 6 ? 8 : code->nbits;
  constant("nbits", at::scalar_tensor(code->nbits, at::kInt));
  constant("group_size", at::scalar_tensor(group, at::kInt));
  constant("shape", at::tensor({static_cast<int32_t>(rows), static_cast<int32_t>(columns)}, at::kInt));
  constant("axis", at::scalar_tensor(code->axis, at::kInt));
  constant("packing", text_tensor(fmt::format("{}bit_{}", in_use, in_use == 3 ? "32" : "u8")));
  constant("unpack_view_dtype", text_tensor(in_use == 3 ? "torch.int32" : "torch.uint8"));
  constant("compute_dtype", text_tensor("torch.float16"));
  flag("view_as_float", false);
  flag("quant_scale", false);
  flag("quant_zero", false);
  flag("offload_meta", false);
  flag("encoded_state_dict", true);
  flag("stores_quant_config", true);
  flag("channel_wise", true);
  flag("optimize", true);
  flag("round_zero", code->nbits == 4);
}

std::string regex_of(const std::string& name) {
  std::string out;
  for (const char c : name) out += c == '.' ? std::string("\\.") : std::string(1, c);
  return out;
}

/// Dense linears of the blocks, routers and the gates of shared experts; loaders leave the output layer alone without
/// being told.
std::vector<std::string> skipped(const Model& model) {
  std::vector<std::string> names;
  for (const Linear* linear : model.linears()) {
    if (!linear->weight->is_quantised()) names.push_back(linear->name);
  }
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    if (model.blocks[i].moe.empty()) continue;
    const std::string module =
        checkpoint::moe_module(model.config, static_cast<int64_t>(i), checkpoint::ExpertLayout::kSeparate);
    names.push_back(module + ".gate");
    if (model.blocks[i].moe.shared) names.push_back(module + ".shared_expert_gate");
  }
  return names;
}

Json gptq_config(const Model& model, const checkpoint::ScalarLayout& layout, bool act_order) {
  Json json = {{"quant_method", "gptq"},          {"bits", layout.nbits},
               {"group_size", layout.group_size}, {"desc_act", act_order},
               {"sym", layout.symmetric},         {"checkpoint_format", layout.zeros_minus_one ? "gptq" : "gptq_v2"},
               {"pack_dtype", "int32"},           {"lm_head", false}};
  for (const std::string& name : skipped(model)) json["dynamic"]["-:^" + regex_of(name) + "$"] = Json::object();
  return json;
}

Json awq_config(const Model& model, const checkpoint::ScalarLayout& layout) {
  Json json = {{"quant_method", "awq"},
               {"bits", layout.nbits},
               {"group_size", layout.group_size},
               {"zero_point", true},
               {"version", "gemm"}};
  const auto dense = skipped(model);
  if (dense.empty()) {
    json["modules_to_not_convert"] = nullptr;
  } else {
    json["modules_to_not_convert"] = dense;
  }
  return json;
}

Json hqq_config(const Model& model, const checkpoint::ScalarLayout& layout) {
  std::vector<std::string> dense = skipped(model);
  dense.emplace_back("lm_head");
  Json weights = {
      {"nbits", layout.nbits},           {"channel_wise", true}, {"group_size", nullptr}, {"optimize", true},
      {"round_zero", layout.nbits == 4}, {"axis", layout.axis},  {"view_as_float", false}};
  if (layout.group_size != -1) weights["group_size"] = layout.group_size;
  return {{"quant_method", "hqq"},
          {"quant_config",
           {{"weight_quant_params", weights},
            {"scale_quant_params", nullptr},
            {"zero_quant_params", nullptr},
            {"offload_meta", false}}},
          {"skip_modules", dense}};
}

void write_folder(const Model& model, const TensorExport& tensors, const Json& quantisation,
                  const std::filesystem::path& folder, const SaveOptions& options) {
  const std::string config = export_config(model, options.source, quantisation.dump());
  checkpoint::make_empty_folder(folder);
  checkpoint::write_checkpoint(folder, tensors.tensors(), options.max_shard_bytes);
  checkpoint::copy_companion_files(options.source, folder);
  if (!options.model_card.empty()) write_file_atomically(folder / "README.md", options.model_card);
  write_file_atomically(folder / "config.json", config);
}

checkpoint::ScalarLayout layout_of(const Model& model, ScalarFormat format) {
  checkpoint::ScalarLayout layout{.method = name_of(format)};
  for (const Linear* linear : model.linears()) {
    if (const CodePointer code = code_of(*linear)) {
      layout.nbits = code->nbits;
      layout.axis = code->axis;
      layout.symmetric = code->symmetric;
      layout.integer_zero_points = code->zero_points.scalar_type() == at::kByte;
      break;
    }
  }
  layout.group_size = common_group_size(model);
  return layout;
}

void add_own(TensorExport& out, const Linear& linear) {
  if (const auto weight = std::dynamic_pointer_cast<quant::AdditiveWeight>(linear.weight)) {
    add_additive(out, linear);
    return;
  }
  const CodePointer code = code_of(linear);
  out.add(linear.name + ".packed_codes", at::kInt,
          {code->out_features(), (code->in_features() * code->nbits + 31) / 32},
          [code] { return scalar::pack_rows(code->codes, code->nbits); });
  out.add(linear.name + ".scales", at::kHalf, code->scales.sizes().vec(), [code] { return code->scales; });
  if (!code->symmetric) {
    out.add(linear.name + ".zero_points", code->zero_points.scalar_type(), code->zero_points.sizes().vec(),
            [code] { return code->zero_points; });
  }
  if (code->g_idx.defined()) {
    out.add(linear.name + ".g_idx", at::kInt, {code->in_features()}, [code] { return code->g_idx; });
  }
}

Json own_config(const Model& model) {
  Json linears = Json::object();
  for (const Linear* linear : model.linears()) {
    if (!linear->weight->is_quantised()) continue;
    if (const auto* weight = dynamic_cast<const quant::AdditiveWeight*>(linear->weight.get())) {
      const quant::CodeSpec& spec = weight->spec();
      linears[linear->name] = {{"kind", "additive"},
                               {"num_codebooks", spec.num_codebooks},
                               {"nbits_per_codebook", spec.nbits_per_codebook},
                               {"in_group_size", spec.in_group_size},
                               {"out_group_size", spec.out_group_size}};
      continue;
    }
    const CodePointer code = code_of(*linear);
    const std::string format = linear->weight->format();
    linears[linear->name] = {{"kind", "scalar"},
                             {"method", format.substr(0, format.find(' '))},
                             {"nbits", code->nbits},
                             {"group_size", code->group_size},
                             {"axis", code->axis},
                             {"symmetric", code->symmetric},
                             {"integer_zero_points", code->zero_points.scalar_type() == at::kByte}};
  }
  return {{"quant_method", "aqlm-exp"}, {"version", 1}, {"linears", linears}};
}

}  // namespace

std::string scalar_refusal(const Model& model, ScalarFormat format) {
  const checkpoint::ScalarLayout layout = layout_of(model, format);
  const std::string name = name_of(format);
  const std::string advice = "; save it in aqlm-exp's own format";
  bool any = false;
  for (const Linear* linear : model.linears()) {
    if (!linear->weight->is_quantised()) continue;
    const CodePointer code = code_of(*linear);
    const auto refuse = [&](const std::string& what) {
      return fmt::format("{} ({}): {}{}", linear->name, linear->weight->format(), what, advice);
    };
    if (!code) return refuse(fmt::format("the {} layout holds integers with scales only", name));
    any = true;
    const int64_t group = group_size(*code), whole = code->axis == 1 ? code->in_features() : code->out_features();
    if (code->nbits != layout.nbits || code->axis != layout.axis || code->symmetric != layout.symmetric ||
        (group != layout.group_size && !(group == -1 && whole == layout.group_size))) {
      return refuse(fmt::format("other linears have {} bits, groups of {}: the {} layout has one setting for the model",
                                layout.nbits, layout.group_size, name));
    }
    if (format == ScalarFormat::kHqq) {
      if (layout.integer_zero_points) return refuse("hqq has real zero points");
      if (code->nbits == 5 || code->nbits == 6) {
        // hqq keeps them as bytes under their own names; its loaders know 8, 4, 3, 2 and 1.
        return refuse("hqq's packages load 1, 2, 3, 4 and 8 bits");
      }
    } else {
      if (!layout.integer_zero_points || code->axis != 1) {
        return refuse(fmt::format("{} has integer zero points and groups along rows", name));
      }
      if (format == ScalarFormat::kAwq && code->nbits != 4) return refuse("AutoAWQ's layout has 4 bits");
      if (format == ScalarFormat::kAwq && code->g_idx.defined()) return refuse("AutoAWQ's layout has no act-order");
      if (format == ScalarFormat::kGptq && code->nbits != 2 && code->nbits != 3 && code->nbits != 4 &&
          code->nbits != 8) {
        return refuse("GPTQ's layout has 2, 3, 4 or 8 bits");
      }
    }
    const std::string misfit = checkpoint::scalar_shape_refusal(layout, code->out_features(), code->in_features());
    if (!misfit.empty()) return refuse(misfit);
  }
  return any ? "" : "no linear of the model is quantised";
}

void save_scalar(const Model& model, ScalarFormat format, const std::filesystem::path& folder,
                 const SaveOptions& options) {
  if (const std::string reason = scalar_refusal(model, format); !reason.empty()) throw ConfigError("[save] " + reason);
  checkpoint::ScalarLayout layout = layout_of(model, format);
  layout.zeros_minus_one = format == ScalarFormat::kGptq && !has_zero_of_nought(model);
  if (format == ScalarFormat::kGptq && !layout.zeros_minus_one) {
    log_info("{}: some zero points are 0, which the first GPTQ format cannot hold: written as gptq_v2",
             folder.string());
  }
  bool act_order = false;
  for (const Linear* linear : model.linears()) {
    const CodePointer code = code_of(*linear);
    act_order |= code && code->g_idx.defined();
  }
  const TensorExport tensors(model, [&](TensorExport& out, const Linear& linear) {
    if (format == ScalarFormat::kGptq) add_gptq(out, linear, layout.zeros_minus_one);
    if (format == ScalarFormat::kAwq) add_awq(out, linear);
    if (format == ScalarFormat::kHqq) add_hqq(out, linear, layout);
  });
  const Json config = format == ScalarFormat::kGptq  ? gptq_config(model, layout, act_order)
                      : format == ScalarFormat::kAwq ? awq_config(model, layout)
                                                     : hqq_config(model, layout);
  write_folder(model, tensors, config, folder, options);
}

std::string own_refusal(const Model& model) {
  bool any = false;
  for (const Linear* linear : model.linears()) {
    if (!linear->weight->is_quantised()) continue;
    any = true;
    if (code_of(*linear) || dynamic_cast<const quant::AdditiveWeight*>(linear->weight.get()) != nullptr) continue;
    return fmt::format("{} is quantised as {}, which no layout written here holds", linear->name,
                       linear->weight->format());
  }
  return any ? "" : "no linear of the model is quantised";
}

void save_own(const Model& model, const std::filesystem::path& folder, const SaveOptions& options) {
  if (const std::string reason = own_refusal(model); !reason.empty()) throw ConfigError("[save] " + reason);
  write_folder(model, TensorExport(model, add_own), own_config(model), folder, options);
}

}  // namespace aqlm_exp::model
