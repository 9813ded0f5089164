// Messages for people on stderr, and progress for whoever watches the process.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string_view>

namespace aqlm_exp {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

void set_log_level(LogLevel level);
LogLevel log_level();
void log_message(LogLevel level, std::string_view message);

template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() >= LogLevel::kInfo) log_message(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() >= LogLevel::kDebug) log_message(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}

/// How far a long piece of work has come: `done` of `total` units of `stage`.
using ProgressSink = std::function<void(std::string_view stage, int64_t done, int64_t total)>;
/// Replaces the receiver of report_progress; an empty function (the start value) drops reports.
void set_progress_sink(ProgressSink sink);
void report_progress(std::string_view stage, int64_t done, int64_t total);

}  // namespace aqlm_exp
