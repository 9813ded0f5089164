// What an output folder holds: which planned trials have a verified result, which failed, which are still to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/results/sidecar.h"

namespace aqlm_exp::plan {

struct TrialState {
  enum class Kind { kPlanned, kCompleted, kFailed, kDamaged };
  Kind kind = Kind::kPlanned;
  std::optional<results::Sidecar> sidecar;  ///< of completed and failed trials
  int64_t attempts = 0;                     ///< highest attempt number on disk
  std::string damage;                       ///< why, for kDamaged
  bool running = false;                     ///< set by repair(): another process runs it now
};

struct Scan {
  std::vector<TrialState> trials;      ///< one a planned trial, in plan order
  int64_t num_temporaries = 0;         ///< left-overs of killed writers
  std::vector<std::string> unplanned;  ///< stems in results/ that the plan does not know

  int64_t count(TrialState::Kind kind) const;
};

enum class Verify { kSizes, kHashes };

/// Reads; changes nothing.
/// @param verify kSizes compares sizes only (status); kHashes reads each result and compares its SHA-256 (run, verify)
Scan scan(const Plan& plan, const OutFolder& out, Verify verify);

/// Puts the folder in order; needs the lock. Damaged results move to quarantine/ (their trials become kPlanned),
/// left-over temporaries are removed, unless tasks of a cluster still run. @return one line for each thing done
std::vector<std::string> repair(const Plan& plan, const OutFolder& out, Scan& scan,
                                results::FileSystem& files = results::system_files());

/// Moves what lies in results/ for one trial to quarantine/. Needs the lock. @throws StorageError
void quarantine(const PlannedTrial& trial, const OutFolder& out, results::FileSystem& files = results::system_files());

/// Removes temporaries that killed writers left. Needs the lock, and no worker may run. @return the paths
std::vector<std::string> remove_temporaries(const OutFolder& out, results::FileSystem& files = results::system_files());

/// The state of one trial from its files.
TrialState trial_state(const PlannedTrial& trial, const OutFolder& out, Verify verify);

}  // namespace aqlm_exp::plan
