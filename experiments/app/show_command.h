// `aqlm-exp show ...`: looks inside a configuration without running it. And shell completion.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "framework/config/schema.h"

namespace aqlm_exp::app {

/// What the driver knows and these commands need.
struct ShowContext {
  std::vector<std::filesystem::path> builtin_roots;  ///< folders of configurations installed with the program
  std::function<config::Object()> schema;  ///< of a trial; asked only by `component` and completion; may be empty
};

/// The file that FILE means: a path, or "builtin:configs/NAME.yaml" beside the installed configurations.
std::filesystem::path config_file(const std::string& text, const ShowContext& context);

/// `show config|sweep|tree|defaults|groups|roots|component ...`; `args` without the word `show`. Data goes to `out`,
/// everything else to `err`. Compositions are checked by themselves, never against schemas.
/// @return 0; 2 for a wrong command line or override syntax; 3 for a configuration that is refused
int show_command(const std::vector<std::string>& args, const ShowContext& context, std::ostream& out,
                 std::ostream& err);

/// Text of the completion script of a shell. @throws UsageError if it is none of bash, zsh, fish
std::string completion_script(const std::string& shell, const std::string& program = "aqlm-exp");

/// A command of the driver, for completion.
struct CommandWords {
  std::string name;
  std::vector<std::string> flags;        ///< "--json", "--config-dir"
  std::vector<std::string> subcommands;  ///< "config", "sweep" of `show`
  bool takes_config = false;             ///< FILE [OVERRIDES] follow
};

/// `__complete WORD...`: the words after the program's name, the last one being typed (it may be empty). Prints one
/// candidate a line; a line ":files" or ":files EXT" asks the shell for file names. Reads directory listings and
/// schemas only.
int complete_command(const std::vector<std::string>& words, const std::vector<CommandWords>& commands,
                     const ShowContext& context, std::ostream& out);

}  // namespace aqlm_exp::app
