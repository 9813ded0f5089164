// Chat templates against Jinja2: tests/golden/make_chat.py made the cases.
#include "framework/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/error.h"
#include "tests/framework/base/code_of.h"
#include "tests/framework/text/cpu_time.h"

namespace aqlm_exp::text {
namespace {

using Json = nlohmann::ordered_json;

std::string render_code(const std::string& source) {
  return code_of([&] { ChatTemplate::parse(source, "t").render(Json::object(), 0); });
}

TEST(ChatTemplate, AgreesWithJinja2) {
  std::ifstream in(AQLM_EXP_SOURCE_DIR "/tests/golden/chat.json");
  const Json golden = Json::parse(in);
  ASSERT_GE(golden["cases"].size(), 100u);
  for (const Json& entry : golden["cases"]) {
    const auto source = entry["template"].get<std::string>();
    std::string result;
    const std::string code = code_of(
        [&] { result = ChatTemplate::parse(source, "t").render(entry["variables"], golden["now"].get<int64_t>()); });
    if (entry["result"].is_null()) {
      EXPECT_THAT(code, ::testing::StartsWith("K-CHAT-")) << source << "\n-> " << result;
    } else {
      EXPECT_EQ(code, "none") << source;
      EXPECT_EQ(result, entry["result"].get<std::string>()) << source;
    }
  }
}

TEST(ChatTemplate, RefusalsCarryCodeAndLine) {
  EXPECT_EQ(render_code("{{ raise_exception('no') }}"), "K-CHAT-RAISED");
  EXPECT_EQ(render_code("{% include 'x' %}"), "K-CHAT-UNKNOWN");
  EXPECT_EQ(render_code("{{ ''.__class__.mro() }}"), "K-CHAT-VALUE");
  EXPECT_EQ(render_code("{{ ''.format() }}"), "K-CHAT-UNKNOWN");
  EXPECT_EQ(render_code("{{ x.y }}"), "K-CHAT-VALUE");
  EXPECT_EQ(render_code("{{ '\xFF' }}"), "K-CHAT-SYNTAX");
  try {
    ChatTemplate::parse("a\n{{ 'x' }}\n{{ 1 / 0 }}", "t.jinja").render(Json::object());
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("t.jinja:3: division by zero"));
  }
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  const CpuStopwatch watch;
  EXPECT_EQ(render_code("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
            "K-CHAT-LIMIT");
  EXPECT_EQ(render_code("{{ range(100001) }}"), "K-CHAT-LIMIT");
  EXPECT_EQ(render_code("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "K-CHAT-LIMIT");
  EXPECT_EQ(render_code("{{ 'aaaaaaaa' * 100000000 }}"), "K-CHAT-LIMIT");
  EXPECT_EQ(
      render_code("{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}"),
      "K-CHAT-LIMIT");
  EXPECT_EQ(render_code("{% set a = 'x' * 1000000 %}{% for i in range(100000) %}{% set b = a[0] %}{% endfor %}"),
            "K-CHAT-LIMIT");
  EXPECT_EQ(render_code("{{ " + std::string(1000, '(') + "1" + std::string(1000, ')') + " }}"), "K-CHAT-LIMIT");
  EXPECT_EQ(render_code(std::string(1000, '-').insert(0, "{{ ") + "1 }}"), "K-CHAT-LIMIT");
  std::string chain = "{{ 1";
  for (int i = 0; i < 100000; ++i) chain += "+1";
  EXPECT_EQ(render_code(chain + " }}"), "K-CHAT-LIMIT");
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += "{% if 1 %}";
  EXPECT_EQ(render_code(nested), "K-CHAT-LIMIT");
  EXPECT_EQ(render_code(std::string((1 << 20) + 1, 'x')), "K-CHAT-LIMIT");
  EXPECT_LT(watch.elapsed_s(), 20.0);
}

TEST(TokenizerConfig, ReadsTokensAndTemplateInEveryStyle) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("aqlm_exp_chat_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  EXPECT_FALSE(load_tokenizer_config(folder).chat_template.has_value());
  const auto write = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder / name) << content;
  };
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "add_bos_token": true,
    "model_max_length": 1000000000000000019884624838656,
    "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  TokenizerConfig config = load_tokenizer_config(folder);
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_TRUE(config.add_bos_token);
  EXPECT_EQ(config.chat_template, "d");
  write("chat_template.jinja", "separate");
  EXPECT_EQ(load_tokenizer_config(folder).chat_template, "separate");
  write("tokenizer_config.json", R"({"eos_token": 1})");
  EXPECT_EQ(code_of([&] { load_tokenizer_config(folder); }), "K-TYPE");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace aqlm_exp::text
