// Sweeps (design/experiments.md 1.8).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/config/sweep_values.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const Configs& plain() {
  static const Configs configs{{"config", "a: null\nb: null\nc: null\n"}};
  return configs;
}

struct Row {
  const char* override;
  std::vector<const char*> trials;
};

class SweepTable : public ::testing::TestWithParam<Row> {};

TEST_P(SweepTable, ExpandsToItsTrials) {
  const auto& [override, trials] = GetParam();
  EXPECT_EQ(plain().trials({override}), std::vector<std::string>(trials.begin(), trials.end()));
}

INSTANTIATE_TEST_SUITE_P(
    Table, SweepTable,
    ::testing::Values(
        Row{"a=1,2", {"a=1", "a=2"}}, Row{"a=choice(x,y)", {"a=x", "a=y"}}, Row{"a=range(3)", {"a=0", "a=1", "a=2"}},
        Row{"a=range(2,5)", {"a=2", "a=3", "a=4"}}, Row{"a=range(5,0,-2)", {"a=5", "a=3", "a=1"}},
        Row{"a=range(start=1,stop=4,step=2)", {"a=1", "a=3"}},
        Row{"a=range(0,1,0.25)", {"a=0.0", "a=0.25", "a=0.5", "a=0.75"}},
        Row{"a=range(0,0.3,0.1)",
            {"a=0.0", "a=0.1", "a=0.2"}},  // in binary 0.1 * 3 < 0.3 is a fourth value's rounding trap
        Row{"a=range(1.0,3)", {"a=1.0", "a=2.0"}}, Row{"a=range(1e-3,3e-3,1e-3)", {"a=0.001", "a=0.002"}},
        Row{"a=sort(3,1,2)", {"a=1", "a=2", "a=3"}}, Row{"a=sort(3,1,2,reverse=true)", {"a=3", "a=2", "a=1"}},
        Row{"a=sort(range(3),reverse=true)", {"a=2", "a=1", "a=0"}}, Row{"a=sort(choice(b,a))", {"a=a", "a=b"}},
        Row{"a=sort([3,1,2])", {"a=[1,2,3]"}}, Row{"a=int(1.9,2)", {"a=1", "a=2"}},
        Row{"a=float(range(2))", {"a=0.0", "a=1.0"}}, Row{"a=str(1)", {"a='1'"}},
        Row{"a=bool(0,1)", {"a=False", "a=True"}}, Row{"a=int([1.5,{x:2.5}])", {"a=[1,{x:2}]"}},
        Row{"a=[int(3.0),4]", {"a=[3,4]"}}, Row{"a=true,false", {"a=True", "a=False"}}));

TEST(Sweep, ArgumentFaultsAreSyntaxFaults) {
  for (const char* bad : {"a=range(0,1,0)",
                          "a=range()",
                          "a=range(1,2,3,4)",
                          "a=range(x)",
                          "a=range(1,stop=2,stop=3)",
                          "a=range(5,2)",
                          "a=range(inf)",
                          "a=range(0,1,1e-300)",
                          "a=choice()",
                          "a=choice(choice(1,2))",
                          "a=chioce(1,2)",
                          "a=int(x)",
                          "a=bool(maybe)",
                          "a=sort(1,x)",
                          "a=sort()",
                          "a=sort([1,[2]])",
                          "a=[choice(1,2)]",
                          "a={k:range(3)}",
                          "a=shuffle(1,2,seed=x)",
                          "a=int(null)",
                          "a=range(1,2,nosuch=3)",
                          "a=range(10000000)"}) {
    const auto problems = plain().sweep_refused({bad});
    ASSERT_FALSE(problems.empty()) << bad;
    EXPECT_EQ(problems[0].code[0], 'O') << bad << ": " << problems[0].message;
  }
  EXPECT_THAT(plain().sweep_refused({"a=chioce(1,2)"})[0].hint, HasSubstr("choice"));
}

