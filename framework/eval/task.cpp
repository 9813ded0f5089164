#include "framework/eval/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/sha256.h"
#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::eval {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxTaskBytes = uint64_t{1} << 30;

/// One line of the file, with the place for messages.
class Line {
 public:
  Line(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}
  bool has(const char* key) const { return json_.contains(key); }
  const Json& at(const char* key) const {
    if (!has(key)) throw DataError(fmt::format("{}: no key \"{}\"", where_, key), "J-MISSING");
    return json_.at(key);
  }
  std::string text(const char* key) const { return text_of(at(key), key); }
  std::string text_of(const Json& value, const char* key) const {
    if (!value.is_string())
      throw DataError(fmt::format("{}: {}: got {}, need a string", where_, key, value.type_name()), "J-TYPE");
    return value.get<std::string>();
  }
  std::vector<std::string> texts(const Json& value, const char* key) const {
    if (!value.is_array() || value.empty()) {
      throw DataError(fmt::format("{}: {}: need a list of strings that is not empty", where_, key), "J-TYPE");
    }
    std::vector<std::string> out;
    for (const Json& element : value) out.push_back(text_of(element, key));
    return out;
  }
  /// A number, or a string that holds one: data sets have both.
  int64_t index(const Json& value, const char* key, int64_t min, int64_t max) const {
    int64_t found = -1;
    if (value.is_number_integer()) {
      found = value.get<int64_t>();
    } else if (value.is_string() && !value.get<std::string>().empty() && value.get<std::string>().size() < 9 &&
               value.get<std::string>().find_first_not_of("0123456789") == std::string::npos) {
      found = std::stol(value.get<std::string>());
    } else {
      throw DataError(fmt::format("{}: {}: got {}, need the number of the right answer; a test split without answers "
                                  "cannot be scored",
                                  where_, key, value.dump()),
                      "J-TYPE");
    }
    if (found < min || found > max) {
      throw DataError(fmt::format("{}: {}: got {}, need {} to {}", where_, key, found, min, max), "J-RANGE");
    }
    return found;
  }
  const std::string& where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
};

int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F); }

/// str.strip() of texts whose white space is ASCII.
std::string stripped(const std::string& text) {
  size_t begin = 0, end = text.size();
  while (begin < end && is_blank(text[begin])) ++begin;
  while (end > begin && is_blank(text[end - 1])) --end;
  return text.substr(begin, end - begin);
}

/// str.capitalize(): the first character upper case, all others lower case.
std::string capitalised(const std::string& text) {
  size_t first = text.empty() ? 0 : 1;
  while (first < text.size() && (static_cast<unsigned char>(text[first]) & 0xC0) == 0x80) ++first;
  return text::to_upper(text.substr(0, first)) + text::to_lower(text.substr(first));
}

/// HellaSwag's WikiHow part holds marks in brackets; lm_eval/tasks/hellaswag/utils.py.
std::string without_brackets(const std::string& raw) {
  std::string text = stripped(raw);
  replace_all(text, " [title]", ". ");
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '[' ? text.find_first_of("]\n", at) : std::string::npos;
    if (end != std::string::npos && text[end] == ']') {
      at = end + 1;
    } else {
      out += text[at++];
    }
  }
  replace_all(out, "  ", " ");
  return out;
}

void add_choices(Question& question, const std::string& context, const std::vector<std::string>& answers) {
  for (const std::string& answer : answers) {
    question.choices.push_back({.context = context, .continuation = " " + answer, .length = characters(answer)});
  }
}

void read_arc(const Line& line, Question& question) {
  const Json& choices = line.at("choices");
  if (!choices.is_object() || !choices.contains("text") || !choices.contains("label")) {
    throw DataError(line.where() + ": choices: need {\"text\": [...], \"label\": [...]}", "J-TYPE");
  }
  const std::vector<std::string> answers = line.texts(choices.at("text"), "choices.text"),
                                 labels = line.texts(choices.at("label"), "choices.label");
  const std::string key = line.text("answerKey");
  const auto found = std::find(labels.begin(), labels.end(), key);
  if (labels.size() != answers.size() || found == labels.end()) {
    throw DataError(
        fmt::format("{}: answerKey: got \"{}\", need one of the {} labels", line.where(), key, labels.size()),
        "J-RANGE");
  }
  question.gold = found - labels.begin();
  add_choices(question, "Question: " + line.text("question") + "\nAnswer:", answers);
}

void read_hellaswag(const Line& line, Question& question) {
  const std::string context = line.text("ctx_a") + " " + capitalised(line.text("ctx_b"));
  std::vector<std::string> endings;
  for (const std::string& ending : line.texts(line.at("endings"), "endings"))
    endings.push_back(without_brackets(ending));
  question.gold = line.index(line.at("label"), "label", 0, static_cast<int64_t>(endings.size()) - 1);
  add_choices(question, without_brackets(line.text("activity_label") + ": " + context), endings);
}

