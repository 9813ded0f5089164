#include "experiments/app/chat_loop.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/config/suggestions.h"
#include "framework/text/stream_decoder.h"

namespace aqlm_exp::app {
namespace {

using generate::StopReason;

constexpr const char* kHelp =
    "exit         ends the conversation (so does Ctrl-D)\n"
    "Ctrl-C       stops the answer\n"
    "/reset       forgets the conversation\n"
    "/stats       tokens and speed\n"
    "/save FILE   writes the conversation as JSON\n"
    "/help        this list\n";

struct Totals {
  int64_t turns = 0, prompt_tokens = 0, new_tokens = 0;
  double prefill_s = 0, decode_s = 0;
  int64_t decoded = 0;  // tokens that decode_s counts
};

class Chat {
 public:
  Chat(const ChatSetup& setup, const std::function<void(const std::string&)>& show) : setup_(setup), show_(show) {}

  void greet() const {
    if (!setup_.terminal) return;
    show_(fmt::format("{} ({})\n{}; {}; at most {} new tokens\n{}\n", setup_.model_name, setup_.about,
                      setup_.conversation->has_template() ? "chat template" : "no chat template: the text is continued",
                      generate::describe(setup_.options.sampling), setup_.options.max_new_tokens,
                      "exit or Ctrl-D ends, Ctrl-C stops an answer, /help lists commands"));
  }

  void command(const std::string& line) {
    const std::string name = line.substr(0, line.find(' '));
    const size_t rest = line.find_first_not_of(' ', name.size());
    const std::string argument = rest == std::string::npos ? "" : line.substr(rest);
    if (name == "/help") {
      show_(kHelp);
    } else if (name == "/reset") {
      setup_.conversation->reset();
      totals_ = {};
      show_("(the conversation is forgotten)\n");
    } else if (name == "/stats") {
      show_(stats());
    } else if (name == "/save") {
      save(argument);
    } else {
      show_(fmt::format("unknown command {}; {} /help lists them\n", name,
                        config::did_you_mean(config::nearest_names(name, {"/help", "/reset", "/stats", "/save"}))));
    }
  }

  void answer(const std::string& line) {
    setup_.conversation->add_user(line);
    text::StreamDecoder stream(*setup_.tokenizer, {.skip_special_tokens = true});
    std::string said;
    const auto say = [&](std::string piece) {
      said += piece;
      if (setup_.terminal) piece = without_controls(piece);
      if (!piece.empty()) show_(piece);
    };
    try {
      int64_t dropped = 0;
      // At least one token of answer must fit; prompts give way so that a whole answer does.
      const int64_t room = std::max<int64_t>(
          1, std::max(setup_.decoder->capacity() - setup_.options.max_new_tokens, setup_.decoder->capacity() / 2));
      const std::vector<int32_t> prompt = setup_.conversation->prompt(room, &dropped);
      if (dropped > 0) show_(fmt::format("(the context is full: the oldest {} messages are forgotten)\n", dropped));
      const generate::Answer answer =
          generate::continue_text(*setup_.decoder, held_, prompt, setup_.options, [&](int64_t, int32_t token) {
            say(stream.add(token));
            return !InterruptWatch::take();
          });
      say(stream.finish());
      finish_line(said, answer.reason);
      ++totals_.turns;
      totals_.prompt_tokens += answer.prompt_tokens;
      totals_.new_tokens += static_cast<int64_t>(answer.tokens.size());
      totals_.prefill_s += answer.prefill_s;
      totals_.decode_s += answer.decode_s;
      totals_.decoded += std::max<int64_t>(0, static_cast<int64_t>(answer.tokens.size()) - 1);
      setup_.options.sampling.seed += 1;  // the next answer draws anew; the whole conversation repeats with its seed
      setup_.conversation->add_assistant(said);
    } catch (const DataError& error) {
      setup_.conversation->pop();
      show_(fmt::format("{}\n", error.what()));
    }
  }

 private:
  void finish_line(const std::string& said, StopReason reason) const {
    if (!setup_.terminal) {
      show_("\n");
      return;
    }
    const char* note = reason == StopReason::kInterrupted   ? " (stopped)"
                       : reason == StopReason::kContextFull ? " (the context is full)"
                                                            : "";
    show_(fmt::format("{}{}", note, said.empty() || said.back() != '\n' || *note != '\0' ? "\n" : ""));
  }

  std::string stats() const {
    const double prefill = totals_.prefill_s > 0 ? static_cast<double>(totals_.prompt_tokens) / totals_.prefill_s : 0;
    const double decode = totals_.decode_s > 0 ? static_cast<double>(totals_.decoded) / totals_.decode_s : 0;
    return fmt::format(
        "{} answer(s): {} prompt tokens at {:.1f} tokens/s, {} new tokens at {:.1f} tokens/s; {} of {} tokens of "
        "context in use\n",
        totals_.turns, totals_.prompt_tokens, prefill, totals_.new_tokens, decode, held_.size(),
        setup_.decoder->capacity());
  }

  void save(const std::string& path) const {
    if (path.empty()) {
      show_("/save needs a file: /save talk.json\n");
      return;
    }
    try {
      nlohmann::ordered_json json = setup_.conversation->to_json();
      json["sampling"] = generate::describe(setup_.options.sampling);
      write_file_atomically(path, json.dump(2) + "\n");
      show_(fmt::format("(written to {})\n", path));
    } catch (const StorageError& error) {
      show_(fmt::format("{}\n", error.what()));
    }
  }

  ChatSetup setup_;
  const std::function<void(const std::string&)>& show_;
  std::vector<int32_t> held_;
  Totals totals_;
};

}  // namespace

void chat(const ChatSetup& setup, LineReader& reader, const std::function<void(const std::string&)>& show) {
  const InterruptWatch watch;
  Chat talk(setup, show);
  talk.greet();
  while (true) {
    const InputLine line = reader.read("> ");
    if (line.kind == LineKind::kEnd) break;
    if (line.kind == LineKind::kInterrupted) {
      show("(exit or Ctrl-D ends the conversation)\n");
      continue;
    }
    if (line.text.find_first_not_of(" \t") == std::string::npos) continue;
    if (line.text == "exit") break;
    if (line.text.front() == '/') {
      talk.command(line.text);
      continue;
    }
    talk.answer(line.text);
  }
  if (setup.terminal) show("\n");
}

}  // namespace aqlm_exp::app
