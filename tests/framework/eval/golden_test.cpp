// Perplexities under every convention against tests/golden/make_perplexity.py, which knows only transformers.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/eval/evaluate.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::eval {
namespace {

/// Text and models against tests/golden/make_perplexity.py, which knows only transformers.
void expect_golden(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path source = AQLM_EXP_SOURCE_DIR;
  std::ifstream file(source / "tests/golden/perplexity.json");
  const nlohmann::json golden = nlohmann::json::parse(file).at(name);
  const text::Tokenizer tokenizer = text::Tokenizer::load(folder);
  const model::Model model = model::load_model(folder, at::kCPU);
  const std::filesystem::path sampled = source / "models/text/sampled_eval.txt";
  // The script's two pages.
  std::ifstream in(sampled, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto characters = [&](size_t from, size_t to) {  // code points
    size_t begin = 0, at = 0, count = 0;
    for (; at < whole.size() && count < to; ++at) {
      if ((static_cast<unsigned char>(whole[at]) & 0xC0) == 0x80) continue;
      if (count == from) begin = at;
      ++count;
    }
    while (at < whole.size() && (static_cast<unsigned char>(whole[at]) & 0xC0) == 0x80) ++at;
    return whole.substr(begin, at - begin);
  };
  const auto replaced = [](std::string text, const std::string& from, const std::string& to) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
    return text;
  };
  const std::string a = replaced(replaced(replaced(characters(0, 9000), ", ", " , "), "-", " @-@ "), ". ", " . "),
                    b = replaced(characters(9000, 12000), "\"", " \" ");
  const std::filesystem::path pages = std::filesystem::path(AQLM_EXP_BINARY_DIR) / ("pages-" + name + ".txt");
  size_t cut = 0;
  for (size_t count = 0; cut < a.size(); ++cut) {
    if ((static_cast<unsigned char>(a[cut]) & 0xC0) != 0x80 && count++ == 100) break;
  }
  std::ofstream(pages, std::ios::binary) << " = One = \n \n " << a << "\n = = Part = = \n ( " << a.substr(0, cut)
                                         << " ) \n = Two = \n " << b;
  for (const auto& [tag, expected] : golden.items()) {
    const Convention convention = convention_from_tag(tag);
    const EvalText text =
        load_eval_text(convention.name == "word" ? pages : sampled, tokenizer, folder, std::span(&convention, 1));
    const Evaluation result = evaluate(model, make_window_set(text, convention, at::kCPU), nullptr);
    EXPECT_NEAR(result.log_perplexity, expected.get<double>(), 1e-3) << tag;
  }
  std::filesystem::remove(pages);
}

TEST(GoldenPerplexity, EmbeddedModelMatchesTransformersUnderEveryConvention) {
  expect_golden(test::embedded_model(), "qwen2-5m");
}

TEST(GoldenPerplexity, SharedModelMatchesTransformersUnderEveryConvention) {
  const auto folder = test::shared_model("qwen2-17m");
  if (folder.empty()) GTEST_SKIP() << test::skip_reason();
  expect_golden(folder, "qwen2-17m");
}

}  // namespace
}  // namespace aqlm_exp::eval
