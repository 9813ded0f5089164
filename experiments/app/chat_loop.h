// A conversation at a terminal or through a pipe.
#pragma once

#include <functional>
#include <string>

#include "experiments/app/terminal.h"
#include "framework/generate/conversation.h"
#include "framework/generate/generate.h"

namespace aqlm_exp::app {

struct ChatSetup {
  generate::Decoder* decoder = nullptr;
  const text::Tokenizer* tokenizer = nullptr;
  generate::Conversation* conversation = nullptr;
  generate::GenerateOptions options;
  std::string model_name;
  std::string about;      ///< what runs the model, for the first lines: "cpu, float32, backend dense, eager"
  bool terminal = false;  ///< greet, show prompts, and take control characters out of answers
};

/// Reads lines until "exit", Ctrl-D or the end of input, and answers them.
/// @param show gets each piece of output as it comes, valid UTF-8
void chat(const ChatSetup& setup, LineReader& reader, const std::function<void(const std::string&)>& show);

}  // namespace aqlm_exp::app
