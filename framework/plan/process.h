// Starting and judging worker processes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/plan/worker_protocol.h"

namespace aqlm_exp::plan {

struct SpawnRequest {
  std::vector<std::string> arguments;    ///< [0] is the program's path
  std::vector<std::string> environment;  ///< "NAME=value", nothing else is passed
  std::filesystem::path stdout_file, stderr_file;
};

/// fork + exec in a process group of its own, without core dumps, killed when this process (the calling thread) dies.
/// @throws Error with kLauncher if the program cannot be started
pid_t spawn(const SpawnRequest& request);

/// Orphans of workers become our children, so that waitpid finds them.
void become_subreaper();

/// The variables of this process that a worker gets: paths, locale, AQLM_EXP_*, CUDA_*, NVIDIA_*, SLURM_*, sanitizer
/// options and `extra`; then `set` (replacing). Sorted.
std::vector<std::string> worker_environment(const std::vector<std::string>& extra,
                                            const std::vector<std::pair<std::string, std::string>>& set);

/// Processes that the kernel's out-of-memory killer ended so far, in our cgroup if it counts them, else on the machine.
int64_t oom_kill_count();

/// How an attempt ended.
struct Ending {
  int wait_status = 0;     ///< as from waitpid
  std::string killed_for;  ///< why we killed it: "timed_out", "hung", "log_flood", "cancelled"; empty: we did not
  std::string detail;      ///< numbers for the message: "no end after 3600 s"
  bool oom_killer_acted = false;
  bool has_result = false;     ///< a valid result of this trial is published
  std::string result_problem;  ///< why not
  std::optional<FailureNote> note;
};

struct Verdict {
  std::string status = {};         ///< completed | failed | timed_out | oom | cancelled
  std::string failure_class = {};  ///< empty when completed
  std::string message = {};
  int64_t exit_code = -1;
  int64_t signal = 0;
  int64_t default_retries = 0;
  bool stops_sweep = false;  ///< storage: no further trial may start
};

Verdict judge(const Ending& ending);

/// The last `max_lines` lines of a file, reading at most its last 64 KiB.
std::vector<std::string> tail_of(const std::filesystem::path& file, size_t max_lines);

}  // namespace aqlm_exp::plan
