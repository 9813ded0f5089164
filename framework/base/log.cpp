#include "framework/base/log.h"

#include <atomic>
#include <cstdio>
#include <utility>

namespace aqlm_exp {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
ProgressSink& sink() {
  static ProgressSink instance;
  return instance;
}

}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void log_message(LogLevel level, std::string_view message) {
  if (level > log_level()) return;
  const char* prefix = level == LogLevel::kError ? "error: " : level == LogLevel::kWarning ? "warning: " : "";
  const std::string line = fmt::format("{}{}\n", prefix, message);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void set_progress_sink(ProgressSink new_sink) { sink() = std::move(new_sink); }

void report_progress(std::string_view stage, int64_t done, int64_t total) {
  if (sink()) sink()(stage, done, total);
}

}  // namespace aqlm_exp
