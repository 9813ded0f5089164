#include "framework/results/sidecar.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/results/record.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::results {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kChecksum = "checksum";

}  // namespace

std::string sidecar_text(const Sidecar& sidecar) {
  Json json;
  json["format"] = "aqlm-exp-sidecar";
  json["format_version"] = kFormatVersion;
  json["id"] = sidecar.id;
  json["name"] = clean_text(sidecar.name);
  json["status"] = sidecar.status;
  json["class"] = sidecar.failure_class;
  json["message"] = clean_text(sidecar.message);
  json["attempt"] = sidecar.attempt;
  json["exit_code"] = sidecar.exit_code;
  json["signal"] = sidecar.signal;
  json["duration_s"] = sidecar.duration_s;
  json["build_id"] = sidecar.build_id;
  json["sha256"] = sidecar.sha256;
  json["size_bytes"] = sidecar.size_bytes;
  json["overrides"] = Json::array();
  for (const std::string& text : sidecar.overrides) json["overrides"].push_back(clean_text(text));
  json["log_tail"] = Json::array();
  for (const std::string& line : sidecar.log_tail) json["log_tail"].push_back(clean_text(line));
  const std::string checksum = sha256_hex(json.dump());
  json[kChecksum] = checksum;
  return json.dump() + "\n";
}

Sidecar parse_sidecar(std::string_view text, const std::string& shown_name) {
  const auto damaged = [&](const std::string& why) {
    return StorageError(
        fmt::format("{}: damaged ({}); `aqlm-exp run` on this folder sets it aside and repeats the trial", shown_name,
                    why),
        "R-SIDECAR");
  };
  if (text.empty() || text.back() != '\n') throw damaged("it does not end with a newline");
  // Depth is bounded by hand: the JSON library recurses when it copies.
  int depth = 0;
  for (char c : text) {
    if (c == '[' || c == '{') ++depth;
    if (depth > 2000) throw damaged("too many brackets");
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains(kChecksum) || !json[kChecksum].is_string()) throw damaged("not a sidecar");
  const std::string checksum = json[kChecksum].get<std::string>();
  json.erase(kChecksum);
  // Exactly the bytes we write, so that any changed byte shows, between the values too.
  if (sha256_hex(json.dump()) != checksum) throw damaged("its checksum differs");
  Json whole = json;
  whole[kChecksum] = checksum;
  if (whole.dump() + "\n" != text) throw damaged("its bytes differ from what they say");
  try {
    const int64_t version = json.at("format_version").get<int64_t>();
    if (version > kFormatVersion) {
      throw Error(ExitCode::kVersion, "R-VERSION",
                  fmt::format("{}: got format version {}, this program reads up to {}; use a newer aqlm-exp",
                              shown_name, version, kFormatVersion));
    }
    Sidecar sidecar;
    sidecar.id = json.at("id").get<std::string>();
    sidecar.name = json.at("name").get<std::string>();
    sidecar.status = json.at("status").get<std::string>();
    sidecar.failure_class = json.at("class").get<std::string>();
    sidecar.message = json.at("message").get<std::string>();
    sidecar.attempt = json.at("attempt").get<int64_t>();
    sidecar.exit_code = json.at("exit_code").get<int64_t>();
    sidecar.signal = json.at("signal").get<int64_t>();
    sidecar.duration_s = json.at("duration_s").get<double>();
    sidecar.build_id = json.at("build_id").get<std::string>();
    sidecar.sha256 = json.at("sha256").get<std::string>();
    sidecar.size_bytes = json.at("size_bytes").get<uint64_t>();
    sidecar.overrides = json.at("overrides").get<std::vector<std::string>>();
    sidecar.log_tail = json.at("log_tail").get<std::vector<std::string>>();
    return sidecar;
  } catch (const nlohmann::json::exception& error) {
    throw damaged(error.what());
  }
}

std::filesystem::path result_path(const std::filesystem::path& results_dir, std::string_view trial_id) {
  return results_dir / (id16(trial_id) + ".h5");
}

std::filesystem::path sidecar_path(const std::filesystem::path& results_dir, std::string_view trial_id) {
  return results_dir / (id16(trial_id) + ".json");
}

void publish_failure(const Sidecar& sidecar, const std::filesystem::path& results_dir, FileSystem& files) {
  if (sidecar.status == "completed" || !sidecar.sha256.empty()) {
    throw InternalError("[results] publish_failure got a completed trial; publish() is for those");
  }
  const std::filesystem::path path = sidecar_path(results_dir, sidecar.id);
  if (std::filesystem::exists(path)) {
    const Sidecar present = parse_sidecar(read_file(path), path.string());
    if (present.status == "completed") return;  // another worker succeeded meanwhile: its result stands
  }
  put_file(path, sidecar_text(sidecar), IfPresent::kReplace, files);
}

}  // namespace aqlm_exp::results
