// What people see on stderr while a sweep runs: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "framework/plan/execute.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::app {

enum class ProgressStyle { kAuto, kBar, kPlain, kNone };

/// "37/120 [12:04<27:10, 3.1/min]", with failures and reused trials where there are some.
std::string progress_summary(const plan::Progress& progress);
/// 3.2 s, 4:05, 1:02:03
std::string duration_text(double seconds);

class ProgressDisplay {
 public:
  /// @param verbose also lines for trials that start
  ProgressDisplay(const plan::Plan& plan, ProgressStyle style, bool verbose);
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  ~ProgressDisplay();  ///< leaves the terminal as it was

  void on_event(const plan::Event& event);
  void on_tick(const plan::Progress& progress);
  /// Takes the bar away and leaves the final summary.
  void finish(const plan::Progress& progress);
  void line(const std::string& text);  ///< a line above the bar

 private:
  void erase();
  void draw();

  const plan::Plan& plan_;
  bool bar_ = false, plain_ = false, verbose_ = false;
  size_t lines_drawn_ = 0;
  plan::Progress latest_;
  double last_drawn_s_ = -1e9, last_summary_s_ = 0;
};

/// Columns of the terminal behind a descriptor; 0 when it is none.
size_t terminal_width(int fd);

/// Whether escape sequences for colour and weight may be used on a descriptor: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE,
/// TERM, then whether it is a terminal.
bool may_style(int fd);

}  // namespace aqlm_exp::app
