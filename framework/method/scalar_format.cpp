#include "framework/method/scalar_format.h"

#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::method {
namespace {

void check_group_size(const char* key, int64_t group_size) {
  if (group_size == 0) throw ConfigError(fmt::format("{}: got 0, need >= 1, or -1 for one group per row", key));
}

}  // namespace

ScalarFormats::ScalarFormats(config::Reader& root, const Limits& limits) {
  config::Reader quant = root.section("quant", {.doc = "how weights are stored"});
  common_.nbits = quant.integer(
      "nbits",
      {.fallback = 4, .min = limits.min_nbits, .max = limits.max_nbits, .unit = "bits", .doc = "bits of a code"});
  common_.group_size = quant.integer("group_size", {.fallback = limits.group_size,
                                                    .min = limits.min_group_size,
                                                    .max = limits.max_group_size,
                                                    .unit = "weights",
                                                    .doc = "weights that share a scale; -1: a whole row"});
  check_group_size("quant.group_size", common_.group_size);
  quant.sections(
      "overrides", {.doc = "other choices for some linears; the last match decides"}, [&](config::Reader& in) {
        Override entry;
        entry.match = in.text("match", {.doc = "regular expression (ECMAScript), searched for in the linear's name"});
        entry.nbits = in.optional_integer(
            "nbits", {.min = limits.min_nbits, .max = limits.max_nbits, .unit = "bits", .doc = "bits of a code"});
        entry.group_size = in.optional_integer("group_size", {.min = limits.min_group_size,
                                                              .max = limits.max_group_size,
                                                              .unit = "weights",
                                                              .doc = "as quant.group_size"});
        entry.skip = in.flag("skip", {.fallback = false, .doc = "leave these linears unquantised"});
        if (in.describing()) return;
        if (entry.group_size) check_group_size("quant.overrides: group_size", *entry.group_size);
        try {
          entry.pattern = std::regex(entry.match);
        } catch (const std::regex_error& error) {
          throw ConfigError(
              fmt::format("quant.overrides: match \"{}\": not a regular expression ({})", entry.match, error.what()));
        }
        overrides_.push_back(std::move(entry));
      });
}

ScalarFormat ScalarFormats::at(const std::string& linear) const {
  ScalarFormat format = common_;
  for (const Override& entry : overrides_) {
    if (!std::regex_search(linear, entry.pattern)) continue;
    if (entry.nbits) format.nbits = *entry.nbits;
    if (entry.group_size) format.group_size = *entry.group_size;
    format.skip = entry.skip;
  }
  return format;
}

void ScalarFormats::check(const model::Model& model) const {
  const std::vector<const model::Linear*> linears = model.linears();
  for (const Override& entry : overrides_) {
    const bool matches = std::any_of(linears.begin(), linears.end(), [&](const model::Linear* linear) {
      return std::regex_search(linear->name, entry.pattern);
    });
    if (matches || linears.empty()) continue;
    throw ConfigError(
        fmt::format("quant.overrides: match \"{}\" fits none of the model's {} linears; names look like "
                    "\"{}\"",
                    entry.match, linears.size(), linears.front()->name));
  }
}

std::vector<quant::Scheme> ScalarFormats::schemes(quant::Scheme::Kind kind, int64_t axis) const {
  std::vector<quant::Scheme> out;
  const auto add = [&](const ScalarFormat& format) {
    if (format.skip) return;
    quant::Scheme scheme;
    scheme.kind = kind;
    scheme.nbits = format.nbits;
    scheme.group_size = format.group_size;
    scheme.axis = axis;
    out.push_back(scheme);
  };
  add(common_);
  for (const Override& override : overrides_) {
    ScalarFormat format = common_;
    if (override.nbits) format.nbits = *override.nbits;
    if (override.group_size) format.group_size = *override.group_size;
    format.skip = override.skip;
    add(format);
  }
  return out;
}

std::string ScalarFormats::str() const {
  std::string text = common_.group_size == -1 ? fmt::format("{} bits per row", common_.nbits)
                                              : fmt::format("{} bits g{}", common_.nbits, common_.group_size);
  if (!overrides_.empty()) {
    text += fmt::format(", {} override{}", overrides_.size(), overrides_.size() == 1 ? "" : "s");
  }
  return text;
}

void quantise_each_linear(
    model::Model& model, const ScalarFormats& formats, Context& context,
    const std::function<std::shared_ptr<quant::Weight>(const at::Tensor& original, const ScalarFormat& format,
                                                       std::map<std::string, double>& metrics)>& make) {
  formats.check(model);
  const StageTimes::Scope scope(context.times, "quantise");
  const auto num_blocks = static_cast<int64_t>(model.blocks.size());
  for (int64_t i = 0; i < num_blocks; ++i) {
    for (model::Linear* linear : model.blocks[static_cast<size_t>(i)].linears()) {
      const ScalarFormat format = formats.at(linear->name);
      if (format.skip) continue;
      const Stopwatch watch;
      const at::Tensor original = linear->weight->dequantise().detach();
      std::map<std::string, double> metrics;
      linear->weight = make(original, format, metrics);
      report_layer(context, *linear, i, original, at::Tensor(), watch.elapsed_s());
      context.layers.back().metrics.merge(metrics);
    }
    report_progress("quantise", i + 1, num_blocks);
  }
}

}  // namespace aqlm_exp::method
