// aqlm-exp: the driver. Composes, plans, starts workers, waits, reports; holds no tensor, so that it starts at once.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "experiments/app/driver_commands.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/config/problem.h"
#include "framework/results/library.h"

namespace {

/// Faults of a configuration in their own format: text, or JSON when the command was to print JSON.
template <typename ProblemError>
int show_problems(const ProblemError& error, bool json) {
  if (error.problems().empty()) {
    aqlm_exp::log_error("{}", error.what());
  } else {
    std::string text = json ? aqlm_exp::config::problems_to_json(error.problems(), 2)
                            : aqlm_exp::config::problems_to_text(error.problems());
    if (text.empty() || text.back() != '\n') text += '\n';
    std::fwrite(text.data(), 1, text.size(), json ? stdout : stderr);
  }
  return static_cast<int>(error.exit_code());
}

/// A configuration or command line that was refused as a whole: the same JSON form, with what is known.
int show_refusal(const aqlm_exp::Error& error, bool json) {
  if (!json) {
    aqlm_exp::log_error("{}", error.what());
  } else {
    const std::string text =
        aqlm_exp::config::problems_to_json(
            {{.code = error.code(), .mark = {}, .path = {}, .message = error.what(), .help = {}}}, 2) +
        "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  return static_cast<int>(error.exit_code());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace aqlm_exp;
  results::keep_freed_memory();
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
  try {
    return app::run_driver_program(arguments);
  } catch (const config::CompositionError& error) {
    return show_problems(error, json);
  } catch (const config::OverrideSyntaxError& error) {
    return show_problems(error, json);
  } catch (const ConfigError& error) {
    return show_refusal(error, json);
  } catch (const UsageError& error) {
    return show_refusal(error, json);
  } catch (const Error& error) {
    log_error("{}", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::bad_alloc&) {
    log_error("out of memory; need less at once, e.g. a smaller sweep");
    return static_cast<int>(ExitCode::kInternal);
  } catch (const std::exception& error) {
    log_error("{}; this is a bug of aqlm-exp, please report it with the command", error.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