TEST(Sweep, IntervalAndTagAreRefusedWithAReason) {
  EXPECT_EQ(codes(plain().sweep_refused({"a=interval(0,1)"})), std::vector<std::string>{"W108"});
  EXPECT_EQ(codes(plain().sweep_refused({"a=tag(t,choice(1,2))"})), std::vector<std::string>{"W108"});
}

TEST(Sweep, ShuffleNeedsASeedAndIsRepeatable) {
  EXPECT_EQ(codes(plain().sweep_refused({"a=shuffle(range(10))"})), std::vector<std::string>{"W105"});
  const auto first = plain().trials({"a=shuffle(range(10),seed=7)"});
  EXPECT_EQ(first, plain().trials({"a=shuffle(range(10),seed=7)"}));
  EXPECT_NE(first, plain().trials({"a=shuffle(range(10),seed=8)"}));
  EXPECT_NE(first, plain().trials({"a=range(10)"}));
  const Configs configs{{"config", "a: null\nexp: {sweep: {seed: 7}}\n"}};
  EXPECT_EQ(configs.trials({"a=shuffle(range(10))"}), first);
}

TEST(Sweep, GlobListsOptionsOfItsGroupSorted) {
  const Configs configs{
      {"config", "defaults: [m: aa]\nx: 1\n"}, {"m/aa", "k: 1\n"}, {"m/ab", "k: 2\n"}, {"m/b", "k: 3\n"}};
  EXPECT_EQ(configs.trials({"m=glob(*)"}), (std::vector<std::string>{"m=aa", "m=ab", "m=b"}));
  EXPECT_EQ(configs.trials({"m=glob(a*)"}), (std::vector<std::string>{"m=aa", "m=ab"}));
  EXPECT_EQ(configs.trials({"m=glob([a*,b],exclude=?a)"}), (std::vector<std::string>{"m=ab", "m=b"}));
  EXPECT_EQ(codes(configs.sweep_refused({"x=glob(*)"})), std::vector<std::string>{"W106"});
  EXPECT_EQ(codes(configs.sweep_refused({"m=glob(z*)"})), std::vector<std::string>{"W106"});
}

TEST(Sweep, GlobPatternsMatchAsShellsDo) {
  EXPECT_TRUE(matches_glob("abc", "a*c"));
  EXPECT_TRUE(matches_glob("abc", "[a-b]?c"));
  EXPECT_TRUE(matches_glob("abc", "[!x]bc"));
  EXPECT_FALSE(matches_glob("abc", "[!a]bc"));
  EXPECT_TRUE(matches_glob("", "*"));
  EXPECT_FALSE(matches_glob("a", ""));
  EXPECT_TRUE(matches_glob("a[b", "a[b"));
  EXPECT_FALSE(matches_glob(std::string(200, 'a'), "*a*a*a*a*a*a*a*a*a*a*a*b")) << "must not take exponential time";
}

TEST(Sweep, ParamsAndCommandLineShareOneOrder) {
  const Configs configs{{"config", "a: 0\nb: 0\nc: 0\nexp: {sweep: {params: {a: \"1,2\", b: \"range(2)\"}}}\n"}};
  EXPECT_EQ(configs.trials({}), (std::vector<std::string>{"a=1 b=0", "a=1 b=1", "a=2 b=0", "a=2 b=1"}));
  EXPECT_EQ(configs.trials({"c=5,6", "a=3"}),
            (std::vector<std::string>{"a=3 b=0 c=5", "a=3 b=0 c=6", "a=3 b=1 c=5", "a=3 b=1 c=6"}))
      << "the command line replaces the entry with the same key, in its place";
}

TEST(Sweep, PointsTellSweptKeysFromFixedOnes) {
  const Sweep sweep = expand_sweep(plain().request({"a=1,2", "b=3"}));
  ASSERT_THAT(sweep.points, SizeIs(2));
  EXPECT_THAT(sweep.points[1].overrides, ElementsAre("a=2"));
  EXPECT_THAT(sweep.points[1].all_overrides, ElementsAre("a=2", "b=3"));
  EXPECT_TREE(sweep.points[1].tree, "{a: 2, b: 3, c: null}");
}

