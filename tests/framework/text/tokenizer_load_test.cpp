// Every class of design/experiments.md 5.4: a tokenizer.json that must be refused, with its code.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/error.h"
#include "framework/text/tokenizer.h"
#include "tests/framework/base/code_of.h"
#include "tests/framework/results/temp_dir.h"
#include "tests/framework/text/cpu_time.h"

namespace aqlm_exp::text {
namespace {

using Json = nlohmann::json;

/// Letters a to d and what their merges make.
Json small() {
  return Json::parse(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "abc": 5, "<unk>": 6},
    "merges": [["a", "b"], ["ab", "c"]], "unk_token": "<unk>"}, "added_tokens": [{"id": 7, "content": "<s>", "special": true}]})");
}
std::string verdict(const Json& json) {
  return code_of([&] { Tokenizer::parse(json.dump(), "tokenizer.json"); });
}
/// The verdict on the small file after a change.
std::string with(const std::function<void(Json&)>& edit) {
  Json json = small();
  edit(json);
  return verdict(json);
}
std::string with_part(const std::string& part, const std::string& value) {
  return with([&](Json& json) { json[part] = Json::parse(value); });
}
std::vector<int32_t> encode(const Json& json, std::string_view text) {
  return Tokenizer::parse(json.dump(), "t").encode(text);
}

TEST(TokenizerLoad, TheSmallFileWorks) {
  EXPECT_EQ(verdict(small()), "none");
  EXPECT_EQ(encode(small(), "abcabd"), (std::vector<int32_t>{5, 4, 3}));
  EXPECT_EQ(encode(small(), "a<s>zb"), (std::vector<int32_t>{0, 7, 6, 1}));
}

TEST(TokenizerLoad, SyntaxDuplicatesDepthAndSize) {
  const auto text_verdict = [](const std::string& text) { return code_of([&] { Tokenizer::parse(text, "t"); }); };
  EXPECT_EQ(text_verdict("{"), "K-SYNTAX");
  EXPECT_EQ(text_verdict("\"\xFF\""), "K-UTF8");
  EXPECT_EQ(text_verdict(R"({"model": {"vocab": {"a": 0, "a": 1}}})"), "K-DUP");
  EXPECT_EQ(text_verdict(std::string(1000000, '[')), "K-DEPTH");
  EXPECT_EQ(text_verdict(std::string((64 << 20) + 1, ' ')), "K-LIMIT");
  EXPECT_EQ(text_verdict("[]"), "K-TYPE");
  EXPECT_EQ(text_verdict("{}"), "K-MISSING");
  EXPECT_EQ(code_of([] { Tokenizer::load("/nowhere/at/all"); }), "K-MISSING");
  EXPECT_EQ(code_of([] { Tokenizer::load("/dev/zero"); }), "K-NOTFILE");
}

TEST(TokenizerLoad, IdsAreUniqueDenseAndInRange) {
  const auto id = [](const Json& value) { return with([&](Json& json) { json["model"]["vocab"]["d"] = value; }); };
  EXPECT_EQ(id(-1), "K-ID");
  EXPECT_EQ(id(1 << 24), "K-ID");
  EXPECT_EQ(id(4294967296), "K-ID");
  EXPECT_EQ(id(18446744073709551615U), "K-TYPE");
  EXPECT_EQ(id(2), "K-ID") << "taken";
  EXPECT_EQ(id(15), "none");
  EXPECT_EQ(id(16), "K-ID") << "8 tokens may have ids below 16";
  EXPECT_EQ(id(3.0), "K-TYPE");
  EXPECT_EQ(id("3"), "K-TYPE");
}

TEST(TokenizerLoad, TokensAreLimited) {
  EXPECT_EQ(with([](Json& json) { json["model"]["vocab"][std::string(4096, 'x')] = 8; }), "none");
  EXPECT_EQ(with([](Json& json) { json["model"]["vocab"][std::string(4097, 'x')] = 8; }), "K-TOKEN");
  EXPECT_EQ(with([](Json& json) { json["added_tokens"][0]["content"] = std::string(4097, 'x'); }), "K-TOKEN");
}

