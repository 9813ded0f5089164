#include "experiments/app/progress_display.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "analysis/text_table.h"

namespace aqlm_exp::app {
namespace {

constexpr double kLeastGapS = 0.1;     // ten updates a second at most
constexpr double kSummaryEveryS = 30;  // of plain output
constexpr size_t kBarCells = 20;
constexpr size_t kWorkerLines = 4;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// stderr may be closed or a broken pipe: that never ends a sweep.
void put(const std::string& text) { [[maybe_unused]] const ssize_t written = ::write(2, text.data(), text.size()); }

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

}  // namespace

size_t terminal_width(int fd) {
  if (::isatty(fd) == 0) return 0;
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool may_style(int fd) {
  if (const char* none = std::getenv("NO_COLOR"); none != nullptr && *none != '\0') return false;
  if (is_set("FORCE_COLOR") || is_set("CLICOLOR_FORCE")) return true;
  const char* term = std::getenv("TERM");
  return ::isatty(fd) != 0 && term != nullptr && std::strcmp(term, "dumb") != 0;
}

std::string duration_text(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string progress_summary(const plan::Progress& progress) {
  const size_t done = progress.num_completed + progress.num_failed;
  const size_t done_now = done - progress.num_reused;
  std::string text = fmt::format("{}/{} [{}", done, progress.num_trials, duration_text(progress.elapsed_s));
  if (done_now > 0 && progress.elapsed_s > 0) {
    const double each_s = progress.elapsed_s / static_cast<double>(done_now);
    if (done < progress.num_trials) {
      text += fmt::format("<{}", duration_text(each_s * static_cast<double>(progress.num_trials - done)));
    }
    text += fmt::format(", {:.1f}/min", 60 / each_s);
  }
  text += "]";
  if (progress.num_failed > 0) text += fmt::format(" {} failed", progress.num_failed);
  if (progress.num_reused > 0) text += fmt::format(" {} reused", progress.num_reused);
  return text;
}

ProgressDisplay::ProgressDisplay(const plan::Plan& plan, ProgressStyle style, bool verbose)
    : plan_(plan), verbose_(verbose) {
  const char* term = std::getenv("TERM");
  const bool terminal = ::isatty(2) != 0 && (term == nullptr || std::strcmp(term, "dumb") != 0);
  bar_ = style == ProgressStyle::kBar || (style == ProgressStyle::kAuto && terminal);
  plain_ = style == ProgressStyle::kPlain || (style == ProgressStyle::kAuto && !terminal);
}

ProgressDisplay::~ProgressDisplay() { erase(); }

void ProgressDisplay::erase() {
  if (lines_drawn_ == 0) return;
  std::string text = "\r\x1b[K";
  for (size_t i = 1; i < lines_drawn_; ++i) text += "\x1b[1A\x1b[K";
  put(text);
  lines_drawn_ = 0;
}

void ProgressDisplay::draw() {
  const size_t width = std::max<size_t>(20, terminal_width(2) > 0 ? terminal_width(2) : 80);
  const size_t done = latest_.num_completed + latest_.num_failed;
  const size_t filled = latest_.num_trials > 0 ? kBarCells * done / latest_.num_trials : kBarCells;
  std::vector<std::string> lines = {fmt::format("[{}{}] {}", std::string(filled, '#'),
                                                std::string(kBarCells - filled, '-'), progress_summary(latest_))};
  for (const plan::RunningTrial& running : latest_.running) {
    if (lines.size() > kWorkerLines) {
      lines.push_back(fmt::format("  and {} more", latest_.running.size() - kWorkerLines));
      break;
    }
    std::string text = fmt::format("  {}", analysis::printable(plan_.trials[running.index].name));
    if (!running.beat.stage.empty()) {
      text += fmt::format(" · {}", analysis::printable(running.beat.stage));
      if (running.beat.total > 0) text += fmt::format(" {}/{}", running.beat.done, running.beat.total);
    }
    text += fmt::format(" · {}", duration_text(running.elapsed_s));
    lines.push_back(std::move(text));
  }
  erase();
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    text += (i > 0 ? "\n" : "") + analysis::shortened(lines[i], width - 1);  // a full line would wrap
  }
  put(text);
  lines_drawn_ = lines.size();
}

void ProgressDisplay::line(const std::string& text) {
  erase();
  put(text + "\n");
  if (bar_) draw();
}

void ProgressDisplay::on_event(const plan::Event& event) {
  if (event.kind == plan::Event::Kind::kStopping) {
    line(event.detail);
    return;
  }
  if (!bar_ && !plain_) return;
  const plan::PlannedTrial& trial = plan_.trials[event.index];
  const std::string name = fmt::format("{} {}", trial.id.substr(0, 12), analysis::printable(trial.name));
  switch (event.kind) {
    case plan::Event::Kind::kStarted:
      if (plain_ || verbose_) line(fmt::format("start    {}", name));
      break;
    case plan::Event::Kind::kCompleted:
      line(fmt::format("done     {}  {}", name, duration_text(event.duration_s)));
      break;
    case plan::Event::Kind::kFailed:
      line(fmt::format("FAILED   {}  {}: {}", name, event.verdict.failure_class,
                       analysis::printable(event.verdict.message)));
      break;
    case plan::Event::Kind::kRetry:
      line(fmt::format("retry    {}  {}: {}; {}", name, event.verdict.failure_class,
                       analysis::printable(event.verdict.message), event.detail));
      break;
    case plan::Event::Kind::kCancelled:
      line(fmt::format("stopped  {}", name));
      break;
    case plan::Event::Kind::kStopping:
      break;
  }
}

void ProgressDisplay::on_tick(const plan::Progress& progress) {
  latest_ = progress;
  const double now = now_s();
  if (bar_ && now - last_drawn_s_ >= kLeastGapS) {
    last_drawn_s_ = now;
    draw();
  }
  if (plain_ && progress.elapsed_s - last_summary_s_ >= kSummaryEveryS) {
    last_summary_s_ = progress.elapsed_s;
    std::string text = progress_summary(progress);
    for (const plan::RunningTrial& running : progress.running) {
      if (running.beat.stage.empty()) continue;
      text += fmt::format("; {} {}/{}", analysis::printable(running.beat.stage), running.beat.done, running.beat.total);
    }
    put(text + "\n");
  }
}

void ProgressDisplay::finish(const plan::Progress& progress) {
  erase();
  if (bar_ || plain_) put(progress_summary(progress) + "\n");
  bar_ = plain_ = false;
}

}  // namespace aqlm_exp::app
