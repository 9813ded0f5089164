// Runs the built aqlm-exp with the synthetic worker, as a user would.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "framework/results/storage.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::app {

struct Finished {
  int code = -1;  ///< exit code, or 128 + signal
  std::string out, err;
};

/// In a forked child: becomes the driver in `folder`, with the synthetic worker unless AQLM_EXP_TEST_REAL_WORKER is
/// set.
[[noreturn]] inline void become_driver(const std::filesystem::path& folder, const std::vector<std::string>& arguments) {
  if (std::getenv("AQLM_EXP_TEST_REAL_WORKER") == nullptr) {
    ::setenv("AQLM_EXP_TRIAL", AQLM_EXP_SYNTHETIC_WORKER, 1);
    ::setenv("AQLM_EXP_HEARTBEAT_S", "0.2", 1);
    ::setenv("AQLM_EXP_HOME", AQLM_EXP_TEST_HOME, 1);
  }
  if (::chdir(folder.c_str()) != 0) ::_exit(99);
  std::vector<std::string> words = {AQLM_EXP_DRIVER};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(98);
}

#ifdef AQLM_EXP_FAIL_FSYNC_LIBRARY
/// The library whose fsync fails, for LD_PRELOAD, which parts names at blanks: by a link in a folder without any.
inline std::string failing_fsync(const std::filesystem::path& folder) {
  const std::filesystem::path link = folder / "fail_fsync.so";
  if (!std::filesystem::exists(link)) std::filesystem::create_symlink(AQLM_EXP_FAIL_FSYNC_LIBRARY, link);
  return link.string();
}
#endif

/// A driver process. stdout and stderr go to files in `scratch`.
class Driver {
 public:
  Driver(const std::filesystem::path& scratch, const std::filesystem::path& folder,
         const std::vector<std::string>& arguments) {
    static int counter = 0;
    const std::string stem = (scratch / std::to_string(counter++)).string();
    out_ = stem + ".out";
    err_ = stem + ".err";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(::open("/dev/null", O_RDONLY), 0);
      ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 1);
      ::dup2(::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 2);
      become_driver(folder, arguments);
    }
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  bool running() {
    if (pid_ <= 0) return false;
    if (::waitpid(pid_, &status_, WNOHANG) == 0) return true;
    pid_ = -1;
    return false;
  }
  Finished wait() {
    if (pid_ > 0) ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    Finished finished;
    finished.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    finished.out = results::read_file(out_);
    finished.err = results::read_file(err_);
    return finished;
  }
  std::string err_so_far() const { return results::read_file(err_); }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  std::string out_, err_;
};

/// Direct children of a process, from /proc.
inline std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::ifstream in("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  for (pid_t child; in >> child;) children.push_back(child);
  return children;
}

}  // namespace aqlm_exp::app
