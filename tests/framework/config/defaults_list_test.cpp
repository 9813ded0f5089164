// Defaults lists, packages and choices (design/experiments.md 1.2, 1.4, 1.5) and the differences of 1.14.
#include "framework/config/defaults_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/config/config_files.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// --- files and roots -------------------------------------------------------------------------------------------------

TEST(ConfigFiles, FirstRootThatHasTheOptionWins) {
  const Configs first{{"config", "defaults: [m: a]\n"}, {"m/b", "from: first\n"}};
  const Configs second{{"m/a", "from: second\n"}, {"m/b", "from: second\n"}};
  ComposeRequest request = first.request({});
  request.roots = {second.path()};
  EXPECT_TREE(compose(request).tree, "{m: {from: second}}");
  request.overrides = {"m=b"};
  EXPECT_TREE(compose(request).tree, "{m: {from: first}}");
}

TEST(ConfigFiles, ExtensionIsYamlAndYmlIsExplained) {
  const Configs configs{{"config", "defaults: [m: a]\n"}, {"m/a.yml", "x: 1\n"}};
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"D102"});
  ComposeRequest request = configs.request({});
  request.file = configs.path() / "m/a.yml";
  EXPECT_THROW(compose(request), CompositionError);
}

TEST(ConfigFiles, PathsCannotLeaveTheirRoot) {
  for (const char* item : {"m: ../x", "m: /etc/passwd", "'..': x", "'m/../..': x", "~x: y", "'a\\b': c", "m: 'a b'"}) {
    const Configs configs{{"config", std::string("defaults:\n  - ") + item + "\n"}, {"m/a", "x: 1\n"}};
    ASSERT_FALSE(configs.refused().empty()) << item;
    EXPECT_EQ(configs.refused()[0].code[0], 'D') << item;
  }
  const Configs configs{{"config", "defaults: [m: a]\n"}, {"m/b", "x: 1\n"}};
  EXPECT_EQ(codes(configs.refused({"m=../config"})), std::vector<std::string>{"D103"});
}

TEST(ConfigFiles, SymbolicLinkOutOfTheRootIsRefused) {
  const Configs outside{{"secret", "x: 1\n"}};
  const Configs configs{{"config", "defaults: [m: a]\n"}, {"m/b", "x: 1\n"}};
  std::filesystem::create_symlink(outside.path() / "secret.yaml", configs.path() / "m/a.yaml");
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"D104"});
  std::filesystem::create_symlink(configs.path() / "m/b.yaml", configs.path() / "m/c.yaml");
  EXPECT_TREE(configs.compose({"m=c"}), "{m: {x: 1}}");
}

TEST(ConfigFiles, FilesAreReadOnceAndHashed) {
  const Configs configs{{"config", "defaults: [m: a]\nx: 1\n"}, {"m/a", "k: 1\n"}};
  const Composition composition = compose(configs.request({}));
  ASSERT_EQ(composition.file_records.size(), 2u);
  EXPECT_EQ(composition.file_records[1].sha256.size(), 64u);
  EXPECT_EQ(composition.choices.at("m"), "a");
}

TEST(ConfigFiles, MissingAndBrokenPrimaryFilesAreNamed) {
  const Configs configs{{"other", "x: 1\n"}};
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"D101"});
  configs.write("config", "a: [\n");
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"Y102"});
  configs.write("config", "- a\n");
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"Y112"});
  configs.write("config", "");
  EXPECT_TREE(configs.compose(), "{}");
}

// --- shape of items --------------------------------------------------------------------------------------------------

TEST(Defaults, ShapeFaultsHaveTheirPlace) {
  const auto fault = [](const std::string& text) {
    const Configs configs{{"config", text}, {"m/a", "x: 1\n"}};
    return where(configs.refused());
  };
  EXPECT_EQ(fault("defaults: {m: a}\n"), "D105 config.yaml:1:11") << "a map; Hydra dies without a position";
  EXPECT_EQ(fault("defaults: m\n"), "D105 config.yaml:1:11");
  EXPECT_EQ(fault("defaults:\n  - {m: a, n: b}\n"), "D105 config.yaml:2:5");
  EXPECT_EQ(fault("defaults:\n  - m: {a: 1}\n"), "D105 config.yaml:2:8");
  EXPECT_EQ(fault("defaults:\n  - 5\n"), "D105 config.yaml:2:5");
  EXPECT_EQ(fault("defaults:\n  - m: [[a]]\n"), "D105 config.yaml:2:9");
  EXPECT_EQ(fault("defaults:\n  - m: ['${x}']\n"), "D105 config.yaml:2:9");
  EXPECT_EQ(fault("defaults: [_self_, _self_]\n"), "D112 config.yaml:1:20");
  EXPECT_EQ(fault("defaults: [_self_@x]\n"), "D105 config.yaml:1:12");
  EXPECT_EQ(fault("defaults:\n  - m: a.yaml\n"), "D103 config.yaml:2:8");
  EXPECT_EQ(fault("defaults: ['override m']\n"), "D105 config.yaml:1:12");
}

