// Merging (design/experiments.md 1.6), value overrides (1.7), references (1.9) and messages (1.11).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "framework/config/interpolation.h"
#include "framework/config/suggestions.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// --- merging ---------------------------------------------------------------------------------------------------------

Node merged(const std::string& group, const std::string& body) {
  const Configs configs{{"config", "defaults: [m@_global_: a, _self_]\n" + body}, {"m/a", group}};
  return configs.compose({}, false);
}
std::vector<Problem> not_merged(const std::string& group, const std::string& body) {
  const Configs configs{{"config", "defaults: ['m@_global_': a, _self_]\n" + body}, {"m/a", group}};
  return configs.refused();
}

TEST(Merge, KeysKeepFirstSeenOrder) {
  EXPECT_EQ(to_json(merged("b: 1\na: {y: 1, x: 2}\n", "a: {z: 3, x: 4}\nc: 5\n")),
            "{\"b\": 1, \"a\": {\"y\": 1, \"x\": 4, \"z\": 3}, \"c\": 5}");
}

TEST(Merge, ListsScalarsAndNullReplace) {
  EXPECT_TREE(
      merged("l: [1, 2]\ns: 1\nm: {a: 1}\nn: null\nt: [1]\nu: 5\n", "l: [3]\ns: x\nm: null\nn: {b: 1}\nt: 7\nu: [8]\n"),
      "{l: [3], s: x, m: null, n: {b: 1}, t: 7, u: [8]}");
}

TEST(Merge, MissingOnTheIncomingSideIsIgnored) {
  EXPECT_TREE(merged("a: 1\nb: {c: 2}\n", "a: ???\nb: ???\nd: ???\n"), "{a: 1, b: {c: 2}, d: '?\?\?'}");
  EXPECT_TREE(merged("a: ???\n", "a: {x: 1}\n"), "{a: {x: 1}}");
}

TEST(Merge, ListAgainstMapNamesBothPlaces) {
  const auto problems = not_merged("x: {a: 1}\n", "x: [1]\n");
  EXPECT_EQ(where(problems), "C101 config.yaml:2:4");
  EXPECT_THAT(problems[0].message, HasSubstr("a.yaml:1:4"));
  EXPECT_THAT(problems[0].message, HasSubstr("'x'"));
  EXPECT_EQ(codes(not_merged("x: [1]\n", "x: {a: 1}\n")), std::vector<std::string>{"C101"});
}

TEST(Merge, MapAgainstScalarIsAFaultBothWays) {
  EXPECT_EQ(codes(not_merged("x: {a: 1}\n", "x: 5\n")), std::vector<std::string>{"C102"});
  EXPECT_EQ(codes(not_merged("x: 5\n", "x: {a: 1}\n")), std::vector<std::string>{"C102"});
}

TEST(Merge, MapIntoAReferenceExtendsACopyOfItsTarget) {
  EXPECT_TREE(merged("base: {p: 1, q: 2}\nx: ${base}\n", "x: {q: 3}\n"), "{base: {p: 1, q: 2}, x: {p: 1, q: 3}}");
}

// --- value overrides -------------------------------------------------------------------------------------------------

const Configs& values() {
  static const Configs configs{
      {"config", "a: 1\nn: null\nq: ???\nd: {x: 1, y: 2}\nxs: [1, 2, {k: 3}]\nbits: {2: a, 4: b}\nr: ${d}\n"},
      {"grp/sub/o", ""}};
  return configs;
}
Node with(std::vector<std::string> overrides) { return values().compose(std::move(overrides), false); }
std::string refusal(std::vector<std::string> overrides) { return where(values().refused(std::move(overrides), false)); }

TEST(ValueOverride, SetsExistingKeysOnly) {
  EXPECT_EQ(with({"a=x"}).at("a")->as_string(), "x");
  EXPECT_EQ(with({"d.x=5"}).at("d.x")->as_int(), 5);
  EXPECT_EQ(with({"q=5"}).at("q")->as_int(), 5);
  EXPECT_TREE(*with({"n={k: 1}"}).at("n"), "{k: 1}");
  EXPECT_EQ(refusal({"z=1"}), "C104 override #1, column 1");
  EXPECT_EQ(refusal({"a=1", "d.z=1"}), "C104 override #2, column 3");
  EXPECT_EQ(refusal({"a.b=1"}), "C104 override #1, column 3");
}

