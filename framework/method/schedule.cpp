#include "framework/method/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "framework/base/error.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kMostRepeats = 100000;
constexpr int kDeepest = 16;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<ScheduleStep> whole() {
    std::vector<ScheduleStep> steps = list(0);
    if (at_ < text_.size()) fail("a step, not a closing bracket without its opening one");
    return steps;
  }

 private:
  std::vector<ScheduleStep> list(int depth) {
    std::vector<ScheduleStep> steps;
    while (skip_blanks() && text_[at_] != ')') steps.push_back(step(depth));
    return steps;
  }

  ScheduleStep step(int depth) {
    const char c = text_[at_];
    ScheduleStep out;
    if (c == '(') {
      if (depth >= kDeepest) fail(fmt::format("at most {} brackets inside each other", kDeepest));
      ++at_;
      out.steps = list(depth + 1);
      if (at_ == text_.size()) fail("a closing bracket");
      if (out.steps.empty()) fail("steps between the brackets");
      ++at_;
    } else if (std::string_view("DILS").find(c) != std::string_view::npos) {
      out.letter = c;
      ++at_;
    } else {
      fail("one of D (encoder), I (refiner), L (tuner), S (scales), or a bracket");
    }
    repeat(out);
    return out;
  }

  void repeat(ScheduleStep& out) {
    if (!skip_blanks() || text_[at_] != '*') return;
    ++at_;
    int64_t count = 0;
    const size_t first = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      count = std::min(10 * count + (text_[at_] - '0'), kMostRepeats + 1);
    }
    if (at_ == first && out.letter == 0) {
      out.count = ScheduleStep::kUntilTolerance;
      return;
    }
    if (count < 1 || count > kMostRepeats) {
      at_ = first;
      fail(fmt::format("a number from 1 to {} after *", kMostRepeats));
    }
    if (out.letter != 0) {
      ScheduleStep group;
      group.steps.push_back(out);
      out = group;
    }
    out.count = count;
  }

  /// True while there is more.
  bool skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size();
  }

  [[noreturn]] void fail(const std::string& need) const {
    throw ConfigError(
        fmt::format("schedule.steps: got \"{}\", need {} at character {}; try \"(D L S)*5 I\"", text_, need, at_ + 1));
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::vector<ScheduleStep> parse_schedule(const std::string& text) { return Parser(text).whole(); }

bool uses_step(const std::vector<ScheduleStep>& steps, char letter) {
  return std::any_of(steps.begin(), steps.end(), [letter](const ScheduleStep& step) {
    return step.letter == letter || uses_step(step.steps, letter);
  });
}

}  // namespace aqlm_exp::method
