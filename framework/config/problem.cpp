#include "framework/config/problem.h"

#include <fmt/format.h>

#include <algorithm>

namespace aqlm_exp::config {
namespace {

constexpr size_t kShownColumns = 160;  // longer lines are cut around the mark

/// Characters of UTF-8 text: bytes that do not continue one.
size_t num_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// `text` from character `first`, at most `count` characters.
std::string characters(std::string_view text, size_t first, size_t count) {
  std::string out;
  size_t i = 0;
  for (const char c : text) {
    const bool starts = (c & 0xC0) != 0x80;
    if (starts) ++i;
    if (i > first && i <= first + count) out.push_back(c == '\t' ? ' ' : c);
  }
  return out;
}

void render(const Problem& problem, std::string& out) {
  out += fmt::format("{}: error[{}]: {}\n", problem.mark.str(), problem.code, problem.message);
  if (!problem.source_line.empty() && problem.mark.column > 0) {
    const size_t column = static_cast<size_t>(problem.mark.column) - 1;
    const size_t length = static_cast<size_t>(std::max(problem.length, 1));
    const size_t first = column + length > kShownColumns ? column - std::min<size_t>(column, 40) : 0;
    const std::string number = problem.mark.line > 0 ? std::to_string(problem.mark.line) : std::string();
    const std::string gutter(std::max<size_t>(number.size(), 2), ' ');
    const std::string shown = characters(problem.source_line, first, kShownColumns);
    const size_t room =
        std::max<size_t>(num_characters(shown) > column - first ? num_characters(shown) - (column - first) : 1, 1);
    out += fmt::format("   {}{} | {}\n", gutter.substr(number.size()), number, shown);
    out += fmt::format("   {} | {}{}{}{}\n", gutter, std::string(column - first, ' '),
                       std::string(std::min(length, room), '^'), problem.hint.empty() ? "" : " ", problem.hint);
  } else if (!problem.hint.empty()) {
    out += fmt::format("   hint: {}\n", problem.hint);
  }
  for (const std::string& note : problem.notes) out += fmt::format("   note: {}\n", note);
  if (!problem.help.empty()) out += fmt::format("   help: {}\n", problem.help);
}

}  // namespace

void Sources::add(const std::string& source, std::string text) {
  entries_.emplace(source, Entry{std::move(text), {}, {}});
}

void Sources::set_included_from(const std::string& source, Mark mark, std::string as) {
  const auto entry = entries_.find(source);
  if (entry == entries_.end()) return;
  entry->second.included_from = std::move(mark);
  entry->second.included_as = std::move(as);
}

std::string Sources::line(const Mark& mark) const {
  const auto entry = entries_.find(mark.source);
  if (entry == entries_.end()) return {};
  const std::string& text = entry->second.text;
  size_t begin = 0;
  for (int i = 1; i < mark.line; ++i) {
    begin = text.find('\n', begin);
    if (begin == std::string::npos) return {};
    ++begin;
  }
  std::string line = text.substr(begin, text.find('\n', begin) - begin);
  while (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

void Sources::attach(Problem& problem) const {
  if (problem.source_line.empty()) problem.source_line = line(problem.mark);
  std::string source = problem.mark.source;
  for (int depth = 0; depth < 64; ++depth) {  // a cycle in the defaults lists must not loop here
    const auto entry = entries_.find(source);
    if (entry == entries_.end() || entry->second.included_from.source.empty()) break;
    const Mark& from = entry->second.included_from;
    std::string note = fmt::format("included from {} as {}", from.str(), entry->second.included_as);
    if (std::find(problem.notes.begin(), problem.notes.end(), note) != problem.notes.end()) break;
    problem.notes.push_back(std::move(note));
    source = from.source;
  }
}

void Sources::attach(std::vector<Problem>& problems) const {
  for (Problem& problem : problems) attach(problem);
}

std::string problems_to_text(const std::vector<Problem>& problems) {
  std::string out;
  for (size_t i = 0; i < problems.size() && i < kMaxProblems; ++i) render(problems[i], out);
  if (problems.size() > kMaxProblems) out += fmt::format("... and {} more errors\n", problems.size() - kMaxProblems);
  if (!out.empty()) out.pop_back();
  return out;
}

std::string problems_to_json(const std::vector<Problem>& problems, int indent) {
  Node::List errors;
  for (size_t i = 0; i < problems.size() && i < kMaxProblems; ++i) {
    const Problem& problem = problems[i];
    Node error = Node::map();
    NodeMap& map = error.map_value();
    const auto text_or_null = [](const std::string& text) { return text.empty() ? Node::null() : Node::string(text); };
    map.set("code", Node::string(problem.code));
    map.set("file", text_or_null(problem.mark.source));
    map.set("line", problem.mark.line > 0 ? Node::integer(problem.mark.line) : Node::null());
    map.set("column", problem.mark.column > 0 ? Node::integer(problem.mark.column) : Node::null());
    map.set("key", text_or_null(problem.path));
    map.set("message", Node::string(problem.message));
    map.set("hint", text_or_null(problem.hint));
    map.set("help", text_or_null(problem.help));
    Node::List notes;
    for (const std::string& note : problem.notes) notes.push_back(Node::string(note));
    map.set("notes", Node::list(std::move(notes)));
    map.set("source_line", text_or_null(problem.source_line));
    errors.push_back(std::move(error));
  }
  Node document = Node::map();
  document.map_value().set("errors", Node::list(std::move(errors)));
  document.map_value().set("num_errors", Node::integer(static_cast<int64_t>(problems.size())));
  return to_json(document, indent);
}

CompositionError::CompositionError(std::vector<Problem> problems)
    : CompositionError(problems, problems_to_text(problems)) {}

OverrideSyntaxError::OverrideSyntaxError(std::vector<Problem> problems)
    : UsageError(problems_to_text(problems), problems.empty() ? std::string() : problems.front().code),
      problems_(std::move(problems)) {}

}  // namespace aqlm_exp::config
