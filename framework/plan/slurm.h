// An existing Slurm cluster through its command-line tools: sbatch, squeue, scontrol, scancel. Nothing here needs
// accounting (sacct), which many clusters do not have. Array members are always named <array>_<task>: a plain job id
// can mean the whole array.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/plan/settings.h"

namespace aqlm_exp::plan {

/// One member of one of our job arrays.
struct SlurmTask {
  int64_t array = 0;  ///< job id of the array
  int64_t task = 0;
  auto operator<=>(const SlurmTask&) const = default;
  std::string str() const;  ///< "12_3"
};

struct SlurmTaskState {
  std::string state;                  ///< "PENDING", "RUNNING", "COMPLETING", "CANCELLED", "NODE_FAIL", ...
  std::string reason;                 ///< why it waits or ended
  std::string job_name;               ///< as submitted
  int64_t exit_code = 0, signal = 0;  ///< of an ended task
};

struct SlurmSubmission {
  std::string job_name;
  std::string script;    ///< first line "#!..."; sees SLURM_ARRAY_TASK_ID from 0 to num_tasks - 1
  std::string log_file;  ///< with %A and %a
  int64_t num_tasks = 1;
  SlurmSettings settings;
};

/// All calls: @throws Error with kLauncher ("L-SLURM") when a tool is missing or the controller does not answer
class SlurmClient {
 public:
  /// Largest number of tasks of one array, from the controller's configuration.
  int64_t max_array_tasks() const;
  /// @return job id of the array
  int64_t submit(const SlurmSubmission& submission) const;
  /// Tasks of this user whose job name starts so and that wait or run.
  std::map<SlurmTask, SlurmTaskState> queue(const std::string& name_start) const;
  /// What the controller remembers of a task that may have ended; nothing when it knows it no longer.
  std::optional<SlurmTaskState> task(const SlurmTask& task) const;
  /// Tasks that ended meanwhile are no error. @param pending_only leaves running ones alone
  void cancel(const std::vector<SlurmTask>& tasks, bool pending_only) const;
};

/// sbatch's words for a submission, without the program. Exposed for tests.
std::vector<std::string> sbatch_options(const SlurmSubmission& submission);
/// Parses `squeue -o "%F %K %T %j %r"`. Lines that are not of arrays are left out.
std::map<SlurmTask, SlurmTaskState> parse_squeue(const std::string& text, const std::string& name_start);
/// Parses `scontrol show job -o`; several lines may answer, the task's own is chosen.
std::optional<SlurmTaskState> parse_show_job(const std::string& text, const SlurmTask& task);

}  // namespace aqlm_exp::plan
