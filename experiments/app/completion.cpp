// Shell completion. The scripts ask `aqlm-exp __complete`, which reads directory listings and schemas only.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "experiments/app/show_command.h"
#include "framework/base/error.h"
#include "framework/config/introspection.h"

namespace aqlm_exp::app {
namespace {

// '=' and ':' break words in bash; the words are taken from the whole line instead, and what stands before the last
// break is cut from the candidates.
constexpr const char* kBash = R"(# bash completion of {0}: source <({0} completion bash)
_{1}_complete() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" current words candidates
  read -r -a words <<< "$line"
  [[ "$line" == *" " ]] && words+=("")
  current="${{words[-1]}}"
  COMPREPLY=()
  while IFS= read -r candidate; do
    case "$candidate" in
      :files*)
        compopt -o filenames 2>/dev/null
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "$current")
        ;;
      *) COMPREPLY+=("$candidate") ;;
    esac
  done < <("${{words[0]}}" __complete "${{words[@]:1}}" 2>/dev/null)
  local cut="${{current%"${{COMP_WORDS[COMP_CWORD]}}"}}"
  [[ "${{COMP_WORDS[COMP_CWORD]}}" == "=" ]] && cut="$current"
  [[ -n "$cut" ]] && COMPREPLY=("${{COMPREPLY[@]#"$cut"}}")
  [[ "${{#COMPREPLY[@]}}" -eq 1 && ( "${{COMPREPLY[0]}}" == *= || "${{COMPREPLY[0]}}" == *, ) ]] && compopt -o nospace 2>/dev/null
  return 0
}}
complete -F _{1}_complete {0}
)";

constexpr const char* kZsh = R"(#compdef {0}
# zsh completion of {0}: source <({0} completion zsh)
_{1}_complete() {{
  local -a candidates plain open
  candidates=("${{(@f)$({0} __complete "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
  local candidate
  for candidate in $candidates; do
    case "$candidate" in
      :files*) _files ;;
      *=) open+=("$candidate") ;;
      ?*) plain+=("$candidate") ;;
    esac
  done
  (( $#open )) && compadd -S '' -- $open
  (( $#plain )) && compadd -- $plain
}}
# As a file _{0} of $fpath this is the function itself; sourced, it is announced.
if [[ "$funcstack[1]" == "_{0}" ]]; then
  _{1}_complete "$@"
else
  compdef _{1}_complete {0}
fi
)";

constexpr const char* kFish = R"(# fish completion of {0}: {0} completion fish | source
function __{1}_complete
  set -l words (commandline -opc) (commandline -ct)
  for candidate in ({0} __complete $words[2..-1] 2>/dev/null)
    if string match -q ':files*' -- $candidate
      __fish_complete_path (commandline -ct)
    else
      echo $candidate
    end
  end
end
complete -c {0} -f -a '(__{1}_complete)'
)";

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

}  // namespace

std::string completion_script(const std::string& shell, const std::string& program) {
  std::string identifier = program;
  std::replace(identifier.begin(), identifier.end(), '-', '_');
  if (shell == "bash") return fmt::format(kBash, program, identifier);
  if (shell == "zsh") return fmt::format(kZsh, program, identifier);
  if (shell == "fish") return fmt::format(kFish, program, identifier);
  throw UsageError(fmt::format("completion: got shell '{}', need bash, zsh or fish", shell));
}

int complete_command(const std::vector<std::string>& words, const std::vector<CommandWords>& commands,
                     const ShowContext& context, std::ostream& out) {
  const std::string current = words.empty() ? std::string() : words.back();
  const auto print = [&](const std::vector<std::string>& candidates) {
    for (const std::string& candidate : candidates) {
      if (starts_with(candidate, current)) out << candidate << "\n";
    }
  };
  if (words.size() <= 1) {
    std::vector<std::string> names;
    for (const CommandWords& command : commands) names.push_back(command.name);
    print(names);
    return 0;
  }
  const auto command =
      std::find_if(commands.begin(), commands.end(), [&](const auto& c) { return c.name == words[0]; });
  if (command == commands.end()) return 0;
  if (starts_with(current, "-")) {
    print(command->flags);
    return 0;
  }
  size_t first = 1;  // first word that is no sub-command
  if (!command->subcommands.empty()) {
    if (words.size() == 2) {
      print(command->subcommands);
      return 0;
    }
    first = 2;
  }
  if (!command->takes_config) {
    out << ":files\n";
    return 0;
  }
  // FILE is the first word that is neither a flag nor the value of --config-dir.
  config::ComposeRequest request;
  std::string file;
  for (size_t i = first; i + 1 < words.size(); ++i) {
    if (words[i] == "--config-dir" && i + 2 < words.size()) {
      request.roots.emplace_back(words[++i]);
    } else if (!starts_with(words[i], "-") && file.empty()) {
      file = words[i];
    }
  }
  if (file.empty()) {
    out << ":files yaml\n";
    return 0;
  }
  request.file = config_file(file, context);
  request.roots.insert(request.roots.end(), context.builtin_roots.begin(), context.builtin_roots.end());
  if (context.schema) {
    const config::Object schema = context.schema();
    for (const std::string& candidate : config::complete_override(current, request, &schema)) out << candidate << "\n";
  } else {
    for (const std::string& candidate : config::complete_override(current, request, nullptr)) out << candidate << "\n";
  }
  return 0;
}

}  // namespace aqlm_exp::app
