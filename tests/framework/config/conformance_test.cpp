// The cases of conformance/composition.yaml: expectations that were checked against Hydra 1.3.5 and 1.4.0.dev9.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

const Node& document() {
  static const Node root = [] {
    std::ifstream in(std::string(AQLM_EXP_SOURCE_DIR) + "/tests/framework/config/conformance/composition.yaml");
    std::stringstream text;
    text << in.rdbuf();
    return yaml(text.str());
  }();
  return root;
}

/// Hydra's error text → our code.
const std::map<std::string, std::string> kCodes = {{"D16", "D109"}, {"D22", "D108"}, {"D23", "D109"}, {"D26", "D107"},
                                                   {"D29", "D110"}, {"V04", "C101"}, {"V08", "C103"}, {"V11", "C106"},
                                                   {"V14", "C104"}, {"I09", "I104"}, {"I11", "I102"}};

class Case : public ::testing::TestWithParam<size_t> {
 protected:
  const Node& data() const { return document().at("cases")->items()[GetParam()]; }
};

TEST_P(Case, ComposesAsHydraDoes) {
  const Node& data = this->data();
  const std::string id = data.at("id")->as_string();
  const Configs configs;
  for (const MapEntry& entry : document().at("fixture")->map_value().entries())
    configs.write(entry.key, entry.value.as_string());
  if (const Node* files = data.at("files")) {
    for (const MapEntry& entry : files->map_value().entries()) configs.write(entry.key, entry.value.as_string());
  }
  std::vector<std::string> args;
  for (const Node& item : data.at("args")->items()) args.push_back(item.as_string());
  const bool resolve = data.at("resolve") != nullptr;
  if (const Node* expected = data.at("expect")) {
    const Node tree = configs.compose(args, resolve);
    EXPECT_TRUE(same_data(tree, *expected)) << id << ": got " << to_json(tree) << "\nneed " << to_json(*expected);
  } else {
    const std::vector<Problem> problems = configs.refused(args, resolve);
    ASSERT_FALSE(problems.empty());
    EXPECT_EQ(problems.front().code, kCodes.at(id)) << problems_to_text(problems);
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, Case, ::testing::Range<size_t>(0, 37), [](const auto& parameter) {
  return document().at("cases")->items()[parameter.param].at("id")->as_string();
});

TEST(Conformance, AllCasesAreRun) { EXPECT_EQ(document().at("cases")->items().size(), 37u); }

TEST(Conformance, SweepsExpandAsHydrasDo) {
  for (const Node& sweep : document().at("sweeps")->items()) {
    std::vector<std::string> args, expected;
    for (const Node& item : sweep.at("args")->items()) args.push_back(item.as_string());
    for (const Node& item : sweep.at("trials")->items()) expected.push_back(item.as_string());
    Configs configs{{"config", "a: null\nb: null\n"}};
    if (args[0] == "m=a,b") {
      configs.write("config", "defaults: [m: a]\n");
      configs.write("m/a", "name: a\n");
      configs.write("m/b", "name: b\n");
    }
    EXPECT_EQ(configs.trials(args), expected) << args[0];
  }
}

}  // namespace
}  // namespace aqlm_exp::config
