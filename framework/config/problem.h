// Faults of a configuration, and how they are shown: one format for people, one for machines.
//
//   configs/sweep_qwen.yaml:12:9: error[C104]: unknown key 'quantizer.grup'
//      12 |   grup: 16
//         |   ^^^^ did you mean 'group'?
//      note: included from configs/sweep_qwen.yaml:3 as quantizer=aqlm
//      help: to add a new key use +quantizer.grup=16
//
// Codes by family: Y1xx YAML, D1xx defaults list, O1xx override syntax, C1xx keys and merges, I1xx interpolation,
// S1xx schema, W1xx sweep. docs/configuration.md lists each.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/error.h"
#include "framework/config/node.h"

namespace aqlm_exp::config {

/// One independent fault of a configuration.
struct Problem {
  std::string code;                     ///< "S101"
  Mark mark;                            ///< where
  std::string path;                     ///< dotted key
  std::string message;                  ///< one sentence: what we got, what we need
  std::string help;                     ///< one way out; may be empty
  std::string hint = {};                ///< stands behind the carets: "did you mean 'group'?"; may be empty
  int length = 1;                       ///< marked characters
  std::vector<std::string> notes = {};  ///< other places; filled up with the include chain by Sources::attach
  std::string source_line = {};         ///< text of the marked line; filled in by Sources::attach
};

/// Problems beyond this many are counted, not shown.
inline constexpr size_t kMaxProblems = 20;

/// The texts that a composition read, so that a fault can show its line and how its file came in.
class Sources {
 public:
  void add(const std::string& source, std::string text);
  /// `mark` is the defaults item that named the file, `as` what it wrote: "quantizer=aqlm".
  void set_included_from(const std::string& source, Mark mark, std::string as);
  bool contains(const std::string& source) const { return entries_.count(source) != 0; }
  /// The given line (1-based; for an override its whole text), or "".
  std::string line(const Mark& mark) const;
  /// Fills in source_line and the include chain.
  void attach(Problem& problem) const;
  void attach(std::vector<Problem>& problems) const;

 private:
  struct Entry {
    std::string text;
    Mark included_from;
    std::string included_as;
  };
  std::map<std::string, Entry> entries_;
};

/// The format above, problems in order, at most kMaxProblems.
std::string problems_to_text(const std::vector<Problem>& problems);
/// {"errors": [{"code", "file", "line", "column", "key", "message", "hint", "help", "notes", "source_line"}],
/// "num_errors": n}
std::string problems_to_json(const std::vector<Problem>& problems, int indent = -1);

/// Thrown when a configuration cannot be composed: all independent faults found. Exit code 3.
class CompositionError : public ConfigError {
 public:
  CompositionError(std::vector<Problem> problems, const std::string& message)
      : ConfigError(message, problems.empty() ? std::string() : problems.front().code),
        problems_(std::move(problems)) {}
  explicit CompositionError(std::vector<Problem> problems);
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

/// Overrides that do not follow the grammar. Exit code 2.
class OverrideSyntaxError : public UsageError {
 public:
  explicit OverrideSyntaxError(std::vector<Problem> problems);
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

}  // namespace aqlm_exp::config
