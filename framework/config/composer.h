// The machinery behind compose() and expand_sweep(): files are read once, each set of choices is expanded once.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/compose.h"
#include "framework/config/config_files.h"
#include "framework/config/defaults_list.h"
#include "framework/config/interpolation.h"
#include "framework/config/override_grammar.h"
#include "framework/config/sweep_values.h"

namespace aqlm_exp::config {

/// An override whose calls are computed: one value, or those of a sweep.
struct ReadyOverride {
  Override override;  ///< with one element without calls
  bool is_sweep = false;
  std::vector<Override> alternatives;  ///< of a sweep
};

/// Parses overrides; "override #1" is the first. Syntax faults go to `problems`.
std::vector<Override> parse_overrides(const std::vector<std::string>& texts, Sources& sources,
                                      std::vector<Problem>& problems);

class Composer {
 public:
  explicit Composer(const ComposeRequest& request);

  struct Tree {
    Node tree;
    Node exp;
    std::map<std::string, std::string> choices;
    std::map<std::string, std::string> environment;
    Overwritten overwritten;
  };

  /// Composes with overrides that hold one value each.
  Tree compose(const std::vector<const Override*>& overrides, bool skip_missing, std::vector<Problem>& problems);

  /// True when the override chooses an option of a group, adds one or deletes a choice.
  bool is_choice(const Override& override);

  /// Computes the calls of an override.
  std::optional<ReadyOverride> evaluate(const Override& override, const ValueContext& context,
                                        std::vector<Problem>& problems);

  ConfigFiles& files() { return files_; }
  /// Defaults tree of a set of overrides, for introspection.
  const Defaults& defaults(const std::vector<const Override*>& overrides, bool skip_missing,
                           std::vector<Problem>& problems);
  std::vector<std::string> file_names() const;
  std::vector<FileRecord> file_records() const;
  /// Sorts by place, fills in lines and include chains, and drops repeated ones.
  void finish(std::vector<Problem>& problems);

 private:
  struct Base {
    Defaults defaults;
    Node tree;
    Overwritten overwritten;
    std::vector<Problem> problems;
  };
  const Base& base(const std::vector<const Override*>& overrides, bool skip_missing);
  void add_choice(const Override& override, ChoiceOverrides& choices, std::vector<Problem>& problems);

  const ComposeRequest& request_;
  ConfigFiles files_;
  std::map<std::string, std::unique_ptr<Base>> bases_;  // by the text of the overrides that choose
};

}  // namespace aqlm_exp::config