TEST(TokenizerLoad, AFolderWithAnotherTokenizersFileSaysWhatToDo) {
  TempDir folder;
  const auto message = [&]() -> std::string {
    try {
      Tokenizer::load(folder.path());
    } catch (const DataError& error) {
      EXPECT_EQ(error.code(), "K-MISSING");
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(), testing::HasSubstr("no such file"));
  std::ofstream(folder.path() / "tokenizer.model") << "x";
  EXPECT_THAT(message(), testing::AllOf(testing::HasSubstr("tokenizer.model"), testing::HasSubstr("save_pretrained")));
}

TEST(TokenizerLoad, MergePartsAndResultsMustBeTokens) {  // huggingface/tokenizers 2094: the library panics
  const auto merge = [](const Json& entry) {
    return with([&](Json& json) { json["model"]["merges"].push_back(entry); });
  };
  EXPECT_EQ(merge({"c", "z"}), "K-MERGE");
  EXPECT_EQ(merge({"c", "d"}), "K-MERGE") << "cd is no token";
  EXPECT_EQ(merge("a b"), "none");
  EXPECT_EQ(merge("ab"), "K-MERGE");
  EXPECT_EQ(merge("a b c"), "K-MERGE");
  EXPECT_EQ(merge({"a"}), "K-TYPE");
  EXPECT_EQ(merge({"a", 1}), "K-TYPE");
  EXPECT_EQ(merge(7), "K-TYPE");
}

TEST(TokenizerLoad, ByteTokensAreWrittenExactly) {  // ggml-org/llama.cpp 25969: "<0x-1>" wrote before a buffer
  for (const char* token : {"<0x-1>", "<0x1>", "<0x0g>", "<0x0a>", "<0x123>", "<0x>", "<0x  >"}) {
    EXPECT_EQ(with([&](Json& json) {
                json["model"]["byte_fallback"] = true;
                json["model"]["vocab"][token] = 8;
              }),
              "K-BYTE")
        << token;
  }
  EXPECT_EQ(with([](Json& json) {
              json["model"]["byte_fallback"] = true;
              json["model"]["vocab"]["<0x0A>"] = 8;
            }),
            "none");
}

TEST(TokenizerLoad, AddedTokensAreChecked) {
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 7, "content": ""}])"), "K-ADDED");  // would be found for ever
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 7, "content": "x"}, {"id": 8, "content": "x"}])"), "K-ADDED");
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 7, "content": "x"}, {"id": 7, "content": "y"}])"), "K-ID");
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 0, "content": "x"}])"), "K-ID");
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 16000000, "content": "x"}])"), "K-ID");
  EXPECT_EQ(with_part("added_tokens", R"([{"id": -1, "content": "x"}])"), "K-RANGE");
  EXPECT_EQ(with_part("added_tokens", R"([{"content": "x"}])"), "K-MISSING");
  EXPECT_EQ(with_part("added_tokens", R"([{"id": 7, "content": "x", "special": 1}])"), "K-TYPE");
  EXPECT_EQ(with_part("added_tokens", R"({"x": 1})"), "K-TYPE");
}

TEST(TokenizerLoad, StepsNestOnlySoDeepAndSoWide) {
  const auto nested = [](const std::string& list, const std::string& leaf, int depth) {
    std::string text = leaf;
    for (int i = 1; i < depth; ++i) text = R"({"type": "Sequence", ")" + list + "\": [" + text + "]}";
    return text;
  };
  const std::tuple<const char*, const char*, const char*> kinds[] = {
      {"normalizer", "normalizers", R"({"type": "NFC"})"},
      {"pre_tokenizer", "pretokenizers", R"({"type": "WhitespaceSplit"})"},
      {"decoder", "decoders", R"({"type": "Fuse"})"},
      {"post_processor", "processors", R"({"type": "ByteLevel"})"}};
  for (const auto& [part, list, leaf] : kinds) {
    EXPECT_EQ(with_part(part, nested(list, leaf, 16)), "none") << part;
    EXPECT_EQ(with_part(part, nested(list, leaf, 17)), "K-NESTED") << part;
    std::string wide = leaf;
    for (int i = 0; i < 16; ++i) wide += std::string(",") + leaf;
    EXPECT_EQ(with_part(part, fmt::format(R"({{"type": "Sequence", "{}": [{}]}})", list, wide)), "K-RANGE") << part;
    EXPECT_EQ(with_part(part, R"({"type": "Magic"})"), "K-UNKNOWN") << part;
    EXPECT_EQ(with_part(part, R"({})"), "K-MISSING") << part;
    EXPECT_EQ(with_part(part, R"("NFC")"), "K-TYPE") << part;
  }
}

