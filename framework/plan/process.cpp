#include "framework/plan/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "framework/base/error.h"
#include "framework/results/text_check.h"

extern char** environ;

namespace aqlm_exp::plan {
namespace {

bool starts_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

bool is_allowed(std::string_view name, const std::vector<std::string>& extra) {
  static const char* const kNames[] = {"PATH",           "HOME",
                                       "USER",           "LOGNAME",
                                       "LANG",           "TZ",
                                       "TMPDIR",         "LD_LIBRARY_PATH",
                                       "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
                                       "ASAN_OPTIONS",   "UBSAN_OPTIONS",
                                       "TSAN_OPTIONS",   "LSAN_OPTIONS",
                                       "GOMP_SPINCOUNT"};
  static const char* const kStarts[] = {"LC_", "AQLM_EXP_", "CUDA_", "NVIDIA_", "SLURM_", "OPENBLAS_", "MKL_"};
  for (const char* allowed : kNames) {
    if (name == allowed) return true;
  }
  for (const char* start : kStarts) {
    if (starts_with(name, start)) return true;
  }
  return std::find(extra.begin(), extra.end(), name) != extra.end();
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

/// Between fork and exec: only async-signal-safe calls. Reports errno through the pipe.
[[noreturn]] void become_worker(const SpawnRequest& request, char** argv, char** envp, pid_t parent, int report_fd) {
  const auto give_up = [&] {
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(report_fd, &error, sizeof error);
    ::_exit(127);
  };
  ::setpgid(0, 0);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up();
  if (::getppid() != parent) ::_exit(127);  // the driver died before the signal was armed
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  const int in = ::open("/dev/null", O_RDONLY);
  const int out = ::open(request.stdout_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int err = ::open(request.stderr_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (in < 0 || out < 0 || err < 0) give_up();
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) give_up();
  for (int fd : {in, out, err}) {
    if (fd > 2) ::close(fd);
  }
  ::execve(argv[0], argv, envp);
  give_up();
  ::_exit(127);
}

}  // namespace

pid_t spawn(const SpawnRequest& request) {
  const std::vector<char*> argv = pointers(request.arguments), envp = pointers(request.environment);
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) {
    throw Error(ExitCode::kLauncher, "L-PIPE", fmt::format("pipe for a worker: {}", std::strerror(errno)));
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(report[0]);
    become_worker(request, const_cast<char**>(argv.data()), const_cast<char**>(envp.data()), parent, report[1]);
  }
  const int fork_error = errno;
  ::close(report[1]);
  if (pid < 0) {
    ::close(report[0]);
    throw Error(ExitCode::kLauncher, "L-FORK",
                fmt::format("fork of a worker: {}; lower exp.launcher.workers or raise `ulimit -u`",
                            std::strerror(fork_error)));
  }
  ::setpgid(pid, pid);  // also here: a signal to the group must not miss a child that has not run yet
  int error = 0;
  ssize_t got;
  do {
    got = ::read(report[0], &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  ::close(report[0]);
  if (got > 0) {
    ::waitpid(pid, nullptr, 0);
    // ENOSPC and the like come from opening the logs, the rest from the program itself
    if (error == ENOSPC || error == EDQUOT || error == EROFS || error == EIO) {
      throw StorageError(fmt::format("create {}: {}", request.stderr_file.string(), std::strerror(error)), "R-SPACE");
    }
    throw Error(ExitCode::kLauncher, "L-EXEC",
                fmt::format("start {}: {}; need the worker beside aqlm-exp, or its path in AQLM_EXP_TRIAL",
                            request.arguments.at(0), std::strerror(error)));
  }
  return pid;
}

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

std::vector<std::string> worker_environment(const std::vector<std::string>& extra,
                                            const std::vector<std::pair<std::string, std::string>>& set) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    if (is_allowed(text.substr(0, equals), extra))
      variables[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : set) variables[name] = value;
  std::vector<std::string> result;
  for (const auto& [name, value] : variables) result.push_back(name + "=" + value);
  return result;
}

int64_t oom_kill_count() {
  const auto counter_in = [](const std::string& path) -> int64_t {
    std::ifstream in(path);
    std::string name;
    int64_t value = 0;
    while (in >> name >> value) {
      if (name == "oom_kill") return value;
    }
    return -1;
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!starts_with(line, "0::")) continue;
    const int64_t count = counter_in("/sys/fs/cgroup" + line.substr(3) + "/memory.events");
    if (count >= 0) return count;
  }
  return std::max<int64_t>(0, counter_in("/proc/vmstat"));
}

Verdict judge(const Ending& ending) {
  Verdict verdict;
  if (WIFEXITED(ending.wait_status)) verdict.exit_code = WEXITSTATUS(ending.wait_status);
  if (WIFSIGNALED(ending.wait_status)) verdict.signal = WTERMSIG(ending.wait_status);
  const auto fail = [&](std::string status, std::string failure, std::string message, int64_t retries) {
    verdict.status = std::move(status);
    verdict.failure_class = std::move(failure);
    verdict.message = std::move(message);
    verdict.default_retries = retries;
    return verdict;
  };
  const bool exit_ok = WIFEXITED(ending.wait_status) && verdict.exit_code == 0;
  if (exit_ok && ending.has_result) {  // also when a signal of ours came just too late
    verdict.status = "completed";
    return verdict;
  }
  if (ending.killed_for == "timed_out") return fail("timed_out", "timed_out", ending.detail, 0);
  if (ending.killed_for == "hung") return fail("failed", "hung", ending.detail, 1);
  if (ending.killed_for == "log_flood") return fail("failed", "log_flood", ending.detail, 0);
  if (ending.killed_for == "cancelled") return fail("cancelled", "cancelled", "stopped together with the sweep", 0);
  if (exit_ok) {
    const bool foreign = ending.result_problem.find("belongs to trial") != std::string::npos;
    return fail("failed", foreign ? "protocol" : "no_result",
                fmt::format("the worker ended well but left no valid result: {}", ending.result_problem), 0);
  }
  if (WIFEXITED(ending.wait_status) && verdict.exit_code >= 20 && verdict.exit_code <= 29) {
    const auto code = static_cast<WorkerExit>(verdict.exit_code);
    const std::string kind(failure_class(code));
    const std::string message = ending.note && !ending.note->message.empty()
                                    ? ending.note->message
                                    : fmt::format("the worker exited with {} and left no reason", verdict.exit_code);
    verdict.stops_sweep = code == WorkerExit::kStorage;
    const bool memory = code == WorkerExit::kHostMemory || code == WorkerExit::kDeviceMemory;
    return fail(memory ? "oom" : "failed", kind, message, 0);
  }
  if (verdict.signal == SIGKILL && ending.oom_killer_acted) {
    return fail("oom", "oom_host",
                "the kernel's out-of-memory killer ended the worker; give it less to hold, or more "
                "memory, or fewer exp.launcher.workers",
                0);
  }
  if (WIFSIGNALED(ending.wait_status)) {
    return fail("failed", "crashed",
                fmt::format("the worker was ended by signal {} ({})", verdict.signal,
                            ::strsignal(WTERMSIG(ending.wait_status))),
                1);
  }
  return fail("failed", "crashed",
              fmt::format("the worker exited with {}, which is no documented code", verdict.exit_code), 1);
}

std::vector<std::string> tail_of(const std::filesystem::path& file, size_t max_lines) {
  constexpr off_t kMaxBytes = 64 * 1024;
  std::vector<std::string> lines;
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return lines;
  struct stat info {};
  std::string bytes;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    const off_t start = std::max<off_t>(0, info.st_size - kMaxBytes);
    bytes.resize(static_cast<size_t>(info.st_size - start));
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), start);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  }
  ::close(fd);
  for (size_t begin = 0; begin < bytes.size();) {
    size_t end = bytes.find('\n', begin);
    if (end == std::string::npos) end = bytes.size();
    lines.push_back(results::clean_text(std::string_view(bytes).substr(begin, end - begin)));
    begin = end + 1;
  }
  if (lines.size() > max_lines) lines.erase(lines.begin(), lines.end() - static_cast<long>(max_lines));
  return lines;
}

}  // namespace aqlm_exp::plan
