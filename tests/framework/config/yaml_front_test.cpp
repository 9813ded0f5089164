// One test for each row of the front end's table (design/experiments.md 1.3) and of its scalar rules.
#include "framework/config/yaml_front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::HasSubstr;

std::vector<Problem> faults(const std::string& text, const YamlLimits& limits = {}) {
  std::vector<Problem> problems;
  const auto file = read_yaml(text, "f.yaml", limits, problems);
  EXPECT_EQ(file.has_value(), problems.empty());
  return problems;
}
std::string fault(const std::string& text, const YamlLimits& limits = {}) { return where(faults(text, limits)); }
std::string json(const std::string& text) { return to_json(yaml(text)); }

TEST(YamlFront, KeysAndValuesKnowTheirPlace) {
  const Node root = yaml("a: 1\nb:\n  - x\n  - {c: 2}\né: {d: ü, e: 3}\n");
  EXPECT_EQ(root.map_value().find_key_mark("b")->str(), "test:2:1");
  EXPECT_EQ(root.at("b.1.c")->mark().str(), "test:4:9");
  EXPECT_EQ(root.at("b.1")->map_value().find_key_mark("c")->str(), "test:4:6");
  EXPECT_EQ(root.at("é.e")->mark().str(), "test:5:14") << "columns count characters, not bytes";
}

TEST(YamlFront, DuplicateKeyNamesBothLines) {
  const auto problems = faults("a: 1\nb: 2\na: 3\n");
  EXPECT_EQ(where(problems), "Y103 f.yaml:3:1");
  EXPECT_THAT(problems[0].message, HasSubstr("line 1"));
  EXPECT_EQ(fault("1: a\n'1': b\n"), "Y103 f.yaml:2:1") << "keys that look alike when composed are one key";
}

TEST(YamlFront, SeveralFaultsAreReportedTogether) {
  EXPECT_THAT(codes(faults("a: 1\na: 2\nb: on\nc: !foo x\n")), ::testing::ElementsAre("Y103", "Y106", "Y107"));
}

TEST(YamlFront, SecondDocumentIsRefused) {
  EXPECT_EQ(fault("a: 1\n---\nb: 2\n"), "Y104 f.yaml:2:1");
  EXPECT_EQ(fault("- a\nb: 1\n").substr(0, 4), "Y104") << "yaml-cpp reads two documents here";
  EXPECT_EQ(json("---\na: 1\n...\n# end\n"), "{\"a\": 1}");
}

TEST(YamlFront, InputsThatHangYamlCppEnd) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(faults(",").empty());
  EXPECT_FALSE(faults("!a:,\nd 1[d: *,*xx").empty());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(YamlFront, MergeKeyMergesOneLevelAndIsNeverData) {
  EXPECT_EQ(json("base: &b {x: 1, y: 2}\nd:\n  <<: *b\n  y: 3\n"),
            "{\"base\": {\"x\": 1, \"y\": 2}, \"d\": {\"x\": 1, \"y\": 3}}");
  EXPECT_EQ(json("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nd: {<<: [*a, *b]}\n"),
            "{\"a\": {\"x\": 1}, \"b\": {\"x\": 2, \"y\": 2}, \"d\": {\"x\": 1, \"y\": 2}}");
  EXPECT_EQ(fault("d: {<<: 5}\n"), "Y109 f.yaml:1:5");
}

TEST(YamlFront, AnchorInsideItselfIsRefused) {
  EXPECT_EQ(fault("a: &a [*a]\n"), "Y108 f.yaml:1:8");
  EXPECT_EQ(fault("a: &a {b: {c: *a}}\n").substr(0, 4), "Y108");
  EXPECT_EQ(json("a: &a [1]\nb: *a\n"), "{\"a\": [1], \"b\": [1]}");
}

TEST(YamlFront, AliasBombIsRefusedQuickly) {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 7; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 9; ++j) text += std::string(j ? "," : "") + "*a" + std::to_string(i - 1);
    text += "]\n";
  }
  EXPECT_EQ(fault(text).substr(0, 4), "Y105");
}

TEST(YamlFront, AnchorsInsideAnchorsAreCounted) {
  std::string text = "k: ";
  for (int i = 0; i < 60; ++i) text += "&a" + std::to_string(i) + " [";
  for (int i = 0; i < 3000; ++i) text += "x,";
  text += "x" + std::string(60, ']') + "\n";
  EXPECT_EQ(fault(text).substr(0, 4), "Y105");
}