TEST(TokenizerLoad, ModelsAreChecked) {
  const auto model = [](const std::string& value) { return with_part("model", value); };
  EXPECT_EQ(model(R"({"type": "WordPiece", "vocab": {}})"), "K-UNKNOWN");
  EXPECT_EQ(model(R"({"type": "BPE", "vocab": {"a": 0}})"), "K-MISSING");
  EXPECT_EQ(model(R"({"type": "BPE", "vocab": [], "merges": []})"), "K-TYPE");
  EXPECT_EQ(model(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "u"})"), "K-RANGE");
  EXPECT_EQ(model(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1})"), "K-RANGE");
  EXPECT_EQ(model(R"({"type": "Unigram", "vocab": []})"), "K-RANGE");
  EXPECT_EQ(model(R"({"type": "Unigram", "vocab": [["a"]]})"), "K-TYPE");
  EXPECT_EQ(model(R"({"type": "Unigram", "vocab": [["a", -1], ["a", -2]]})"), "K-ID");
  EXPECT_EQ(model(R"({"type": "Unigram", "vocab": [["a", -1]], "unk_id": 1})"), "K-RANGE");
}

TEST(TokenizerLoad, TablesInBase64AreChecked) {
  const auto map = [](const std::string& value) {
    return with_part("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": ")" + value + "\"}");
  };
  EXPECT_EQ(map("!!!!"), "K-TABLE");
  EXPECT_EQ(map("AAA"), "K-TABLE");
  EXPECT_EQ(map("AA=A"), "K-TABLE");
  EXPECT_EQ(map("AAA="), "K-TABLE") << "two bytes";
  EXPECT_EQ(map("AAAAAA=="), "K-TABLE") << "an empty trie";
  EXPECT_EQ(map("/////w=="), "K-TABLE") << "a trie of 4 GiB";
  EXPECT_EQ(map("BAAAAAAAAAD/AA=="), "K-TABLE") << "replacements that are not UTF-8";
  EXPECT_EQ(map("BAAAAAAAAAA="), "none");
}

TEST(TokenizerLoad, PostProcessorsNameKnownTokens) {
  const auto single = [](const std::string& items, const std::string& specials) {
    return with_part(
        "post_processor",
        fmt::format(R"({{"type": "TemplateProcessing", "single": [{}], "pair": [], "special_tokens": {}}})", items,
                    specials));
  };
  const std::string sequence = R"({"Sequence": {"id": "A", "type_id": 0}})";
  const std::string bos = R"({"SpecialToken": {"id": "<s>", "type_id": 0}})";
  EXPECT_EQ(single(bos + "," + sequence, R"({"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}})"), "none");
  EXPECT_EQ(single(bos + "," + sequence, R"({"<s>": {"id": "<s>", "ids": [8], "tokens": ["<s>"]}})"), "K-RANGE");
  EXPECT_EQ(single(bos + "," + sequence, "{}"), "K-TEMPLATE");
  EXPECT_EQ(single(bos, R"({"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}})"), "K-TEMPLATE");
  EXPECT_EQ(single(sequence + "," + sequence, "{}"), "K-TEMPLATE");
}

TEST(TokenizerLimits, CatastrophicRegexesEndWithAnError) {  // huggingface/tokenizers 2060
  Json json = small();
  json["pre_tokenizer"] = Json::parse(R"({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"})");
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  const CpuStopwatch watch;
  EXPECT_EQ(code_of([&] { tokenizer.encode(std::string(40, 'a') + "b"); }), "K-REGEX-LIMIT");
  EXPECT_LT(watch.elapsed_s(), 1.0);
}

