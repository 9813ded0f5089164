#include "framework/plan/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "framework/base/timer.h"

namespace aqlm_exp::plan {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;  // of an answer: more is not ours

void close_if_open(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

/// Between fork and exec.
[[noreturn]] void become(char* const* argv, int in, int out, int err) {
  ::setpgid(0, 0);  // a Ctrl-C at the terminal is the driver's to judge
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  ::execvp(argv[0], argv);
  ::_exit(127);
}

}  // namespace

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::filesystem::path candidate = std::filesystem::path(rest.substr(0, colon)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return "";
}

CommandResult run_command(const std::vector<std::string>& words, const std::string& input, double timeout_s) {
  CommandResult result;
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> in{-1, -1}, out{-1, -1}, err{-1, -1};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 ||
      ::pipe2(err.data(), O_CLOEXEC) != 0) {
    result.err = std::strerror(errno);
    for (auto* ends : {&in, &out, &err}) {
      for (int& fd : *ends) close_if_open(fd);
    }
    return result;
  }
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), in[0], out[1], err[1]);
  close_if_open(in[0]);
  close_if_open(out[1]);
  close_if_open(err[1]);
  for (int fd : {in[1], out[0], err[0]}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  if (pid < 0) result.err = std::strerror(errno);
  const Stopwatch watch;
  size_t written = 0;
  struct sigaction ignore {
  }, earlier{};  // a child that does not read its input must not end us
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &earlier);
  while (pid > 0 && (out[0] >= 0 || err[0] >= 0)) {
    if (in[1] >= 0 && written == input.size()) close_if_open(in[1]);
    std::array<pollfd, 3> wanted{pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}, pollfd{in[1], POLLOUT, 0}};
    ::poll(wanted.data(), wanted.size(), 200);
    if (in[1] >= 0 && wanted[2].revents != 0) {
      const ssize_t put = ::write(in[1], input.data() + written, input.size() - written);
      if (put > 0) written += static_cast<size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) close_if_open(in[1]);
    }
    const auto take = [&](int& fd, std::string& text) {
      char bytes[65536];
      const ssize_t got = fd >= 0 ? ::read(fd, bytes, sizeof bytes) : -1;
      if (got > 0 && text.size() < kMostBytes) text.append(bytes, static_cast<size_t>(got));
      if (fd >= 0 && (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))) close_if_open(fd);
    };
    take(out[0], result.out);
    take(err[0], result.err);
    if (watch.elapsed_s() > timeout_s) {
      result.timed_out = true;
      ::kill(-pid, SIGKILL);
      break;
    }
  }
  ::sigaction(SIGPIPE, &earlier, nullptr);
  for (int* fd : {&in[1], &out[0], &err[0]}) close_if_open(*fd);
  int status = 0;
  if (pid > 0) {
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return result;
}

std::string shell_quoted(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                          "_-+=./:,@%") == std::string::npos;
  if (plain) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string shell_command(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + shell_quoted(word);
  return text;
}

}  // namespace aqlm_exp::plan