TEST(ValueOverride, ReachesListElementsAndIntegerKeys) {
  EXPECT_EQ(with({"xs.0=9"}).at("xs.0")->as_int(), 9);
  EXPECT_EQ(with({"xs.2.k=9"}).at("xs.2.k")->as_int(), 9);
  EXPECT_EQ(refusal({"xs.3=9"}), "C107 override #1, column 4");
  EXPECT_EQ(refusal({"+xs.3=9"}), "C107 override #1, column 5");
  EXPECT_EQ(with({"bits.2=z"}).at("bits.2")->as_string(), "z");
}

TEST(ValueOverride, PlusAddsAndRefusesWhatExists) {
  EXPECT_EQ(with({"+z.y.x=1"}).at("z.y.x")->as_int(), 1);
  EXPECT_EQ(with({"+n=3"}).at("n")->as_int(), 3);
  EXPECT_EQ(with({"+q=3"}).at("q")->as_int(), 3);
  EXPECT_TREE(*with({"+d={z: 3}"}).at("d"), "{x: 1, y: 2, z: 3}");
  EXPECT_TREE(*with({"+xs=[4]"}).at("xs"), "[4]");
  EXPECT_EQ(refusal({"+a=1"}), "C103 override #1, column 2");
  EXPECT_EQ(refusal({"+a.b=1"}), "C103 override #1, column 2") << "Hydra replaces the 1 by a map";
  EXPECT_TREE(*with({"++a.b=1"}).at("a"), "{b: 1}");
  EXPECT_EQ(with({"++a=2", "++z=3"}).at("z")->as_int(), 3);
}

TEST(ValueOverride, OrderIsLeftToRight) {
  EXPECT_EQ(with({"+b.c=2", "b.c=3"}).at("b.c")->as_int(), 3);
  EXPECT_EQ(refusal({"b.c=3", "+b.c=2"}), "C104 override #1, column 1");
}

TEST(ValueOverride, KindsMayNotChangeWithoutForce) {
  EXPECT_EQ(refusal({"d=5"}), "C102 override #1, column 1");
  EXPECT_EQ(refusal({"a={x: 1}"}), "C102 override #1, column 1");
  EXPECT_EQ(refusal({"xs={x: 1}"}), "C101 override #1, column 1");
  EXPECT_EQ(refusal({"d=[1]"}), "C101 override #1, column 1");
  EXPECT_EQ(with({"++d=5"}).at("d")->as_int(), 5);
  EXPECT_TREE(*with({"++xs={x: 1}"}).at("xs"), "{x: 1}");
  EXPECT_TRUE(with({"d=null"}).at("d")->is_null());
  EXPECT_EQ(with({"a=[1]"}).at("a.0")->as_int(), 1);
  EXPECT_EQ(with({"d=${a}"}).at("d")->as_string(), "${a}");
}

TEST(ValueOverride, MapsMergeAndBringNoNewKeys) {
  EXPECT_TREE(*with({"d={y: 5}"}).at("d"), "{x: 1, y: 5}");
  EXPECT_EQ(refusal({"d={z: 5}"}).substr(0, 4), "C104");
  EXPECT_TREE(*with({"++d={z: 5, x: {k: 1}}"}).at("d"), "{x: {k: 1}, y: 2, z: 5}");
}

TEST(ValueOverride, TildeDeletes) {
  EXPECT_EQ(with({"~a"}).at("a"), nullptr);
  EXPECT_EQ(with({"~d.x=1"}).at("d.x"), nullptr);
  EXPECT_EQ(with({"~d.x=1.0"}).at("d.x"), nullptr);
  EXPECT_EQ(with({"~n"}).at("n"), nullptr) << "Hydra says it does not exist";
  EXPECT_TREE(*with({"~xs.0"}).at("xs"), "[2, {k: 3}]");
  EXPECT_EQ(refusal({"~z"}), "C105 override #1, column 2");
  EXPECT_EQ(refusal({"~d.z"}), "C105 override #1, column 4");
  EXPECT_EQ(refusal({"~a=9"}), "C106 override #1, column 2");
  EXPECT_EQ(refusal({"~xs.7"}), "C105 override #1, column 5");
}

