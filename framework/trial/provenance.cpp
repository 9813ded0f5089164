#include "framework/trial/provenance.h"

#include <ATen/Parallel.h>
#include <fmt/core.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>  // three numbers; pulls in no other torch header
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/build_info.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::trial {
namespace {

std::string first_match(const char* file, const std::string& prefix) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(prefix)) {
      const size_t colon = line.find(':');
      const size_t start = line.find_first_not_of(" \t", colon + 1);
      return start == std::string::npos ? "" : line.substr(start);
    }
  }
  return {};
}

}  // namespace

void add_provenance(results::TrialRecord& record) {
  const BuildInfo& build = build_info();
  record.writer = "aqlm-exp-trial " + build.version;
  record.build_id = build.build_id;
  const auto add = [&](const char* key, results::Value value) {
    record.provenance.emplace_back(key, std::move(value));
  };
  add("git/commit", build.git_commit);
  add("git/dirty", static_cast<int64_t>(build.git_dirty));
  add("build/id", build.build_id);
  add("build/compiler", build.compiler);
  add("build/flags", build.flags);
  add("build/type", build.build_type);
  add("libraries/libtorch", fmt::format("{}.{}.{}", TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, TORCH_VERSION_PATCH));
  add("libraries/fmt", std::to_string(FMT_VERSION));
  add("libraries/nlohmann_json",
      fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH));
  struct utsname system {};
  if (::uname(&system) == 0) {
    add("host/name_sha256", sha256_hex(system.nodename));  // hashed: a host name may not be for everybody
    add("host/kernel", std::string(system.sysname) + " " + system.release);
    add("host/machine", std::string(system.machine));
  }
  add("host/cpu", first_match("/proc/cpuinfo", "model name"));
  add("host/cores", static_cast<int64_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
  add("host/memory", first_match("/proc/meminfo", "MemTotal"));
  add("threads", static_cast<int64_t>(at::get_num_threads()));
}

}  // namespace aqlm_exp::trial