TEST(Defaults, AllIndependentFaultsAreReported) {
  const Configs configs{{"config", "defaults:\n  - m: nope\n  - n: 5\n  - {a: b, c: d}\n  - override x: y\n"},
                        {"m/a", "x: 1\n"}};
  EXPECT_THAT(codes(configs.refused()), ElementsAre("D101", "D101", "D105", "D109"));
}

TEST(Defaults, MissingOptionOffersNearestNamesAndTheRest) {
  const Configs configs{
      {"config", "defaults:\n  - quantizer: aqlm2\n"}, {"quantizer/aqlm", ""}, {"quantizer/gptq", ""}};
  const Problem problem = configs.refused()[0];
  EXPECT_EQ(where({problem}), "D101 config.yaml:2:16");
  EXPECT_EQ(problem.hint, "did you mean 'aqlm'?");
  EXPECT_THAT(problem.help, HasSubstr("aqlm, gptq"));
}

TEST(Defaults, OptionalItemsMayBeAbsentButNotBroken) {
  const Configs configs{{"config", "defaults: ['optional m': nope, 'optional m/x', _self_]\na: 1\n"},
                        {"m/bad", "a: [\n"}};
  EXPECT_TREE(configs.compose(), "{a: 1}");
  EXPECT_EQ(codes(configs.refused({"m=bad"})), std::vector<std::string>{"Y102"});
}

TEST(Defaults, NullChoosesNothingAndCanBeChanged) {
  const Configs configs{{"config", "defaults: [m: null]\n"}, {"m/a", "x: 1\n"}};
  EXPECT_TREE(configs.compose(), "{}");
  EXPECT_TREE(configs.compose({"m=a"}), "{m: {x: 1}}");
}

TEST(Defaults, NullAndTildeDropAChoice) {
  const Configs configs{
      {"config", "defaults: [m: a, n: [x, y]]\nk: 1\n"}, {"m/a", "x: 1\n"}, {"n/x", "x: 1\n"}, {"n/y", "y: 1\n"}};
  EXPECT_TREE(configs.compose({"m=null"}), "{k: 1, n: {x: 1, y: 1}}");
  EXPECT_TREE(configs.compose({"~m"}), "{k: 1, n: {x: 1, y: 1}}");
  EXPECT_TREE(configs.compose({"~m=a", "~n"}), "{k: 1}");
  EXPECT_EQ(codes(configs.refused({"~m=b"})), std::vector<std::string>{"D116"});
  EXPECT_EQ(codes(configs.refused({"~m@x"})), std::vector<std::string>{"D116"});
}

TEST(Defaults, IntegerOptionNamesAFile) {
  const Configs configs{
      {"config", "defaults:\n  - bits: 4\n"}, {"bits/4", "n: 4\n"}, {"bits/8", "n: 8\n"}, {"bits/true", "n: t\n"}};
  EXPECT_TREE(configs.compose(), "{bits: {n: 4}}");
  EXPECT_TREE(configs.compose({"bits=8"}), "{bits: {n: 8}}");
  EXPECT_TREE(configs.compose({"bits=true"}), "{bits: {n: t}}");
}

TEST(Defaults, GroupTakesNamesListsAndNullOnly) {
  const Configs configs{{"config", "defaults: [m: a]\n"}, {"m/a", "x: 1\n"}};
  EXPECT_EQ(codes(configs.refused({"m="})), std::vector<std::string>{"D117"});
  EXPECT_EQ(codes(configs.refused({"m=[[a]]"})), std::vector<std::string>{"D117"});
  EXPECT_EQ(codes(configs.refused({"++m=a"})), std::vector<std::string>{"D117"});
  EXPECT_TREE(configs.compose({"m={x: 2}"}), "{m: {x: 2}}");
}

// --- precedence ------------------------------------------------------------------------------------------------------

TEST(Defaults, LastOverrideInDepthFirstOrderWins) {
  const Configs configs{{"config", "defaults: [q: a, m: x, n: x]\n"},
                        {"q/a", "v: a\n"},
                        {"q/b", "v: b\n"},
                        {"q/c", "v: c\n"},
                        {"m/x", "defaults: [override /q: b]\n"},
                        {"n/x", "defaults: [override /q: c]\n"}};
  // the override is looked for under the including file's package unless the file is global
  EXPECT_EQ(codes(configs.refused()), (std::vector<std::string>{"D109", "D109"}));
  configs.write("m/x", "# @package _global_\ndefaults: [override /q: b]\n");
  configs.write("n/x", "# @package _global_\ndefaults: [override /q: c]\n");
  EXPECT_TREE(configs.compose(), "{q: {v: c}}");
  EXPECT_TREE(configs.compose({"q=a"}), "{q: {v: a}}");
}

