// A program in a terminal of its own, and what that terminal shows.
#pragma once

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::app {

class PseudoTerminal {
 public:
  PseudoTerminal(const std::vector<std::string>& words, unsigned short columns,
                 const std::map<std::string, std::string>& environment = {}) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    pid_ = ::forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ != 0) return;
    termios mode{};  // backspace takes whole characters back, as terminal programs set it
    if (::tcgetattr(STDIN_FILENO, &mode) == 0) {
      mode.c_iflag |= IUTF8;
      ::tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    }
    ::setenv("TERM", "xterm", 1);
    ::setenv("OMP_NUM_THREADS", "2", 1);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<std::string> copy = words;
    std::vector<char*> argv;
    for (std::string& word : copy) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(98);
  }
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;
  ~PseudoTerminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }

  void type(const std::string& text) {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::write(master_, text.data() + sent, text.size() - sent);
      if (count < 0 && errno != EINTR) return;
      if (count > 0) sent += static_cast<size_t>(count);
    }
  }
  /// Reads until `wanted` has come after what was waited for before. @return false if the program ended, or nothing
  /// came for `patience_s` seconds
  bool wait_for(const std::string& wanted, int patience_s = 300) {
    while (true) {
      const size_t found = output.find(wanted, waited_);
      if (found != std::string::npos) {
        waited_ = found + wanted.size();
        return true;
      }
      if (!read_some(patience_s)) return false;
    }
  }
  /// Reads what is left. @return the exit code, or 128 + signal
  int finish() {
    while (read_some(300)) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string output;  ///< everything that came

 private:
  bool read_some(int patience_s) {
    pollfd wait{master_, POLLIN, 0};
    if (::poll(&wait, 1, patience_s * 1000) <= 0) return false;
    char bytes[4096];
    const ssize_t count = ::read(master_, bytes, sizeof bytes);
    if (count <= 0) return false;  // EIO: the program has closed its side
    output.append(bytes, static_cast<size_t>(count));
    return true;
  }

  int master_ = -1;
  pid_t pid_ = -1;
  size_t waited_ = 0;
};

/// What a terminal shows: lines of cells, wrapped at the last column, a wide character never cut; control sequences of
/// cursor movement within a line are understood, others skipped.
class Screen {
 public:
  explicit Screen(int columns) : columns_(columns) { lines_.emplace_back(); }
  /// @param text UTF-8; what is no UTF-8 is counted in `broken`
  void write(const std::string& text) {
    for (size_t i = 0; i < text.size();) {
      if (text[i] == '\x1b' && i + 1 < text.size() && text[i + 1] == '[') {
        size_t end = i + 2;
        while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
        if (end < text.size()) sequence(text[end], text.substr(i + 2, end - i - 2));
        i = end + 1;
        continue;
      }
      const std::string rest = text.substr(i, 4);
      if (utf8_valid_prefix(rest) == 0) {
        ++broken;
        ++i;
        continue;
      }
      const CodePoint point = utf8_decode(text, i);
      put(point.value, text.substr(i, point.size_bytes));
      i += point.size_bytes;
    }
  }
  int broken = 0;
  /// All lines joined: what a reader reads, wraps undone.
  std::string text() const {
    std::string out;
    for (const Line& line : lines_) {
      for (const std::string& cell : line.cells) out += cell;
      if (!line.wrapped) out += '\n';
    }
    return out;
  }
  int widest() const {
    size_t widest = 0;
    for (const Line& line : lines_) widest = std::max(widest, line.cells.size());
    return static_cast<int>(widest);
  }

 private:
  struct Line {
    std::vector<std::string> cells;  // the second cell of a wide character is empty
    bool wrapped = false;
  };
  void sequence(char kind, const std::string& argument) {
    const int count = argument.empty() ? 1 : std::max(1, std::atoi(argument.c_str()));
    if (kind == 'K') lines_.back().cells.resize(std::min(lines_.back().cells.size(), column_));
    if (kind == 'C') column_ += static_cast<size_t>(count);
    if (kind == 'D') column_ -= std::min(column_, static_cast<size_t>(count));
  }
  void put(char32_t c, const std::string& bytes) {
    if (c == '\r') {
      column_ = 0;
    } else if (c == '\n') {
      lines_.emplace_back();
      column_ = 0;
    } else if (c == '\b') {
      if (column_ > 0) --column_;
    } else if (c >= 0x20) {
      const int width = text::column_width(c);
      if (width == 0) {
        if (!lines_.back().cells.empty()) lines_.back().cells[lines_.back().cells.size() - 1] += bytes;
        return;
      }
      if (static_cast<int>(column_) + width > columns_) {
        lines_.back().wrapped = true;
        lines_.emplace_back();
        column_ = 0;
      }
      std::vector<std::string>& cells = lines_.back().cells;
      if (cells.size() < column_ + static_cast<size_t>(width)) cells.resize(column_ + static_cast<size_t>(width), " ");
      cells[column_] = bytes;
      if (width == 2) cells[column_ + 1].clear();
      column_ += static_cast<size_t>(width);
    }
  }
  int columns_;
  std::vector<Line> lines_;
  size_t column_ = 0;
};

}  // namespace aqlm_exp::app