TEST(Sweep, ZipPairsValuesOfEqualNumber) {
  const Configs configs{
      {"config", "a: 0\nb: 0\nc: 0\nexp: {sweep: {params: {c: \"x,y\"}, zip: [{a: \"1,2\", b: \"3,4\"}]}}\n"}};
  EXPECT_EQ(configs.trials({}), (std::vector<std::string>{"c=x a=1 b=3", "c=x a=2 b=4", "c=y a=1 b=3", "c=y a=2 b=4"}));
  const Configs unequal{{"config", "a: 0\nb: 0\nexp:\n  sweep:\n    zip: [{a: \"1,2\", b: \"3,4,5\"}]\n"}};
  const auto problems = unequal.sweep_refused({});
  EXPECT_EQ(where(problems), "W102 config.yaml:5:25");
  EXPECT_THAT(problems[0].message, HasSubstr("2 values of 'a' with 3 of 'b'"));
}

TEST(Sweep, UnionAppendsGrids) {
  const Configs configs{
      {"config", "a: 0\nb: 0\nexp: {sweep: {params: {a: \"1,2\"}, union: [{b: \"7,8\"}, {a: 1, b: 9}]}}\n"}};
  EXPECT_EQ(configs.trials({}), (std::vector<std::string>{"a=1", "a=2", "b=7", "b=8", "a=1 b=9"}));
  EXPECT_EQ(configs.trials({"b=5"}), (std::vector<std::string>{
                                         "a=1 b=5",
                                         "a=2 b=5",
                                         "b=5",
                                     }))
      << "the command line applies to every grid";
  const Configs only{{"config", "a: 0\nexp: {sweep: {union: [{a: \"7,8\"}]}}\n"}};
  EXPECT_EQ(only.trials({}), (std::vector<std::string>{"a=7", "a=8"})) << "without params the base point is no trial";
}

TEST(Sweep, ExcludeMatchesComposedValuesAndChoices) {
  const Configs configs{{"config",
                         "defaults: [m: p, _self_]\nn: 0\nexp: {sweep: {params: {m: \"p,q\", n: \"2,4\"}, exclude: "
                         "[{n: 4, m: q}, {k: 9}]}}\n"},
                        {"m/p", "k: 1\n"},
                        {"m/q", "k: 2\n"}};
  const Sweep sweep = expand_sweep(configs.request({}));
  EXPECT_EQ(configs.trials({}), (std::vector<std::string>{"m=p n=2", "m=p n=4", "m=q n=2"}));
  EXPECT_EQ(sweep.num_excluded, 1);
  EXPECT_THAT(sweep.warnings, ElementsAre(HasSubstr("exclude[1] matches no combination")));
  EXPECT_EQ(sweep.points[2].choices.at("m"), "q");
}

