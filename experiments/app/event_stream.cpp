#include "experiments/app/event_stream.h"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/results/text_check.h"

namespace aqlm_exp::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kProgressEveryS = 1;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Json event_of(const char* name) { return {{"v", 1}, {"t", plan::utc_now_ms()}, {"ev", name}}; }

/// A reader that went away ends the stream, not the sweep.
void put(const Json& json) {
  const std::string line = json.dump() + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

const char* name_of(plan::Event::Kind kind) {
  switch (kind) {
    case plan::Event::Kind::kStarted:
      return "trial.started";
    case plan::Event::Kind::kCompleted:
    case plan::Event::Kind::kFailed:
      return "trial.finished";
    case plan::Event::Kind::kRetry:
      return "trial.retry";
    case plan::Event::Kind::kCancelled:
      return "trial.cancelled";
    case plan::Event::Kind::kStopping:
      break;
  }
  return "run.stopping";
}

}  // namespace

void EventStream::run_started(const std::string& out, int64_t num_reused) {
  if (!wanted_) return;
  Json json = event_of("run.started");
  json["out"] = results::clean_text(out);
  json["num_trials"] = plan_.trials.size();
  json["num_reused"] = num_reused;
  put(json);
}

void EventStream::on_event(const plan::Event& event) {
  if (!wanted_) return;
  Json json = event_of(name_of(event.kind));
  if (event.kind == plan::Event::Kind::kStopping) {
    json["why"] = results::clean_text(event.detail);
    put(json);
    return;
  }
  const plan::PlannedTrial& trial = plan_.trials[event.index];
  json["id"] = trial.id;
  json["name"] = results::clean_text(trial.name);
  json["attempt"] = event.attempt;
  if (event.kind == plan::Event::Kind::kStarted) {
    put(json);
    return;
  }
  json["status"] = event.verdict.status;
  json["duration_s"] = event.duration_s;
  if (event.kind != plan::Event::Kind::kCompleted) {
    json["class"] = event.verdict.failure_class;
    json["message"] = results::clean_text(event.verdict.message);
  }
  if (event.kind == plan::Event::Kind::kRetry) json["when"] = results::clean_text(event.detail);
  put(json);
}

void EventStream::on_tick(const plan::Progress& progress) {
  if (!wanted_ || now_s() - last_progress_s_ < kProgressEveryS) return;
  last_progress_s_ = now_s();
  Json json = event_of("progress");
  json["num_completed"] = progress.num_completed;
  json["num_failed"] = progress.num_failed;
  json["elapsed_s"] = progress.elapsed_s;
  json["running"] = Json::array();
  for (const plan::RunningTrial& running : progress.running) {
    json["running"].push_back({{"id", plan_.trials[running.index].id},
                               {"elapsed_s", running.elapsed_s},
                               {"stage", results::clean_text(running.beat.stage)},
                               {"done", running.beat.done},
                               {"total", running.beat.total}});
  }
  put(json);
}

void EventStream::run_finished(const plan::Outcome& outcome) {
  if (!wanted_) return;
  Json json = event_of("run.finished");
  json["exit_code"] = outcome.signal != 0 ? 128 + outcome.signal : static_cast<int>(outcome.exit_code);
  json["num_completed"] = outcome.progress.num_completed;
  json["num_reused"] = outcome.progress.num_reused;
  json["num_failed"] = outcome.progress.num_failed;
  json["elapsed_s"] = outcome.progress.elapsed_s;
  put(json);
}

}  // namespace aqlm_exp::app