TEST(ValueOverride, SweepInOneRunShowsThreeWaysOut) {
  const auto problems = values().refused({"a=1,2"});
  EXPECT_EQ(where(problems), "W101 override #1, column 3");
  EXPECT_THAT(problems[0].help, HasSubstr("a=[...]"));
  EXPECT_THAT(problems[0].help, HasSubstr("a='...'"));
  EXPECT_THAT(problems[0].help, HasSubstr("run"));
}

TEST(ValueOverride, SyntaxFaultsExitWithTwoAndOthersWithThree) {
  try {
    values().compose({"a=[", "b", "z=1"});
    FAIL();
  } catch (const OverrideSyntaxError& e) {
    EXPECT_EQ(e.exit_code(), ExitCode::kUsage);
    EXPECT_THAT(codes(e.problems()), ElementsAre("O101", "O101"));
  }
  try {
    values().compose({"z=1", "y=2"});
    FAIL();
  } catch (const CompositionError& e) {
    EXPECT_EQ(e.exit_code(), ExitCode::kConfig);
    EXPECT_THAT(codes(e.problems()), ElementsAre("C104", "C104"));
  }
}

// --- messages --------------------------------------------------------------------------------------------------------

TEST(Message, HasPlaceLineCaretsChainAndHelp) {
  const Configs configs{{"config", "defaults:\n  - quantizer: aqlm\n"}, {"quantizer/aqlm", "nbits: 2\nnbits: 3\n"}};
  const std::string text = problems_to_text(configs.refused());
  const std::string folder = configs.path().string();
  EXPECT_EQ(text, folder +
                      "/quantizer/aqlm.yaml:2:1: error[Y103]: key 'nbits' stands twice in one map, first at line 1\n"
                      "    2 | nbits: 3\n"
                      "      | ^^^^^ first at " +
                      folder +
                      "/quantizer/aqlm.yaml:1:1\n"
                      "   note: included from " +
                      folder +
                      "/config.yaml:2:5 as quantizer=aqlm\n"
                      "   help: keep one of the two");
}

TEST(Message, CaretsCountCharacters) {
  const Configs configs{{"config", "'é': {\"ü\": on}\n"}};
  const auto problems = configs.refused();
  EXPECT_EQ(problems[0].mark.column, 12);
  EXPECT_THAT(problems_to_text(problems), HasSubstr("      |            ^^\n"));
}

TEST(Message, LongLinesAreCutAroundTheMark) {
  const Configs configs{
      {"config", "a: '" + std::string(5000, 'x') + "'\nb: {k: \"" + std::string(5000, 'y') + "\", c: on}\n"}};
  const std::string text = problems_to_text(configs.refused());
  EXPECT_LT(text.size(), 800u);
  EXPECT_THAT(text, HasSubstr("c: on}"));
}

TEST(Message, AtMostTwentyAreShown) {
  std::string body;
  for (int i = 0; i < 30; ++i) body += "k" + std::to_string(i) + ": on\n";
  const Configs configs{{"config", body}};
  EXPECT_THAT(problems_to_text(configs.refused()), HasSubstr("more errors"));
}

TEST(Message, JsonFormHasEveryField) {
  const Node document = from_json(problems_to_json(values().refused({"d.xx=1"})), "errors");
  const Node& error = *document.at("errors.0");
  EXPECT_EQ(error.at("code")->as_string(), "C104");
  EXPECT_EQ(error.at("file")->as_string(), "override #1");
  EXPECT_TRUE(error.at("line")->is_null());
  EXPECT_EQ(error.at("column")->as_int(), 3);
  EXPECT_EQ(error.at("key")->as_string(), "d.xx");
  EXPECT_EQ(error.at("hint")->as_string(), "did you mean 'x'?");
  EXPECT_EQ(error.at("source_line")->as_string(), "d.xx=1");
  EXPECT_EQ(document.at("num_errors")->as_int(), 1);
}