TEST(Defaults, OverrideMustFollowItsChoice) {
  const Configs configs{{"config", "defaults: [m: x, q: a]\n"},
                        {"q/a", "v: a\n"},
                        {"q/b", "v: b\n"},
                        {"m/x", "# @package _global_\ndefaults: [override /q: b]\n"}};
  EXPECT_EQ(where(configs.refused()), "D109 x.yaml:2:12") << "the choice stands later in depth-first order";
}

TEST(Defaults, TwoDeclarationsOfOneChoiceNameBothPlaces) {
  for (const char* second : {"a", "b"}) {
    const Configs configs{
        {"config", std::string("defaults:\n  - q: a\n  - q: ") + second + "\n"}, {"q/a", "v: a\n"}, {"q/b", "v: b\n"}};
    const auto problems = configs.refused();
    EXPECT_EQ(where(problems), "D107 config.yaml:3:5") << second;
    EXPECT_THAT(problems[0].message, HasSubstr("config.yaml:2:5"));
    EXPECT_THAT(problems[0].help, HasSubstr("override q:"));
  }
}

TEST(Defaults, CyclePrintsItsChain) {
  const Configs configs{{"config", "defaults: [a]\n"}, {"a", "defaults: [b]\n"}, {"b", "defaults: [a]\n"}};
  const auto problems = configs.refused();
  EXPECT_EQ(where(problems), "D106 b.yaml:1:12");
  EXPECT_THAT(problems[0].message, ::testing::MatchesRegex(".*a.yaml -> .*b.yaml -> .*a.yaml"));
  const Configs self{{"config", "defaults: [config]\n"}};
  EXPECT_EQ(codes(self.refused()), std::vector<std::string>{"D106"});
}

TEST(Defaults, ListsThatGrowExponentiallyAreStopped) {
  Configs configs{{"config", "defaults: [a0]\n"}};
  for (int i = 0; i < 30; ++i) {
    const std::string next = "a" + std::to_string(i + 1);
    configs.write("a" + std::to_string(i), "defaults: [" + next + ", " + next + "]\n");
  }
  configs.write("a30", "x: 1\n");
  EXPECT_EQ(configs.refused()[0].code, "D106");
}

TEST(Defaults, UnknownChoiceSaysHowToAddIt) {
  const Configs configs{{"config", "defaults: [model: a]\n"}, {"model/a", ""}, {"data/c4", ""}};
  const Problem problem = configs.refused({"data=c4"})[0];
  EXPECT_EQ(problem.code, "D115");
  EXPECT_THAT(problem.help, HasSubstr("+data=c4"));
}

TEST(Defaults, FixedEntrySaysWhereAndHowToMakeItChoosable) {
  const Configs configs{{"config", "defaults:\n  - model/a\n"}, {"model/a", "x: 1\n"}, {"model/b", ""}};
  const Problem problem = configs.refused({"model=b"})[0];
  EXPECT_EQ(problem.code, "D115");
  EXPECT_THAT(problem.message, HasSubstr("config.yaml:2:5"));
  EXPECT_THAT(problem.help, HasSubstr("- model: a"));
}

TEST(Defaults, ChoiceOfAnotherPackageShowsTheDeclaredKey) {
  const Configs configs{{"config", "defaults: ['q@student': a]\n"}, {"q/a", ""}, {"q/b", ""}};
  EXPECT_EQ(configs.refused({"q=b"})[0].hint, "did you mean 'q@student'?");
  EXPECT_EQ(configs.refused({"q@_global_=b"})[0].code, "D115");
}

TEST(Defaults, MandatoryChoiceListsItsOptions) {
  const Configs configs{{"config", "defaults:\n  - m: ???\n"}, {"m/a", ""}, {"m/b", ""}};
  EXPECT_THAT(configs.refused()[0].help, HasSubstr("m=OPTION; options: a, b"));
}

// --- references between choices --------------------------------------------------------------------------------------

TEST(Defaults, ReferencesSeeChoicesMadeAnywhere) {
  const Configs configs{{"config", "defaults: ['x@y': '${q}_${m@n}', q: a, 'm@n': b]\n"},
                        {"q/a", ""},
                        {"q/c", ""},
                        {"m/b", ""},
                        {"x/a_b", "v: 1\n"},
                        {"x/c_b", "v: 2\n"}};
  EXPECT_TREE(configs.compose(), "{y: {v: 1}, q: {}, n: {}}");
  EXPECT_TREE(configs.compose({"q=c"}), "{y: {v: 2}, q: {}, n: {}}");
}

