// The override grammar and its table (design/experiments.md 1.7).
#include "framework/config/override_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Mark kBase{"override #1", 0, 1};

std::optional<Override> parse(const std::string& text, std::vector<Problem>* problems = nullptr) {
  std::vector<Problem> own;
  return parse_override(text, kBase, problems == nullptr ? own : *problems);
}

struct Row {
  const char* value;
  const char* expected;  // JSON; "sweep"; or "O101:column"
};

class ValueTable : public ::testing::TestWithParam<Row> {};

TEST_P(ValueTable, TypesAsListed) {
  const auto [value, expected] = GetParam();
  std::vector<Problem> problems;
  const auto override = parse(std::string("a=") + value, &problems);
  std::string got;
  if (!override) {
    got = problems[0].code + ":" + std::to_string(problems[0].mark.column);
  } else {
    got = override->elements.size() > 1 ? "sweep" : to_json(node_of(override->elements[0]));
  }
  EXPECT_EQ(got, expected) << "a=" << value;
}

INSTANTIATE_TEST_SUITE_P(
    Table, ValueTable,
    ::testing::Values(
        Row{"", "\"\""}, Row{"None", "\"None\""}, Row{"007", "\"007\""}, Row{"0x10", "\"0x10\""},
        Row{"1__0", "\"1__0\""}, Row{"1e", "\"1e\""}, Row{"12abc", "\"12abc\""}, Row{"TrUe", "true"},
        Row{"FALSE", "false"}, Row{"hello world", "\"hello world\""}, Row{"x-y_z", "\"x-y_z\""},
        Row{"a.b.c", "\"a.b.c\""}, Row{"/p/q", "\"/p/q\""}, Row{"http://h:80/p", "\"http://h:80/p\""},
        Row{"x@y", "\"x@y\""}, Row{"50%", "\"50%\""}, Row{"*", "\"*\""}, Row{"a|b", "\"a|b\""}, Row{"\"1\"", "\"1\""},
        Row{"'1'", "\"1\""}, Row{"\"x,y\"", "\"x,y\""}, Row{"[a,[b,c],{d: 1}]", "[\"a\", [\"b\", \"c\"], {\"d\": 1}]"},
        Row{"p_${n}", "\"p_${n}\""}, Row{"null", "null"}, Row{"NULL", "null"}, Row{"1_000", "1000"},
        Row{"1e3", "1000.0"}, Row{"1.", "1.0"}, Row{".5", "0.5"}, Row{"-INF", "\"-.inf\""}, Row{"nan", "\".nan\""},
        Row{"yes", "\"yes\""}, Row{"on", "\"on\""}, Row{"  padded  ", "\"padded\""}, Row{"C\\:\\\\x", "\"C:\\\\x\""},
        Row{"'it\\'s'", "\"it's\""}, Row{"a\\,b", "\"a,b\""}, Row{"{x:1,y:{z:2}}", "{\"x\": 1, \"y\": {\"z\": 2}}"},
        Row{"'x' y", "O101:7"}, Row{"[1,,2]", "O101:6"}, Row{"1,", "O101:4"}, Row{",1", "O101:3"}, Row{"(x)", "O101:3"},
        Row{"{a:1", "O101:3"}, Row{"[1", "O101:3"}, Row{"1]", "O101:4"}, Row{"a}", "O101:4"}, Row{"'x", "O101:3"},
        Row{"a{b", "O101:4"}, Row{"{a}", "O101:5"}, Row{"{a:}", "O101:6"}, Row{"{:1}", "O101:4"},
        Row{"[1,2]x", "O101:8"}, Row{"f(1)x", "O101:7"}, Row{"{a: 1, a: 2}", "O101:10"}, Row{"${n", "O101:3"},
        Row{"{null: 1}", "O101:8"},
        // ours: everything but the structural characters is legal after the first '='
        Row{"b=c", "\"b=c\""}, Row{"a#b", "\"a#b\""}, Row{"a;b", "\"a;b\""}, Row{"a&b", "\"a&b\""}, Row{"é", "\"é\""},
        Row{"it's", "\"it's\""}, Row{"10e400", "O104:3"}, Row{"123456789012345678901", "O104:3"},
        Row{"{1: b, true: c}", "{\"1\": \"b\", \"true\": \"c\"}"}, Row{"'C:\\x\\y'", "\"C:\\\\x\\\\y\""},
        Row{"'end\\\\'", "\"end\\\\\""}, Row{"\\${n}", "\"\\\\${n}\""}, Row{"[]", "[]"}, Row{"{}", "{}"},
        Row{"[ a , b ]", "[\"a\", \"b\"]"}, Row{"${oc.env:X,'a}b'}", "\"${oc.env:X,'a}b'}\""},
        Row{"{k: http://h:80}", "{\"k\": \"http://h:80\"}"}, Row{"{'k 1': 1}", "{\"k 1\": 1}"}, Row{"a,b", "sweep"},
        Row{"[1],[2]", "sweep"}, Row{"'a','b'", "sweep"}, Row{"-0", "0"}, Row{"+5", "5"}));

