#include <fmt/format.h>

#include "framework/model/save.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::model {
namespace {

std::string last_part(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

}  // namespace

std::string model_card(const CardFacts& facts, const std::string& quant_method) {
  const std::string name = last_part(facts.base_model);
  std::string out = fmt::format(
      "---\nbase_model: {}\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- {}\n---\n"
      "# {}, {} {}\n\n",
      facts.base_model, quant_method, name, facts.method, facts.setting);
  out += fmt::format("{} quantised with {} ({}) by {}.\n\n", name, facts.method, facts.setting, facts.software);
  if (!facts.figures.empty()) {
    out += "| measured | value |\n| --- | --- |\n";
    for (const auto& [what, value] : facts.figures) out += fmt::format("| {} | {} |\n", what, value);
    out += "\n";
  }
  if (!facts.command.empty()) out += fmt::format("Made by\n```sh\n{}\n```\n\n", facts.command);
  const bool aqlm = quant_method == "aqlm";
  out += fmt::format(
      "## Use\n```sh\npip install transformers accelerate{}\n```\n```python\n"
      "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
      "model = AutoModelForCausalLM.from_pretrained(\"PATH\", dtype=\"auto\")\n"
      "tokenizer = AutoTokenizer.from_pretrained(\"PATH\")\n```\n",
      aqlm ? " \"aqlm[gpu,cpu]\"" : "");
  if (aqlm) out += "On a CPU load it with `dtype=torch.float32`: the package's kernels need it.\n";
  return out;
}

std::string hub_name(const std::string& base_model, const Model& model) {
  const std::string name = last_part(base_model);
  for (const Linear* linear : model.linears()) {
    const auto* weight = dynamic_cast<const quant::AdditiveWeight*>(linear->weight.get());
    if (weight == nullptr) continue;
    const quant::CodeSpec& spec = weight->spec();
    const double bits =
        static_cast<double>(spec.num_codebooks * spec.nbits_per_codebook) / static_cast<double>(spec.group_size());
    return fmt::format("{}-AQLM-{:g}Bit-{}x{}-hf", name, bits, spec.num_codebooks, spec.nbits_per_codebook);
  }
  return name;
}

}  // namespace aqlm_exp::model
