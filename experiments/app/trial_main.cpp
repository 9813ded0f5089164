// aqlm-exp-trial: the worker. `run` is one trial of a plan; the other commands are those of aqlm-exp that need tensors.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/config/problem.h"

namespace {

/// Faults of a configuration with the lines they are in.
template <typename ProblemError>
int show_problems(const ProblemError& error) {
  if (error.problems().empty()) {
    aqlm_exp::log_error("{}", error.what());
  } else {
    std::string text = aqlm_exp::config::problems_to_text(error.problems());
    if (text.empty() || text.back() != '\n') text += '\n';
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  return static_cast<int>(error.exit_code());
}

/// Passes on a CPU take and free tensors of some MiB all the time. Left alone, glibc gives their pages back and has
/// them faulted in again: 8% of the CPU time of a forward and backward pass. Larger tensors are still returned at once.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that it takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  using namespace aqlm_exp;
  keep_freed_memory();
  try {
    return app::run_trial_program(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const config::CompositionError& e) {
    return show_problems(e);
  } catch (const config::OverrideSyntaxError& e) {
    return show_problems(e);
  } catch (const Error& e) {
    log_error("{}", e.what());
    return static_cast<int>(e.exit_code());
  } catch (const std::exception& e) {
    log_error("{}; this is a bug of aqlm-exp, please report it with the command", e.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