TEST(Hint, NearestNamesUseDamerauLevenshtein) {
  EXPECT_EQ(edit_distance("group", "grup"), 1u);
  EXPECT_EQ(edit_distance("nbits", "nbist"), 1u) << "a transposition is one edit";
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("Kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("é", "e"), 1u) << "characters, not bytes";
  EXPECT_THAT(nearest_names("nbit", {"nbits", "bits", "group", "nbit_x", "nbitss"}), ElementsAre("nbits"));
  EXPECT_THAT(nearest_names("abcdef", {"abcdxx", "abcdex", "zzzzzz", "Abcdef", "abcde"}),
              ElementsAre("Abcdef", "abcdex", "abcde"))
      << "case does not count; best three, ties in their order";
  EXPECT_THAT(nearest_names("2", {"2"}), ElementsAre()) << "never suggests the same key";
}

TEST(Hint, SameLeafElsewhereGroupsDotsAndPlus) {
  EXPECT_EQ(values().refused({"yy.x=1"}, false)[0].hint, "'x' exists at d.x");
  EXPECT_THAT(values().refused({"d.zzzzz=1"}, false)[0].help, HasSubstr("+d.zzzzz=1"));
  const Problem dotted = values().refused({"grp.sub=o"}, false)[0];
  EXPECT_EQ(dotted.hint, "'grp/sub' is a group");
  EXPECT_THAT(dotted.help, HasSubstr("grp/sub=o"));
  EXPECT_EQ(values().refused({"d/x=1"}, false)[0].code, "D118");
  EXPECT_EQ(values().refused({"d/x=1"}, false)[0].hint, "did you mean 'd.x'?");
  EXPECT_EQ(values().refused({"gpr/sub@x=o"}, false)[0].hint, "did you mean 'grp/sub'?");
}

// --- references ------------------------------------------------------------------------------------------------------

Node resolved(const std::string& text) {
  std::vector<Problem> problems;
  const Node tree = resolve_references(yaml(text), problems).tree;
  EXPECT_TRUE(problems.empty()) << problems_to_text(problems);
  return tree;
}
std::vector<Problem> unresolved(const std::string& text) {
  std::vector<Problem> problems;
  resolve_references(yaml(text), problems);
  return problems;
}
std::string reference_code(const std::string& text) {
  return unresolved("{n: 8, d: {a: 1}, xs: [1, 2], z: \"" + text + "\"}").at(0).code;
}

struct Reference {
  const char* text;
  const char* expected;
};
class References : public ::testing::TestWithParam<Reference> {};

TEST_P(References, Resolve) {
  const auto [text, expected] = GetParam();
  setenv("AQLM_EXP_TEST_VALUE", "[1, 2]", 1);
  const Node tree =
      resolved(std::string("n: 8\nd: {a: 1, b: {c: x}}\nxs: [1, 2, {k: 3}]\nname: a\nf: 1.0\nt: true\nu: null\nm: ???\n"
                           "q: {r: {z: ") +
               text + "}, s: 5}\n");
  EXPECT_EQ(to_json(*tree.at("q.r.z")), expected) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, References,
    ::testing::Values(
        Reference{"'${n}'", "8"}, Reference{"'${d}'", "{\"a\": 1, \"b\": {\"c\": \"x\"}}"},
        Reference{"'${xs}'", "[1, 2, {\"k\": 3}]"}, Reference{"'${d.b.c}'", "\"x\""}, Reference{"'${xs.0}'", "1"},
        Reference{"'${xs[1]}'", "2"}, Reference{"'${xs[2].k}'", "3"}, Reference{"'${xs.-1.k}'", "3"},
        Reference{"'${d[b][c]}'", "\"x\""}, Reference{"'${d.${name}}'", "1"}, Reference{"'${ n }'", "8"},
        Reference{"'${..s}'", "5"}, Reference{"'${...n}'", "8"}, Reference{"'a${n}b'", "\"a8b\""},
        Reference{"'${n}${n}'", "\"88\""}, Reference{"'${f}-${t}-${u}'", "\"1.0-True-None\""},
        Reference{"'\\${n}'", "\"${n}\""}, Reference{"'\\\\${n}'", "\"\\\\8\""},
        Reference{"'\\\\\\${n}'", "\"\\\\${n}\""}, Reference{"'a\\b'", "\"a\\\\b\""},
        Reference{"'$n $ {n}'", "\"$n $ {n}\""}, Reference{"'${oc.env:AQLM_EXP_TEST_VALUE}'", "\"[1, 2]\""},
        Reference{"'${oc.decode:${oc.env:AQLM_EXP_TEST_VALUE}}'", "[1, 2]"},
        Reference{"'${oc.env:AQLM_EXP_NOT_SET,3}'", "\"3\""}, Reference{"'${oc.env:AQLM_EXP_NOT_SET,null}'", "null"},
        Reference{"'${oc.env:AQLM_EXP_NOT_SET,a b}'", "\"a b\""},
        Reference{"'${oc.env:AQLM_EXP_NOT_SET,${n}}'", "\"8\""},
        Reference{"'${oc.env:AQLM_EXP_NOT_SET,\"x,}y\"}'", "\"x,}y\""},
        Reference{"'${oc.decode:\"{a: [1, b]}\"}'", "{\"a\": [1, \"b\"]}"}, Reference{"'${oc.decode:null}'", "null"},
        Reference{"'${oc.select:nope,7}'", "7"}, Reference{"'${oc.select:nope}'", "null"},
        Reference{"'${oc.select:d.a,7}'", "1"}, Reference{"'${oc.select:m,7}'", "7"},
        Reference{"'${oc.select:..s,7}'", "5"}, Reference{"'${oc.select:nope,[1,{a: b}]}'", "[1, {\"a\": \"b\"}]"},
        Reference{"'${oc.dict.keys:d}'", "[\"a\", \"b\"]"}, Reference{"'${oc.dict.values:d}'", "[1, {\"c\": \"x\"}]"}));

TEST(References, RelativeOnesInListsAndCopiesUseTheirOwnPlace) {
  EXPECT_TREE(resolved("d: {x: 1, y: '${.x}', l: [5, '${.0}', '${..x}']}\ne: ${d}\n"),
              "{d: {x: 1, y: 1, l: [5, 5, 1]}, e: {x: 1, y: 1, l: [5, 5, 1]}}");
}

TEST(References, ChainsPassThroughReferences) {
  EXPECT_TREE(resolved("a: ${b}\nb: ${c}\nc: {k: 1}\nd: ${a.k}\n"), "{a: {k: 1}, b: {k: 1}, c: {k: 1}, d: 1}");
}

TEST(References, ResolvingTwiceChangesNothing) {
  std::vector<Problem> problems;
  setenv("AQLM_EXP_TEST_TEXT", "${n}", 1);
  const Node tree = yaml("n: 8\na: '\\${n}'\nb: '${oc.env:AQLM_EXP_TEST_TEXT}'\nc: ${a}\nd: 'x${b}'\n");
  const Node once = resolve_references(tree, problems).tree;
  const Node twice = resolve_references(once, problems).tree;
  EXPECT_TREE(once, "{n: 8, a: '${n}', b: '${n}', c: '${n}', d: 'x${n}'}");
  EXPECT_TRUE(same_data(once, twice)) << to_json(twice);
}

TEST(References, FaultsHaveTheirCodes) {
  EXPECT_EQ(reference_code("${nope}"), "I103");
  EXPECT_EQ(reference_code("${d.nope}"), "I103");
  EXPECT_EQ(reference_code("${xs.9}"), "I103");
  EXPECT_EQ(reference_code("${xs.-3}"), "I103");
  EXPECT_EQ(reference_code("${n.a}"), "I103");
  EXPECT_EQ(reference_code("${....n}"), "I103");
  EXPECT_EQ(reference_code("a${d}"), "I108");
  EXPECT_EQ(reference_code("${foo:1}"), "I102");
  EXPECT_EQ(reference_code("${now:%Y}"), "I102");
  EXPECT_EQ(reference_code("${"), "I101");
  EXPECT_EQ(reference_code("${}"), "I101");
  EXPECT_EQ(reference_code("${a..b}"), "I101");
  EXPECT_EQ(reference_code("${a[b}"), "I101");
  EXPECT_EQ(reference_code("${a b}"), "I101");
  EXPECT_EQ(reference_code("${oc.env:AQLM_EXP_NOT_SET}"), "I106");
  EXPECT_EQ(reference_code("${oc.env:HF_TOKEN,x}"), "I109") << "resolved values are stored";
  EXPECT_EQ(reference_code("${oc.env:}"), "I110");
  EXPECT_EQ(reference_code("${oc.decode:\\\"[1\\\"}"), "I110");
  EXPECT_EQ(reference_code("${oc.dict.keys:n}"), "I110");
}

TEST(References, MissingTargetIsAFaultThatNamesTheKey) {
  const auto problems = unresolved("a: ???\nb: {c: '${a}'}\n");
  EXPECT_EQ(where(problems), "I105 test:2:8");
  EXPECT_EQ(problems[0].path, "b.c");
  EXPECT_THAT(problems[0].help, HasSubstr("a=VALUE"));
}

TEST(References, CyclePrintsTheChainOnce) {
  const auto problems = unresolved("a: ${b}\nb: 'x${c}'\nc: ${a}\nd: ${a}\n");
  ASSERT_EQ(problems.size(), 1u) << problems_to_text(problems);
  EXPECT_EQ(problems[0].code, "I104");
  EXPECT_THAT(problems[0].message, HasSubstr("a (test:1:4) -> b (test:2:4) -> c (test:3:4) -> a"));
  EXPECT_EQ(unresolved("a: {b: '${a}'}\n").at(0).code, "I104") << "a map that contains itself";
}

TEST(References, IndependentFaultsAreAllReported) {
  EXPECT_THAT(codes(unresolved("a: ${x}\nb: ${foo:1}\nc: [\"${\"]\n")), ElementsAre("I103", "I102", "I101"));
}

TEST(References, NearMissIsOffered) {
  EXPECT_EQ(unresolved("quant: {nbits: 1}\na: ${quant.nbit}\n")[0].hint, "did you mean 'quant.nbits'?");
}

TEST(References, BudgetsStopBombs) {
  std::string maps = "a0: {x: 1, y: 2}\n", texts = "a0: '0123456789'\n", chain = "a0: 1\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "${a" + std::to_string(i - 1) + "}";
    maps += "a" + std::to_string(i) + ": {x: '" + before + "', y: '" + before + "'}\n";
    texts += "a" + std::to_string(i) + ": '" + before + before + "'\n";
  }
  for (int i = 1; i < 100; ++i) chain += "a" + std::to_string(i) + ": ${a" + std::to_string(i - 1) + "}\n";
  EXPECT_EQ(unresolved(maps).at(0).code, "I107");
  EXPECT_EQ(unresolved(texts).at(0).code, "I107");
  std::vector<Problem> problems;
  EXPECT_EQ(resolve_references(yaml(chain), problems).tree.at("a99")->as_int(), 1)
      << "values are remembered from top to bottom";
  std::string backwards;
  for (int i = 99; i > 0; --i) backwards += "a" + std::to_string(i) + ": ${a" + std::to_string(i - 1) + "}\n";
  EXPECT_EQ(unresolved(backwards + "a0: 1\n").at(0).code, "I107") << "64 levels";
}

TEST(References, EnvironmentIsListed) {
  setenv("AQLM_EXP_TEST_VALUE", "v", 1);
  const Configs configs{{"config", "a: ${oc.env:AQLM_EXP_TEST_VALUE}\nb: ${oc.env:AQLM_EXP_NOT_SET,x}\n"}};
  const Composition composition = compose(configs.request({}));
  EXPECT_EQ(composition.environment, (std::map<std::string, std::string>{{"AQLM_EXP_TEST_VALUE", "v"}}));
}

TEST(References, CopiesKeepThePlaceOfTheirTarget) {
  const Configs configs{{"config", "defaults: [m: a]\np: ${m.path}\n"}, {"m/a", "path: w\n"}};
  EXPECT_THAT(configs.compose().at("p")->mark().source, HasSubstr("m/a.yaml"))
      << "relative paths are relative to the file that wrote them";
}

}  // namespace
}  // namespace aqlm_exp::config
