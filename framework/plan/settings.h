// The `exp` node of a configuration: where results go, how trials are started, what tables show. None of it changes
// what a trial computes, so none of it is part of an identity.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/config/node.h"
#include "framework/config/schema.h"

namespace aqlm_exp::plan {

/// exp.launcher.slurm: what trials ask of the cluster. Empty texts are left to its defaults.
struct SlurmSettings {
  std::string partition, account, qos, time, mem, gres;
  int64_t cpus = 1;               ///< of a trial
  int64_t max_running = 0;        ///< trials at a time; 0: as many as the cluster gives
  double poll_s = 10;             ///< between two looks at the queue
  std::vector<std::string> args;  ///< further options of sbatch, as typed
};

struct LauncherSettings {
  std::string type = "local";
  SlurmSettings slurm;
  int64_t workers = 1;               ///< trials at a time
  int64_t threads = 0;               ///< a worker; 0: cores / workers, with Slurm its cpus
  int64_t retries = -1;              ///< after any failure; -1: the default of its kind
  double timeout_s = 0;              ///< a trial; 0: none
  double grace_s = 30;               ///< between SIGTERM and SIGKILL, and after Ctrl-C
  double backoff_s = 10;             ///< before the first retry, doubled for each further one, at most 600
  double log_limit_mib = 64;         ///< stdout + stderr of a trial
  std::vector<std::string> devices;  ///< CUDA devices to hand out one a worker; empty: all are visible to each
  std::vector<std::string> env;      ///< further environment variables that workers get
};

struct ExpSettings {
  LauncherSettings launcher;
  int64_t cache_mib = 8192;                          ///< exp.cache.limit_mib: of OUT/cache; 0: nothing is shared
  std::string output_dir;                            ///< exp.output.dir; empty: runs/<config name>
  bool output_json = false;                          ///< exp.output.json: performance figures as JSON as well
  std::vector<double> budgets = {2.25, 3.25, 4.25};  ///< exp.report.budgets, bits per weight, ascending
};

/// Keys of the `exp` node (without `sweep`, which the composer reads itself).
config::Object exp_schema();
/// Problems are appended; the settings only count when there were none.
ExpSettings read_exp(const config::Node& exp, std::vector<config::Problem>& problems);

}  // namespace aqlm_exp::plan