TEST(YamlFront, DepthNodesBytesAndKeysAreLimited) {
  EXPECT_EQ(fault("a: " + std::string(64, '[') + std::string(64, ']')).substr(0, 4), "Y105");
  EXPECT_EQ(fault("a: " + std::string(63, '[') + std::string(63, ']')), "none");
  EXPECT_NE(fault(std::string(500, '[')), "none");
  EXPECT_EQ(fault("a: &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"
                  "b: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n")
                .substr(0, 4),
            "Y105");
  YamlLimits limits;
  limits.max_nodes = 10;
  EXPECT_EQ(fault("[1,2,3,4,5,6,7,8,9,10]", limits).substr(0, 4), "Y105");
  limits = {};
  limits.max_bytes = 10;
  EXPECT_EQ(fault("a: 12345678\n", limits), "Y105 f.yaml:1:1");
  EXPECT_FALSE(faults("'" + std::string(1025, 'k') + "': 1\n").empty());
}

TEST(YamlFront, TagsAreRefusedExceptTheFiveScalarOnes) {
  EXPECT_EQ(fault("a: !!python/object:os.system x\n"), "Y107 f.yaml:1:4");
  EXPECT_EQ(fault("a: !foo [1]\n"), "Y107 f.yaml:1:4");
  EXPECT_EQ(json("a: !!str 12\nb: !!int '7'\nc: !!float 1\nd: !!bool true\ne: !!null ''\nf: !!str on\n"),
            "{\"a\": \"12\", \"b\": 7, \"c\": 1.0, \"d\": true, \"e\": null, \"f\": \"on\"}");
  EXPECT_EQ(fault("a: !!int x\n"), "Y107 f.yaml:1:4");
}

TEST(YamlFront, BytesMustBeUtf8Text) {
  EXPECT_EQ(fault("a: \xFF\n"), "Y101 f.yaml:1:4");
  EXPECT_EQ(fault("a: \xC0\x80\n"), "Y101 f.yaml:1:4") << "overlong";
  EXPECT_EQ(fault("a: \xED\xA0\x80\n"), "Y101 f.yaml:1:4") << "surrogate";
  EXPECT_EQ(fault(std::string("a: x\0y\n", 7)), "Y101 f.yaml:1:5");
  EXPECT_EQ(fault("a: \x01\n"), "Y101 f.yaml:1:4");
  EXPECT_EQ(fault(std::string("\xFF\xFE"
                              "a\0",
                              4))
                .substr(0, 4),
            "Y101");
  EXPECT_EQ(json("\xEF\xBB\xBF"
                 "a: é\r\nb: 2\r\n"),
            "{\"a\": \"é\", \"b\": 2}");
}

TEST(YamlFront, QuoteThatNeverClosesIsRefused) {
  EXPECT_EQ(fault("a: \"x\n"), "Y114 f.yaml:1:4");
  EXPECT_EQ(fault("a: 'x\n"), "Y114 f.yaml:1:4");
  EXPECT_EQ(json("a: \"x\\\" y\"\nb: 'it''s'\nc: &q \"z\"\n"), "{\"a\": \"x\\\" y\", \"b\": \"it's\", \"c\": \"z\"}");
}

TEST(YamlFront, SyntaxFaultNamesItsPlace) {
  const auto problems = faults("a: [1, 2\nb: 3\n");
  ASSERT_FALSE(problems.empty());
  EXPECT_EQ(problems[0].code, "Y102");
  EXPECT_GE(problems[0].mark.line, 1);
}

TEST(YamlFront, KeysAreWordsAndNumbers) {
  EXPECT_EQ(json("1: a\n2.5: b\ntrue: c\n0x10: d\n"), "{\"1\": \"a\", \"2.5\": \"b\", \"true\": \"c\", \"16\": \"d\"}");
  EXPECT_EQ(fault("? [a]\n: 1\n").substr(0, 4), "Y111");
  EXPECT_EQ(fault("~: 1\n"), "Y111 f.yaml:1:1");
  EXPECT_EQ(fault("{a: 1, on: 2}"), "Y106 f.yaml:1:8") << "ambiguous as key, too";
}

TEST(YamlFront, TwentyThousandKeysAreReadAndFoundInLinearTime) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "key" + std::to_string(i) + ": " + std::to_string(i) + "\n";
  const auto start = std::chrono::steady_clock::now();
  const Node root = yaml(text);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(root.map_value().find("key" + std::to_string(i))->as_int(), i);
  const std::string out = to_json(root);
  // 0.1 s on the build machine; a quadratic map takes 45 s.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

// --- # @package ------------------------------------------------------------------------------------------------------

TEST(PackageHeader, IsReadFromTheLeadingComments) {
  std::vector<Problem> problems;
  EXPECT_EQ(*read_yaml("# note\n\n# @package a.b\nx: 1\n", "f", {}, problems)->package, "a.b");
  EXPECT_EQ(*read_yaml("#@package _global_\n", "f", {}, problems)->package, "_global_");
  EXPECT_FALSE(read_yaml("# package a\nx: 1\n", "f", {}, problems)->package);
  EXPECT_FALSE(read_yaml("x: |\n  # @package a\n", "f", {}, problems)->package) << "text inside a block scalar";
  EXPECT_TRUE(problems.empty());
}

