#include "framework/text/post_processor.h"

#include <fmt/format.h>

#include <string>

#include "framework/text/normalizer.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kMaxTemplateItems = 1024;

void append_special(const JsonFields& in, const JsonFields& item, int64_t max_id, std::vector<int32_t>& out) {
  const std::string name = item.text("id");
  const JsonFields specials = in.object("special_tokens");
  if (!specials.has(name)) {
    item.fail("id", "TEMPLATE",
              fmt::format("special token \"{}\" is not defined under special_tokens", name.substr(0, 60)));
  }
  const JsonFields special = specials.object(name);
  for (const auto& id : special.array("ids", kMaxTemplateItems)) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(max_id)) {
      special.fail("ids", "RANGE", fmt::format("got {}, need ids of tokens", json_excerpt(id)));
    }
    out.push_back(id.get<int32_t>());
  }
}

SpecialFrame read_template(const JsonFields& in, int64_t max_id) {
  SpecialFrame frame;
  int num_sequences = 0;
  size_t index = 0;
  for (const auto& entry : in.array("single", kMaxTemplateItems)) {
    const JsonFields item(entry, in.where(), fmt::format("{}.{}", in.path_of("single"), index++), "K");
    if (item.has("Sequence")) {
      if (item.object("Sequence").text("id") != "A" || ++num_sequences > 1) {
        item.fail("Sequence", "TEMPLATE", "a template of one text holds sequence A once");
      }
    } else {
      append_special(in, item.object("SpecialToken"), max_id, num_sequences == 0 ? frame.before : frame.behind);
    }
  }
  if (num_sequences == 0) in.fail("single", "TEMPLATE", "holds no sequence A: the text itself would be dropped");
  return frame;
}

int32_t pair_id(const JsonFields& in, std::string_view key, int64_t max_id) {
  const auto& pair = in.array(key, 2);
  if (pair.size() != 2 || !pair[1].is_number_unsigned()) in.fail(key, "TYPE", "need [token, id]");
  if (pair[1].get<uint64_t>() > static_cast<uint64_t>(max_id)) in.fail(key, "RANGE", "need the id of a token");
  return pair[1].get<int32_t>();
}

void read(const JsonFields& in, int64_t max_id, int depth, SpecialFrame& frame) {
  if (depth > kMaxNestedSteps) in.fail("type", "NESTED", fmt::format("nested deeper than {} levels", kMaxNestedSteps));
  const std::string type = in.text("type");
  SpecialFrame own;
  if (type == "ByteLevel") {
    return;  // moves offsets only
  } else if (type == "TemplateProcessing") {
    own = read_template(in, max_id);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    own.before = {pair_id(in, "cls", max_id)};
    own.behind = {pair_id(in, "sep", max_id)};
  } else if (type == "Sequence") {
    size_t index = 0;
    for (const auto& step : in.array("processors", kMaxNestedSteps)) {
      read(JsonFields(step, in.where(), fmt::format("{}.{}", in.path_of("processors"), index++), "K"), max_id,
           depth + 1, frame);
    }
    return;
  } else {
    in.fail("type", "UNKNOWN",
            fmt::format("unknown post-processor \"{}\"; known: TemplateProcessing, BertProcessing, RobertaProcessing, "
                        "ByteLevel, Sequence",
                        type.substr(0, 64)));
  }
  frame.before.insert(frame.before.begin(), own.before.begin(), own.before.end());
  frame.behind.insert(frame.behind.end(), own.behind.begin(), own.behind.end());
}

}  // namespace

SpecialFrame read_post_processor(const JsonFields& in, int64_t max_id) {
  SpecialFrame frame;
  read(in, max_id, 1, frame);
  return frame;
}

}  // namespace aqlm_exp::text
