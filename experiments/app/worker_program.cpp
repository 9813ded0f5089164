#include "experiments/app/worker_program.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "experiments/app/embedded_schema.h"
#include "framework/base/error.h"

namespace aqlm_exp::app {

namespace fs = std::filesystem;

fs::path program_file() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

fs::path worker_program() {
  fs::path program;
  if (const char* named = std::getenv("AQLM_EXP_TRIAL"); named != nullptr && *named != '\0') {
    program = fs::absolute(named);
  } else {
    program = program_file().parent_path() / "aqlm-exp-trial";
  }
  if (::access(program.c_str(), X_OK) != 0) {
    throw Error(
        ExitCode::kLauncher, "L-WORKER",
        fmt::format("worker {}: {}; need aqlm-exp-trial beside aqlm-exp (build it: `cmake --build build`), or its "
                    "path in AQLM_EXP_TRIAL",
                    program.string(), std::strerror(errno)));
  }
  return program;
}

void exec_worker(const std::vector<std::string>& arguments) {
  const fs::path program = worker_program();
  std::vector<std::string> all = {program.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& text : all) argv.push_back(text.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  throw Error(ExitCode::kLauncher, "L-EXEC", fmt::format("start {}: {}", program.string(), std::strerror(errno)));
}

std::string worker_output(const std::vector<std::string>& arguments) {
  const fs::path program = worker_program();
  int out[2];
  if (::pipe(out) != 0) throw Error(ExitCode::kLauncher, "L-PIPE", fmt::format("pipe: {}", std::strerror(errno)));
  const pid_t pid = ::fork();
  if (pid < 0) throw Error(ExitCode::kLauncher, "L-FORK", fmt::format("fork: {}", std::strerror(errno)));
  if (pid == 0) {
    ::dup2(out[1], 1);
    ::close(out[0]);
    ::close(out[1]);
    try {
      exec_worker(arguments);
    } catch (const std::exception&) {
      ::_exit(127);
    }
  }
  ::close(out[1]);
  std::string text;
  char bytes[65536];
  for (ssize_t got; (got = ::read(out[0], bytes, sizeof bytes)) != 0;) {
    if (got < 0 && errno != EINTR) break;
    if (got > 0) text.append(bytes, static_cast<size_t>(got));
  }
  ::close(out[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Error(ExitCode::kLauncher, "L-WORKER",
                fmt::format("{} {}: it ended with status {:#x}; need a worker that answers, try `aqlm-exp doctor`",
                            program.string(), arguments.empty() ? "" : arguments.front(), status));
  }
  return text;
}

config::Object trial_schema() {
  const char* named = std::getenv("AQLM_EXP_TRIAL");
  const bool other_worker = named != nullptr && *named != '\0';
  if (!other_worker && !kEmbeddedTrialSchema.empty()) return config::schema_from_json(kEmbeddedTrialSchema);
  return config::schema_from_json(worker_output({"describe", "--json"}));
}

}  // namespace aqlm_exp::app