TEST(Defaults, ReferenceToNoChoiceIsRefused) {
  const Configs configs{{"config", "defaults:\n  - q: a\n  - x: ${qq}\n"}, {"q/a", ""}, {"x/a", ""}};
  const auto problems = configs.refused();
  EXPECT_EQ(where(problems), "D113 config.yaml:3:5");
  EXPECT_EQ(problems[0].hint, "did you mean 'q'?");
  const Configs cycle{{"config", "defaults: [x: '${y}', y: '${x}']\n"}, {"x/a", ""}, {"y/a", ""}};
  EXPECT_THAT(codes(cycle.refused()), ElementsAre("D113", "D113"));
}

TEST(Defaults, OverrideBehindAReferenceIsRefused) {
  const Configs configs{{"config", "defaults: [q: a, x: '${q}']\n"},
                        {"q/a", ""},
                        {"q/b", ""},
                        {"x/a", "# @package _global_\ndefaults: [override /q: b]\n"}};
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"D114"});
}

// --- packages --------------------------------------------------------------------------------------------------------

struct Landing {
  const char* item;    // in model/m.yaml, which is chosen by config.yaml as model: m
  const char* header;  // of data/d.yaml
  const char* expected;
};

class Packages : public ::testing::TestWithParam<Landing> {};

TEST_P(Packages, LandWhereTheRulesSay) {
  const auto [item, header, expected] = GetParam();
  const Configs configs{{"config", "defaults: [model: m]\n"},
                        {"model/m", std::string("defaults: [") + item + "]\n"},
                        {"data/d", std::string(header) + "v: 1\n"},
                        {"model/data/d", std::string(header) + "v: 1\n"},
                        {"model/s", std::string(header) + "v: 1\n"}};
  Node tree = configs.compose();
  if (tree.at("model") != nullptr && tree.at("model")->map_value().empty())
    tree.map_value().erase("model");  // m's empty body
  EXPECT_TREE(tree, expected);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Packages,
    ::testing::Values(
        Landing{"/data: d", "", "{model: {data: {v: 1}}}"}, Landing{"data: d", "", "{model: {data: {v: 1}}}"},
        Landing{"'/data@p': d", "", "{model: {p: {v: 1}}}"}, Landing{"'/data@p.q': d", "", "{model: {p: {q: {v: 1}}}}"},
        Landing{"'/data@_here_': d", "", "{model: {v: 1}}"}, Landing{"'/data@_global_': d", "", "{v: 1}"},
        Landing{"'/data@_global_.p': d", "", "{p: {v: 1}}"},
        Landing{"/data: d", "# @package a.b\n", "{a: {b: {v: 1}}}"},
        Landing{"/data: d", "# @package _global_\n", "{v: 1}"},
        Landing{"/data: d", "# @package _global_.a\n", "{a: {v: 1}}"},
        Landing{"'/data@p': d", "# @package a.b\n", "{model: {p: {v: 1}}}"}, Landing{"s", "", "{model: {v: 1}}"},
        Landing{"s@p", "", "{model: {p: {v: 1}}}"}, Landing{"/data/d", "", "{model: {data: {v: 1}}}"},
        Landing{"/data/d@_global_", "", "{v: 1}"}, Landing{"/data: [d]", "# @package z\n", "{z: {v: 1}}"},
        Landing{"'/data@p': [d]", "", "{model: {p: {v: 1}}}"}));

TEST(Packages, RemovedAndMisplacedWordsAreRefusedWithAHint) {
  const auto code = [](const std::string& item, const std::string& header = "") {
    const Configs configs{{"config", "defaults: [" + item + "]\n"}, {"m/a", header + "x: 1\n"}};
    return configs.refused()[0].code;
  };
  EXPECT_EQ(code("'m@_group_': a"), "D111");
  EXPECT_EQ(code("'m@_group_.x': a"), "D111");
  EXPECT_EQ(code("'m@_here_.x': a"), "D111");
  EXPECT_EQ(code("'m@a:b': a"), "D111");
  EXPECT_EQ(code("m: a", "# @package _group_\n"), "D111");
}

TEST(Packages, HeaderOfThePrimaryFileMovesItsBody) {
  const Configs configs{{"config", "# @package a\nx: 1\n"}};
  EXPECT_TREE(configs.compose(), "{a: {x: 1}}");
}

TEST(Packages, FileThatLandsOnAScalarIsRefused) {
  const Configs configs{{"config", "defaults: [_self_, m: a]\nm: 5\n"}, {"m/a", "x: 1\n"}};
  EXPECT_EQ(codes(configs.refused()), std::vector<std::string>{"C102"});
}

}  // namespace
}  // namespace aqlm_exp::config