void read_piqa(const Line& line, Question& question) {
  question.gold = line.index(line.at("label"), "label", 0, 1);
  add_choices(question, "Question: " + line.text("goal") + "\nAnswer:", {line.text("sol1"), line.text("sol2")});
}

/// Partial scoring: the context holds the option, the continuation is the rest of the sentence.
void read_winogrande(const Line& line, Question& question) {
  const std::string sentence = line.text("sentence");
  const size_t gap = sentence.find('_');
  if (gap == std::string::npos) throw DataError(line.where() + ": sentence: no \"_\" to fill in", "J-RANGE");
  question.gold = line.index(line.at("answer"), "answer", 1, 2) - 1;
  const std::string rest = " " + stripped(sentence.substr(gap + 1));
  for (const char* option : {"option1", "option2"}) {
    question.choices.push_back(
        {.context = sentence.substr(0, gap) + line.text(option), .continuation = rest, .length = characters(rest) - 1});
  }
}

void read_plain(const Line& line, Question& question) {
  const std::vector<std::string> answers = line.texts(line.at("choices"), "choices");
  question.gold = line.index(line.at("gold"), "gold", 0, static_cast<int64_t>(answers.size()) - 1);
  add_choices(question, line.text("query"), answers);
}

void read_harness(const Line& line, Question& question) {
  const Json& arguments = line.at("arguments");
  if (!arguments.is_object() && !arguments.is_array())
    throw DataError(line.where() + ": arguments: need a map or list", "J-TYPE");
  for (const Json& request : arguments) {  // {"arg_0": ..., "arg_1": ...}, or [..., ...] in older logs
    const bool map = request.is_object() && request.contains("arg_0") && request.contains("arg_1");
    if (!map && !(request.is_array() && request.size() == 2)) {
      throw DataError(line.where() + ": arguments: need pairs of context and continuation", "J-TYPE");
    }
    const std::string continuation = line.text_of(map ? request.at("arg_1") : request[1], "arguments");
    question.choices.push_back({.context = line.text_of(map ? request.at("arg_0") : request[0], "arguments"),
                                .continuation = continuation,
                                .length = characters(continuation) - (continuation.starts_with(' ') ? 1 : 0)});
  }
  if (question.choices.empty()) throw DataError(line.where() + ": arguments: got none", "J-RANGE");
  question.gold = line.index(line.at("target"), "target", 0, static_cast<int64_t>(question.choices.size()) - 1);
}

struct Layout {
  const char* name;
  const char* key;  // that no other layout has
  void (*read)(const Line&, Question&);
};
constexpr Layout kLayouts[] = {{"harness", "arguments", read_harness},      {"arc", "answerKey", read_arc},
                               {"hellaswag", "ctx_a", read_hellaswag},      {"piqa", "goal", read_piqa},
                               {"winogrande", "sentence", read_winogrande}, {"plain", "query", read_plain}};

const Layout& layout_of(const Line& line) {
  for (const Layout& layout : kLayouts) {
    if (line.has(layout.key)) return layout;
  }
  throw DataError(line.where() +
                      ": unknown layout; known by their keys: arc (answerKey), hellaswag (ctx_a), piqa (goal), "
                      "winogrande (sentence), plain (query, choices, gold), harness (arguments)",
                  "J-MISSING");
}

}  // namespace

Task load_task(const std::filesystem::path& path, const std::string& name, int64_t limit) {
  const std::string bytes = read_regular_file(path, kMaxTaskBytes, "J");
  if (const size_t valid = utf8_valid_prefix(bytes); valid != bytes.size()) {
    throw DataError(fmt::format("{}: not UTF-8 at byte {}", path.string(), valid), "J-UTF8");
  }
  Task task{.name = name.empty() ? path.stem().string() : name,
            .layout = {},
            .path = path,
            .sha256 = sha256_hex(bytes),
            .questions = {}};
  int64_t number = 0;
  for (size_t at = 0; at < bytes.size() && (limit <= 0 || static_cast<int64_t>(task.questions.size()) < limit);) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string text = stripped(bytes.substr(at, end - at));
    at = end + 1;
    ++number;
    if (text.empty()) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    Question question;
    question.doc = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!question.doc.is_object()) throw DataError(where + ": need one JSON object a line", "J-SYNTAX");
    const Line line(question.doc, where);
    const Layout& layout = layout_of(line);
    if (task.layout.empty()) task.layout = layout.name;
    if (task.layout != layout.name) {
      throw DataError(fmt::format("{}: layout {}, the lines before have {}", where, layout.name, task.layout),
                      "J-TYPE");
    }
    layout.read(line, question);
    for (const Choice& choice : question.choices) {
      if (choice.length <= 0) throw DataError(where + ": an answer is empty", "J-RANGE");
    }
    if (task.layout == std::string("harness"))
      question.doc = question.doc.contains("doc") ? Json(question.doc.at("doc")) : question.doc;
    task.questions.push_back(std::move(question));
  }
  if (task.questions.empty())
    throw DataError(path.string() + ": got no question, need one JSON object a line", "J-RANGE");
  return task;
}

}  // namespace aqlm_exp::eval
