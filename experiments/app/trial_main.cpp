// aqlm-exp-trial: the worker. `run` is one trial of a plan; the other commands are those of aqlm-exp that need tensors.
#include <exception>
#include <string>
#include <vector>

#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/base/log.h"

int main(int argc, char** argv) {
  using namespace aqlm_exp;
  try {
    return app::run_trial_program(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const Error& e) {
    log_error("{}", e.what());
    return static_cast<int>(e.exit_code());
  } catch (const std::exception& e) {
    log_error("{}; this is a bug of aqlm-exp, please report it with the command", e.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
