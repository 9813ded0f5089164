#include "framework/plan/slurm.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "framework/base/error.h"
#include "framework/plan/command.h"

namespace aqlm_exp::plan {
namespace {

[[noreturn]] void fail(const std::string& tool, const CommandResult& result) {
  std::string said = result.err.empty() ? result.out : result.err;
  while (!said.empty() && said.back() == '\n') said.pop_back();
  for (size_t at = 0; (at = said.find('\n', at)) != std::string::npos;) said.replace(at, 1, "; ");
  throw Error(
      ExitCode::kLauncher, "L-SLURM",
      result.exit_code == 127
          ? fmt::format("{}: not in PATH; need Slurm's tools on this host, or exp.launcher=local", tool)
          : fmt::format("{}: {}; need a controller that answers and a partition that takes the job, see `sinfo`", tool,
                        result.timed_out ? "no answer within a minute" : said));
}

CommandResult ask(const std::vector<std::string>& words, const std::string& input = {}) {
  CommandResult result = run_command(words, input);
  if (result.exit_code != 0) fail(words.front(), result);
  return result;
}

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// "JobState=FAILED" of a line of blank-separated pairs.
std::string field(const std::string& line, const std::string& name) {
  const std::string wanted = name + "=";
  for (size_t at = line.find(wanted); at != std::string::npos; at = line.find(wanted, at + 1)) {
    if (at > 0 && line[at - 1] != ' ') continue;
    const size_t start = at + wanted.size();
    return line.substr(start, line.find(' ', start) - start);
  }
  return {};
}

}  // namespace

std::string SlurmTask::str() const { return fmt::format("{}_{}", array, task); }

std::vector<std::string> sbatch_options(const SlurmSubmission& submission) {
  const SlurmSettings& s = submission.settings;
  std::string array = fmt::format("--array=0-{}", submission.num_tasks - 1);
  if (s.max_running > 0) array += fmt::format("%{}", s.max_running);
  std::vector<std::string> words = {"--parsable",
                                    "--requeue",
                                    "--open-mode=append",
                                    array,
                                    "--job-name=" + submission.job_name,
                                    "--output=" + submission.log_file,
                                    fmt::format("--cpus-per-task={}", s.cpus),
                                    "--ntasks=1"};
  const auto add = [&](const char* flag, const std::string& value) {
    if (!value.empty()) words.push_back(fmt::format("--{}={}", flag, value));
  };
  add("partition", s.partition);
  add("account", s.account);
  add("qos", s.qos);
  add("time", s.time);
  add("mem", s.mem);
  add("gres", s.gres);
  words.insert(words.end(), s.args.begin(), s.args.end());  // last: they may replace any of the above
  return words;
}

std::map<SlurmTask, SlurmTaskState> parse_squeue(const std::string& text, const std::string& name_start) {
  std::map<SlurmTask, SlurmTaskState> tasks;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string array, task;
    SlurmTaskState state;
    if (!(words >> array >> task >> state.state >> state.job_name)) continue;
    std::getline(words >> std::ws, state.reason);
    const auto array_id = number(array), task_id = number(task);
    if (!array_id || !task_id || state.job_name.rfind(name_start, 0) != 0) continue;
    tasks[{.array = *array_id, .task = *task_id}] = state;
  }
  return tasks;
}

std::optional<SlurmTaskState> parse_show_job(const std::string& text, const SlurmTask& task) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (field(line, "ArrayJobId") != std::to_string(task.array) ||
        field(line, "ArrayTaskId") != std::to_string(task.task)) {
      continue;
    }
    SlurmTaskState state{
        .state = field(line, "JobState"), .reason = field(line, "Reason"), .job_name = field(line, "JobName")};
    const std::string ended = field(line, "ExitCode");  // "3:0", "0:9"
    const size_t colon = ended.find(':');
    if (colon != std::string::npos) {
      state.exit_code = number(std::string_view(ended).substr(0, colon)).value_or(0);
      state.signal = number(std::string_view(ended).substr(colon + 1)).value_or(0);
    }
    return state;
  }
  return std::nullopt;
}

int64_t SlurmClient::max_array_tasks() const {
  std::istringstream in(ask({"scontrol", "show", "config"}).out);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("MaxArraySize", 0) != 0) continue;
    const size_t equals = line.find('=');
    const auto size = number(line.substr(std::min(line.size(), line.find_first_not_of(' ', equals + 1))));
    if (size && *size >= 1) return *size;  // indices are below it, and ours start at 0
    if (size) break;
  }
  throw Error(ExitCode::kLauncher, "L-SLURM",
              "scontrol show config: MaxArraySize is absent or 0; need a cluster that takes job arrays");
}

int64_t SlurmClient::submit(const SlurmSubmission& submission) const {
  std::vector<std::string> words = sbatch_options(submission);
  words.insert(words.begin(), "sbatch");
  const CommandResult result = ask(words, submission.script);
  const std::string id = result.out.substr(0, result.out.find_first_of(";\n"));  // "12" or "12;cluster"
  const auto array = number(id);
  if (!array) {
    throw Error(ExitCode::kLauncher, "L-SLURM", fmt::format("sbatch answered \"{}\", need a job id", result.out));
  }
  return *array;
}

std::map<SlurmTask, SlurmTaskState> SlurmClient::queue(const std::string& name_start) const {
  return parse_squeue(ask({"squeue", "--me", "-h", "-r", "-o", "%F %K %T %j %r"}).out, name_start);
}

std::optional<SlurmTaskState> SlurmClient::task(const SlurmTask& task) const {
  const auto show = [](const std::string& id) {
    CommandResult result = run_command({"scontrol", "show", "job", "-o", id});
    const bool unknown = result.err.find("Invalid job id") != std::string::npos ||
                         (result.out + result.err).find("not found") != std::string::npos;
    if (result.exit_code != 0 && !unknown) fail("scontrol", result);
    return result.out;
  };
  if (auto state = parse_show_job(show(task.str()), task)) return state;
  // Tasks that were cancelled before they started have no record of their own; the array's then has no task id (2^32 -
  // 2).
  return parse_show_job(show(std::to_string(task.array)), {.array = task.array, .task = 4294967294});
}

void SlurmClient::cancel(const std::vector<SlurmTask>& tasks, bool pending_only) const {
  constexpr size_t kAtATime = 500;  // words of one command line
  for (size_t start = 0; start < tasks.size(); start += kAtATime) {
    std::vector<std::string> words = {"scancel", "-Q"};
    if (pending_only) words.push_back("--state=PENDING");
    for (size_t i = start; i < std::min(tasks.size(), start + kAtATime); ++i) words.push_back(tasks[i].str());
    const CommandResult result = run_command(words);
    if (result.exit_code != 0 && result.err.find("Invalid job id") == std::string::npos &&
        result.err.find("already completing or completed") == std::string::npos) {
      fail("scancel", result);
    }
  }
}

}  // namespace aqlm_exp::plan
