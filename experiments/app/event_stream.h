// `run --events`: what happens, as JSON lines on stdout for programs (docs/events.schema.json).
#pragma once

#include <string>

#include "framework/plan/execute.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::app {

class EventStream {
 public:
  EventStream(const plan::Plan& plan, bool wanted) : plan_(plan), wanted_(wanted) {}

  void run_started(const std::string& out, int64_t num_reused);
  void on_event(const plan::Event& event);
  /// At most one "progress" a second.
  void on_tick(const plan::Progress& progress);
  void run_finished(const plan::Outcome& outcome);

 private:
  const plan::Plan& plan_;
  bool wanted_;
  double last_progress_s_ = -1e9;
};

}  // namespace aqlm_exp::app