TEST(Sweep, RepeatGivesEachPointAnIndex) {
  const Configs configs{{"config", "a: 0\nexp: {sweep: {repeat: 2, params: {a: \"1,2\"}}}\n"}};
  const Sweep sweep = expand_sweep(configs.request({}));
  std::vector<int64_t> repeats;
  for (const SweepPoint& point : sweep.points) repeats.push_back(point.repeat);
  EXPECT_THAT(repeats, ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(expand_sweep(configs.request({"exp.sweep.repeat=5"})).points.size(), 10u)
      << "reserved keys can be set on the command line";
}

TEST(Sweep, IdenticalCombinationsAreMergedAndCounted) {
  const Sweep sweep = expand_sweep(plain().request({"a=1,1,2", "b=3,4"}));
  EXPECT_EQ(sweep.points.size(), 4u);
  EXPECT_EQ(sweep.num_combinations, 6);
  EXPECT_EQ(sweep.num_merged, 2);
  EXPECT_THAT(sweep.warnings, ElementsAre(HasSubstr("2 of 6 combinations are identical")));
}

TEST(Sweep, SizeIsLimitedBeforeAnythingIsExpanded) {
  ComposeRequest request = plain().request({"a=range(1000)", "b=range(1000)", "c=range(1000)"});
  EXPECT_THROW(expand_sweep(request), CompositionError);
  request = plain().request({"a=1,2,3"});
  request.max_trials = 2;
  EXPECT_THROW(expand_sweep(request), CompositionError);
  request.max_trials = 3;
  EXPECT_EQ(expand_sweep(request).points.size(), 3u);
  const Configs repeats{{"config", "a: 0\nexp: {sweep: {repeat: 9223372036854775807}}\n"}};
  EXPECT_EQ(codes(repeats.sweep_refused({})), std::vector<std::string>{"W104"});
}

TEST(Sweep, MandatoryChoiceMayBeSwept) {
  const Configs configs{{"config", "defaults: [m: \"???\"]\nexp: {sweep: {params: {m: \"p,q\"}}}\n"},
                        {"m/p", "k: 1\n"},
                        {"m/q", "k: 2\n"}};
  EXPECT_EQ(configs.trials({}).size(), 2u);
  const Configs open{{"config", "defaults: [m: \"???\"]\n"}, {"m/p", "k: 1\n"}, {"m/q", "k: 2\n"}};
  EXPECT_EQ(open.trials({"m=p,q"}).size(), 2u);
  EXPECT_EQ(codes(open.sweep_refused({})), std::vector<std::string>{"D108"});
}

TEST(Sweep, DeletionKeepsItsMeaning) {
  const Configs configs{{"config", "lst: [1]\na: 0\n"}};
  const Sweep sweep = expand_sweep(configs.request({"~lst", "a=1,2"}));
  EXPECT_TREE(sweep.points[1].tree, "{a: 2}");
}

TEST(Sweep, FaultyPointsNameTheirOverride) {
  const Configs configs{{"config", "defaults: [m: p]\n"}, {"m/p", "k: 1\n"}, {"m/q", "z: 2\n"}};
  const auto problems = configs.sweep_refused({"m=p,q", "m.k=1,2"});
  EXPECT_EQ(where(problems), "C104 override #2, column 3");
  EXPECT_THAT(problems, SizeIs(1)) << "met by two points, reported once";
}

TEST(Sweep, ShapesUnderTheReservedNodeAreChecked) {
  const auto fault = [](const std::string& text) {
    const Configs configs{{"config", "a: 0\nexp:\n  sweep: " + text + "\n"}};
    return where(configs.sweep_refused({}));
  };
  EXPECT_EQ(fault("{prams: {a: \"1,2\"}}"), "W103 config.yaml:3:11");
  EXPECT_EQ(fault("{params: [1]}"), "W103 config.yaml:3:19");
  EXPECT_EQ(fault("{params: {a: [1, 2]}}"), "W103 config.yaml:3:23") << "a YAML list could mean two things";
  EXPECT_EQ(fault("{params: {a: {b: 1}}}"), "W103 config.yaml:3:23");
  EXPECT_EQ(fault("{repeat: 0}"), "W103 config.yaml:3:19");
  EXPECT_EQ(fault("{seed: x}"), "W103 config.yaml:3:17");
  EXPECT_EQ(fault("{params: {a: \"1,\"}}"), "O101 config.yaml:3:25") << "the place inside the quoted text";
  EXPECT_EQ(fault("{params: {a: \"1,2\"}, zip: [{a: \"3,4\"}]}").substr(0, 4), "W103") << "swept twice";
  EXPECT_EQ(fault("[]").substr(0, 4), "W103");
}

TEST(Sweep, PathsOfSweptValuesStayWhereTheyWereWritten) {
  const Configs configs{{"config", "model: x\nexp: {sweep: {params: {model: \"a,b\"}}}\n"}};
  const Sweep sweep = expand_sweep(configs.request({}));
  EXPECT_GT(sweep.points[0].tree.at("model")->mark().line, 0);
  EXPECT_THAT(sweep.points[0].tree.at("model")->mark().source, HasSubstr("config.yaml"));
  EXPECT_EQ(expand_sweep(configs.request({"model=c"})).points[0].tree.at("model")->mark().line, 0);
}

}  // namespace
}  // namespace aqlm_exp::config
