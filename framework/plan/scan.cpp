#include "framework/plan/scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

#include "framework/base/sha256.h"
#include "framework/plan/trial_lock.h"
#include "framework/results/publish.h"
#include "framework/results/record.h"

namespace aqlm_exp::plan {
namespace {

namespace fs = std::filesystem;

bool is_temporary(const fs::path& path) { return path.filename().string().rfind(".tmp-", 0) == 0; }

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

int64_t last_attempt(const fs::path& trial_dir) {
  int64_t last = 0;
  for (const fs::path& entry : entries_of(trial_dir)) {
    const std::string name = entry.filename().string();
    constexpr std::string_view kPrefix = "attempt-";
    if (name.rfind(kPrefix, 0) != 0) continue;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) last = std::max(last, number);
  }
  return last;
}

TrialState damaged(TrialState state, const std::string& why) {
  state.kind = TrialState::Kind::kDamaged;
  state.damage = why;
  state.sidecar.reset();
  return state;
}

/// Temporaries live beside what they were to become.
std::vector<fs::path> temporaries(const OutFolder& out) {
  std::vector<fs::path> found;
  for (const fs::path& folder : {out.root, out.results_dir()}) {
    for (const fs::path& entry : entries_of(folder)) {
      if (is_temporary(entry)) found.push_back(entry);
    }
  }
  return found;
}

}  // namespace

int64_t Scan::count(TrialState::Kind kind) const {
  return std::count_if(trials.begin(), trials.end(), [&](const TrialState& state) { return state.kind == kind; });
}

TrialState trial_state(const PlannedTrial& trial, const OutFolder& out, Verify verify) {
  TrialState state;
  state.attempts = last_attempt(out.trial_dir(trial.id));
  const fs::path json = results::sidecar_path(out.results_dir(), trial.id);
  const fs::path file = results::result_path(out.results_dir(), trial.id);
  std::error_code ignored;
  const bool has_file = fs::exists(file, ignored);
  if (!fs::exists(json, ignored)) {
    return has_file ? damaged(std::move(state), "a result without its sidecar was never acknowledged") : state;
  }
  try {
    state.sidecar = results::parse_sidecar(results::read_file(json, 16 << 20), json.string());
  } catch (const StorageError& error) {
    return damaged(std::move(state), error.what());
  }
  if (state.sidecar->id != trial.id) {
    return damaged(std::move(state), fmt::format("{} belongs to trial {}", json.string(), state.sidecar->id));
  }
  if (state.sidecar->status != "completed") {
    if (has_file) return damaged(std::move(state), "a result lies beside the note of a failure");
    state.kind = TrialState::Kind::kFailed;
    return state;
  }
  const auto size = fs::file_size(file, ignored);
  if (!has_file || ignored || size != state.sidecar->size_bytes) {
    return damaged(std::move(state), fmt::format("{}: {}, its sidecar says {} bytes", file.string(),
                                                 has_file ? fmt::format("got {} bytes", size) : "it is missing",
                                                 state.sidecar->size_bytes));
  }
  if (verify == Verify::kHashes) {
    std::string hash;
    try {
      hash = sha256_hex(results::read_file(file, results::kMaxResultBytes));
    } catch (const StorageError& error) {
      return damaged(std::move(state), error.what());
    }
    if (hash != state.sidecar->sha256) {
      return damaged(std::move(state), fmt::format("{}: got SHA-256 {}, its sidecar says {}", file.string(), hash,
                                                   state.sidecar->sha256));
    }
  }
  state.kind = TrialState::Kind::kCompleted;
  return state;
}

Scan scan(const Plan& plan, const OutFolder& out, Verify verify) {
  Scan scan;
  std::set<std::string> planned;
  for (const PlannedTrial& trial : plan.trials) {
    scan.trials.push_back(trial_state(trial, out, verify));
    planned.insert(results::id16(trial.id));
  }
  scan.num_temporaries = static_cast<int64_t>(temporaries(out).size());
  for (const fs::path& entry : entries_of(out.results_dir())) {
    const std::string stem = entry.stem().string();
    if (!is_temporary(entry) && entry.extension() == ".json" && planned.count(stem) == 0)
      scan.unplanned.push_back(stem);
  }
  return scan;
}

void quarantine(const PlannedTrial& trial, const OutFolder& out, results::FileSystem& files) {
  results::make_folders(out.quarantine_dir(), files);
  const std::string suffix = results::temporary_name().substr(5, 8);  // several damages of one trial are all kept
  // The sidecar goes first: without it the result counts for nothing, whenever this is interrupted.
  for (const fs::path& path :
       {results::sidecar_path(out.results_dir(), trial.id), results::result_path(out.results_dir(), trial.id)}) {
    const fs::path target =
        out.quarantine_dir() / fmt::format("{}-{}{}", path.stem().string(), suffix, path.extension().string());
    if (files.rename(path.string(), target.string()) != 0 && errno != ENOENT) {
      throw StorageError(results::describe_io_failure("move to quarantine", path, errno), "R-IO");
    }
  }
  results::sync_folder(out.results_dir(), files);
}

std::vector<std::string> remove_temporaries(const OutFolder& out, results::FileSystem& files) {
  std::vector<std::string> removed;
  for (const fs::path& path : temporaries(out)) {
    if (files.unlink(path.string()) == 0) removed.push_back(path.string());
  }
  return removed;
}

std::vector<std::string> repair(const Plan& plan, const OutFolder& out, Scan& scan, results::FileSystem& files) {
  std::vector<std::string> done;
  bool others_run = false;  // tasks of a cluster that an earlier driver submitted
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    TrialState& state = scan.trials[i];
    state.running = state.kind != TrialState::Kind::kCompleted && trial_is_running(out, plan.trials[i].id);
    others_run |= state.running;
  }
  if (!others_run) {
    for (const std::string& path : remove_temporaries(out, files)) {
      done.push_back(fmt::format("removed the unfinished {}", path));
    }
    scan.num_temporaries = 0;
  }
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    TrialState& state = scan.trials[i];
    if (state.kind != TrialState::Kind::kDamaged) continue;
    if (state.running) {  // between publishing a result and its sidecar
      state.kind = TrialState::Kind::kPlanned;
      continue;
    }
    quarantine(plan.trials[i], out, files);
    done.push_back(fmt::format("set aside in {}: trial {} ({})", out.quarantine_dir().string(),
                               results::id16(plan.trials[i].id), state.damage));
    state.kind = TrialState::Kind::kPlanned;
    state.damage.clear();
  }
  return done;
}

}  // namespace aqlm_exp::plan