TEST(TokenizerLimits, ARegexThatIsSlowOnManyPlacesEndsToo) {
  // Each match stays under the step limit, but there is one at every place.
  Json json = small();
  json["pre_tokenizer"] =
      Json::parse(R"({"type": "Split", "pattern": {"Regex": "a(?=(?:a|aa){0,12}b)|a"}, "behavior": "Isolated"})");
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  const CpuStopwatch watch;
  EXPECT_EQ(code_of([&] { tokenizer.encode(std::string(500000, 'a')); }), "K-REGEX-LIMIT");
  EXPECT_LT(watch.elapsed_s(), 8.0);
}

TEST(TokenizerLimits, ReplacementsCannotBlowUpTheText) {
  Json json = small();
  Json steps = Json::array();
  for (int i = 0; i < 16; ++i)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(4096, 'a')}});
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  EXPECT_EQ(code_of([&] { tokenizer.encode("a"); }), "K-LIMIT");
  json = small();
  json["decoder"] = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1 << 20, 'a')}};
  EXPECT_EQ(code_of([&] { Tokenizer::parse(json.dump(), "t").decode(std::vector<int32_t>(1000, 0)); }), "K-LIMIT");
}

TEST(TokenizerLimits, LongAddedTokensWithACommonStartCannotStall) {
  Json json = small();
  json["added_tokens"] = Json::array(
      {{{"id", 7}, {"content", std::string(4000, 'a') + "b"}}, {{"id", 8}, {"content", std::string(4000, 'a') + "c"}}});
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  EXPECT_EQ(code_of([&] { tokenizer.encode(std::string(1000000, 'a')); }), "K-LIMIT");
}

TEST(TokenizerLimits, LongUnigramTokensCannotStall) {
  Json vocab = Json::array({{"<unk>", 0.0}, {"a", -1.0}});
  for (int i = 2; i < 2000; ++i) vocab.push_back({std::string(static_cast<size_t>(2 * i), 'a'), -1.0 * i});
  Json json = {{"model", {{"type", "Unigram"}, {"vocab", vocab}, {"unk_id", 0}}}};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  EXPECT_EQ(code_of([&] { tokenizer.encode(std::string(1000000, 'a')); }), "K-LIMIT");
}

TEST(TokenizerLimits, TextMustBeUtf8) {
  const Tokenizer tokenizer = Tokenizer::parse(small().dump(), "t");
  EXPECT_EQ(code_of([&] { tokenizer.encode("a\xFF"); }), "K-TEXT");
  EXPECT_EQ(code_of([&] { tokenizer.encode("\xED\xA0\x80"); }), "K-TEXT");
}

TEST(TokenizerIds, UnknownIdsDecodeToNothingAndAreReported) {
  const Tokenizer tokenizer = Tokenizer::parse(small().dump(), "t");
  EXPECT_EQ(tokenizer.vocab_size(), 8);
  EXPECT_EQ(tokenizer.max_id(), 7);
  EXPECT_EQ(tokenizer.id_of("<s>"), 7);
  EXPECT_EQ(tokenizer.id_of("nothing"), -1);
  EXPECT_TRUE(tokenizer.is_special(7));
  EXPECT_FALSE(tokenizer.has_id(8));
  EXPECT_FALSE(tokenizer.has_id(-1));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{0, 8, -1, 1 << 30, 1}), "a b");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{0, 7, 1}, {.skip_special_tokens = true}), "a b");
  EXPECT_EQ(tokenizer.token_bytes(5), "abc");
  EXPECT_EQ(tokenizer.token_bytes(99), "");
  EXPECT_EQ(code_of([&] { tokenizer.token(8); }), "K-ID");
  EXPECT_EQ(encode(small(), "<s>"), (std::vector<int32_t>{7}));
  EXPECT_EQ(tokenizer.encode("<s>", {.parse_special = false}), (std::vector<int32_t>{6, 6, 6}))
      << "text from strangers";
}

}  // namespace
}  // namespace aqlm_exp::text