TEST(OverrideGrammar, KindsOfOverrides) {
  EXPECT_EQ(parse("a=1")->kind, Override::Kind::kSet);
  EXPECT_EQ(parse("+a=1")->kind, Override::Kind::kAdd);
  EXPECT_EQ(parse("++a=1")->kind, Override::Kind::kForce);
  EXPECT_EQ(parse("~a")->kind, Override::Kind::kDelete);
  EXPECT_FALSE(parse("~a")->has_value);
  EXPECT_TRUE(parse("~a=")->has_value);
}

TEST(OverrideGrammar, KeysArePathsGroupsAndPackages) {
  EXPECT_EQ(parse("a.b-c.0.$d=1")->key, "a.b-c.0.$d");
  const auto group = parse("db/sub@a.b=x");
  EXPECT_EQ(group->key, "db/sub");
  EXPECT_EQ(*group->package, "a.b");
  for (const char* bad :
       {"=1", "a", "", "a..b=1", ".a=1", "a.=1", "1a=2", "a b=1", "~", "+", "a@=1", "a@b:c=1", "a.007=1", "a[0]=1"}) {
    EXPECT_FALSE(parse(bad)) << bad;
  }
}

TEST(OverrideGrammar, CallsHaveNamedAndPositionalArguments) {
  const auto override = parse("a=range(1, stop = 5,step=2)");
  const Element& call = override->elements[0];
  EXPECT_EQ(call.kind, Element::Kind::kCall);
  EXPECT_THAT(call.names, ElementsAre("", "stop", "step"));
  EXPECT_EQ(call.items[1].value.as_int(), 5);
  EXPECT_EQ(parse("a=choice (1,2)")->elements[0].name, "choice") << "blanks in front of '(' are permitted";
  EXPECT_TRUE(parse("a=f()")->elements[0].items.empty());
}

TEST(OverrideGrammar, FaultsNameColumnAndOneWayOut) {
  std::vector<Problem> problems;
  parse("key=[1,2", &problems);
  EXPECT_EQ(problems[0].mark.str(), "override #1, column 5");
  EXPECT_THAT(problems[0].message, HasSubstr("never closed"));
  EXPECT_THAT(problems[0].help, HasSubstr("\\["));
  problems.clear();
  parse("ä.ö=é,", &problems);
  EXPECT_EQ(problems[0].mark.column, 6) << "columns count characters";
}

TEST(OverrideGrammar, DepthAndBytesAreLimited) {
  EXPECT_FALSE(parse("a=" + std::string(1000, '[') + std::string(1000, ']')));
  EXPECT_FALSE(parse("a=" + std::string(1000, '{')));
  EXPECT_FALSE(parse("a=" + std::string((1 << 20) + 1, 'x')));
  EXPECT_FALSE(parse("a=\xFF"));
  EXPECT_FALSE(parse(std::string("a=x\0y", 5)));
}

class Printing : public ::testing::TestWithParam<const char*> {};

TEST_P(Printing, ParsesBackToTheSame) {
  const auto first = parse(GetParam());
  ASSERT_TRUE(first) << GetParam();
  const std::string printed = print_override(*first);
  const auto second = parse(printed);
  ASSERT_TRUE(second) << printed;
  EXPECT_EQ(print_override(*second), printed);
  ASSERT_EQ(second->elements.size(), first->elements.size()) << printed;
  for (size_t i = 0; i < first->elements.size(); ++i) {
    if (first->elements[i].kind == Element::Kind::kCall) continue;
    EXPECT_TRUE(same_data(node_of(first->elements[i]), node_of(second->elements[i]))) << printed;
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, Printing,
                         ::testing::Values("a=", "~a", "~a=", "++a.b@c=[1,{x:y}]", "a=x y", "a=a\\,b", "a='1'",
                                           "a=\"null\"", "a=p_${n}", "a=\\${n}", "a=x y${n}", "a='it\\'s'",
                                           "a=\"a\\\"b\"", "a=C\\:\\\\x", "a='x\\\\'", "a={1:b,true:c,'k k':d}",
                                           "a=1e16,1e-5,-inf,nan", "a=range(1,5,step=2)", "a=choice('a,b',[1],{k:v})",
                                           "a=x=y", "a=\\ lead", "a=trail\\ ", "a=it's", "a='\\''", "a=\\\\\\\\",
                                           "a=${a.${b}},\"${x}\"", "a=é", "a=\\(x\\)", "a='a\nb'", "a={'':1}",
                                           "a=\\[\\]", "a=[\"\"]", "a={k:''}"));

TEST(OverrideGrammar, PrintsAsHydraDoes) {
  const auto printed = [](const std::string& text) { return print_override(*parse(text)); };
  EXPECT_EQ(printed("a=TRUE"), "a=True");
  EXPECT_EQ(printed("a=1_000"), "a=1000");
  EXPECT_EQ(printed("a=1e3"), "a=1000.0");
  EXPECT_EQ(printed("a=x y"), "a=x\\ y");
  EXPECT_EQ(printed("a={x: 1, y: [2, 3]}"), "a={x:1,y:[2,3]}");
  EXPECT_EQ(printed("a=\"x,y\""), "a=\"x,y\"");
}

}  // namespace
}  // namespace aqlm_exp::config
