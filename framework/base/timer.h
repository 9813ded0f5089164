// Monotonic timing: a stopwatch, and seconds per named stage of a piece of work.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace aqlm_exp {

class Stopwatch {
 public:
  double elapsed_s() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  void restart() { start_ = std::chrono::steady_clock::now(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Seconds per stage, in the order in which stages first appeared.
class StageTimes {
 public:
  void add(const std::string& stage, double seconds) {
    for (auto& [name, total] : stages_) {
      if (name == stage) {
        total += seconds;
        return;
      }
    }
    stages_.emplace_back(stage, seconds);
  }
  const std::vector<std::pair<std::string, double>>& stages() const { return stages_; }

  /// Adds the time from its construction to its end to one stage.
  class Scope {
   public:
    Scope(StageTimes& times, std::string stage) : times_(times), stage_(std::move(stage)) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { times_.add(stage_, watch_.elapsed_s()); }

   private:
    StageTimes& times_;
    std::string stage_;
    Stopwatch watch_;
  };

 private:
  std::vector<std::pair<std::string, double>> stages_;
};

}  // namespace aqlm_exp