TEST(PackageHeader, SecondLateAndWordyOnesAreRefused) {
  EXPECT_EQ(fault("# @package a\n# @package b\nx: 1\n"), "D111 f.yaml:2:1");
  EXPECT_EQ(fault("x: 1\n# @package a\n"), "D111 f.yaml:2:1");
  EXPECT_EQ(fault("# @package a b\nx: 1\n"), "D111 f.yaml:1:1");
  EXPECT_EQ(fault("# @package\nx: 1\n"), "D111 f.yaml:1:1");
}

// --- scalars ---------------------------------------------------------------------------------------------------------

struct Scalar {
  const char* text;
  const char* expected;  // JSON, or the code
};

class YamlScalar : public ::testing::TestWithParam<Scalar> {};

TEST_P(YamlScalar, ReadsAsCoreSchemaWithGuardRails) {
  const auto [text, expected] = GetParam();
  std::vector<Problem> problems;
  const auto file = read_yaml(std::string("a: ") + text + "\n", "f.yaml", {}, problems);
  EXPECT_EQ(file ? to_json(*file->root.at("a")) : problems[0].code, expected) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, YamlScalar,
    ::testing::Values(Scalar{"null", "null"}, Scalar{"~", "null"}, Scalar{"", "null"}, Scalar{"Null", "null"},
                      Scalar{"NULL", "null"}, Scalar{"true", "true"}, Scalar{"False", "false"},
                      Scalar{"TRUE", "\"TRUE\""}, Scalar{"tRue", "\"tRue\""}, Scalar{"yes", "Y106"},
                      Scalar{"No", "Y106"}, Scalar{"ON", "Y106"}, Scalar{"off", "Y106"}, Scalar{"'off'", "\"off\""},
                      Scalar{"y", "\"y\""}, Scalar{"n", "\"n\""}, Scalar{"0", "0"}, Scalar{"-0", "0"},
                      Scalar{"+5", "5"}, Scalar{"-17", "-17"}, Scalar{"017", "Y106"}, Scalar{"-08", "Y106"},
                      Scalar{"00", "Y106"}, Scalar{"007.5", "Y106"}, Scalar{"0.5", "0.5"}, Scalar{"0x1F", "31"},
                      Scalar{"0o17", "15"}, Scalar{"0xZ", "\"0xZ\""}, Scalar{"0b11", "\"0b11\""},
                      Scalar{"1_000", "\"1_000\""}, Scalar{"9223372036854775807", "9223372036854775807"},
                      Scalar{"-9223372036854775808", "-9223372036854775808"}, Scalar{"9223372036854775808", "Y110"},
                      Scalar{"0xFFFFFFFFFFFFFFFF", "Y110"}, Scalar{".5", "0.5"}, Scalar{"1.", "1.0"},
                      Scalar{"1e-3", "0.001"}, Scalar{"1e3", "1000.0"}, Scalar{"1E+3", "1000.0"},
                      Scalar{"1e400", "Y110"}, Scalar{"-1e400", "Y110"}, Scalar{".inf", "\".inf\""},
                      Scalar{"-.INF", "\"-.inf\""}, Scalar{"+.Inf", "\".inf\""}, Scalar{".nan", "\".nan\""},
                      Scalar{".", "\".\""}, Scalar{"1e", "\"1e\""}, Scalar{"12:30", "Y106"}, Scalar{"1:2:3.5", "Y106"},
                      Scalar{"1:80", "\"1:80\""}, Scalar{"10.0.0.1:80", "\"10.0.0.1:80\""},
                      Scalar{"2024-01-02", "\"2024-01-02\""}, Scalar{"???", "\"???\""}, Scalar{"a b", "\"a b\""},
                      Scalar{"\"1\"", "\"1\""}, Scalar{"'null'", "\"null\""}, Scalar{"12abc", "\"12abc\""}));

TEST(YamlScalar, AmbiguousOnesOfferBothSpellings) {
  EXPECT_THAT(faults("a: on\n")[0].help, HasSubstr("write true for the switch or \"on\" for the word"));
  EXPECT_THAT(faults("a: no\n")[0].help, HasSubstr("false"));
  EXPECT_THAT(faults("a: 017\n")[0].help, HasSubstr("17 for the decimal number"));
  EXPECT_THAT(faults("a: 12:30\n")[0].help, HasSubstr("\"12:30\""));
}

}  // namespace
}  // namespace aqlm_exp::config
