#include "framework/trial/kernel_tables.h"

#include <fmt/format.h>

namespace aqlm_exp::trial {
namespace {

/// "aqlm 2x8 g8" → "aqlm_2x8_g8": keys in a result are [a-z0-9_].
std::string key_of(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
  }
  return text;
}

/// "cpu_lut/cpu_lut_avx2", a backend and its kernel, says the same twice: "cpu_lut_avx2".
std::string short_name(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return name;
  const std::string backend = name.substr(0, slash), kernel = name.substr(slash + 1);
  return kernel.rfind(backend, 0) == 0 ? kernel : name;
}

}  // namespace

void file_choices(results::TrialRecord& record, const std::vector<backend::Choice>& choices) {
  for (const backend::Choice& choice : choices) {
    const std::string where = fmt::format("kernels/{}_{}x{}_b{}/", key_of(choice.format), choice.out_features,
                                          choice.in_features, choice.batch);
    const auto put = [&](const std::string& key, results::Value value) {
      record.provenance.emplace_back(where + key, std::move(value));
    };
    put("num_layers", choice.num_layers);
    put("tolerance", choice.tolerance);
    put("dtype", choice.dtype);
    for (const backend::Candidate& candidate : choice.candidates) {
      const std::string name = key_of(short_name(candidate.name)) + "/";
      put(name + "verdict", candidate.verdict);
      if (candidate.verdict == "chosen") put("chosen", candidate.name);
      if (candidate.resident_bytes == 0) continue;  // refused: nothing was measured
      put(name + "rel_error", candidate.rel_error);
      put(name + "resident_bytes", candidate.resident_bytes);
      if (candidate.time_us > 0) {
        put(name + "time_us", candidate.time_us);
        put(name + "spread", candidate.spread);
      }
    }
  }
}

void file_shares(results::TrialRecord& record, const std::vector<backend::Profile::Share>& shares) {
  for (const backend::Profile::Share& share : shares) {
    const std::string where = fmt::format("kernels/{}/", key_of(share.kernel));
    record.timing.emplace_back(where + "share", share.fraction);
    record.timing.emplace_back(where + "seconds", share.seconds);
    record.timing.emplace_back(where + "calls", share.calls);
  }
}

}  // namespace aqlm_exp::trial
