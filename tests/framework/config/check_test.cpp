// Schema checks: conversions, bounds, variants, unknown keys and paths (design/experiments.md 1.10).
#include "framework/config/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Method {
  virtual ~Method() = default;
};

const Registry<Method>& methods() {
  static const Registry<Method> registry = [] {
    Registry<Method> out;
    out.add("rtn", "round to nearest", [](Reader& in) {
      in.integer("nbits", {.min = 1, .max = 16, .doc = "bits a weight"});
      return std::make_unique<Method>();
    });
    out.add("gptq", "by columns", [](Reader& in) {
      in.integer("nbits", {.min = 1, .max = 16});
      in.flag("act_order", {.fallback = false});
      in.section("solver").number("damp_percent", {.fallback = 0.01, .min = 0.0, .max = 1.0});
      return std::make_unique<Method>();
    });
    return out;
  }();
  return registry;
}

const Object& schema() {
  static const Object object = describe([](Reader& in) {
    in.component<Method>("method", methods(), "how weights become codes", "rtn");
    in.integer("seed", {.fallback = 17, .doc = "of everything random"});
    in.number("lr", {.fallback = 1e-4, .unit = "per step"});
    in.text("dtype", {.fallback = "float32", .choices = {"float32", "float16"}});
    in.optional_integer("max_windows", {.min = 1});
    in.texts("tags", {.choices = {"a", "b"}});
    in.path("model", {.fallback = "builtin:models/x", .input = true});
    in.path("log", {.fallback = "", .input = false});
    in.sections("layers", {}, [](Reader& layer) {
      layer.text("name", {});
      layer.integer("nbits", {.fallback = 4, .min = 1});
    });
  });
  return object;
}

Node checked(const std::string& text) {
  std::vector<Problem> problems;
  const Node out = check(yaml(text), schema(), problems);
  EXPECT_TRUE(problems.empty()) << problems_to_text(problems);
  return out;
}
std::vector<Problem> faults(const std::string& text) {
  std::vector<Problem> problems;
  check(yaml(text), schema(), problems);
  return problems;
}
std::string fault(const std::string& text) { return where(faults(text)); }

TEST(Check, FillsInFallbacksInTheSchemasOrder) {
  EXPECT_EQ(to_json(checked("{seed: 3, method: {nbits: 2}}")),
            "{\"method\": {\"type\": \"rtn\", \"nbits\": 2}, \"seed\": 3, \"lr\": 0.0001, \"dtype\": \"float32\", "
            "\"max_windows\": null, "
            "\"tags\": [], \"model\": \"builtin:models/x\", \"log\": \"\", \"layers\": []}");
}

TEST(Check, ConvertsOnlyWhatLosesNothing) {
  EXPECT_EQ(to_json(*checked("{method: {nbits: '3'}}").at("method.nbits")), "3");
  EXPECT_EQ(to_json(*checked("{method: {nbits: 2}, lr: 1}").at("lr")), "1.0");
  EXPECT_EQ(to_json(*checked("{method: {nbits: 2}, lr: '1e-3'}").at("lr")), "0.001");
  EXPECT_EQ(fault("{method: {nbits: 3.0}}"), "S101 test:1:18") << "no float is an integer, not even 3.0";
  EXPECT_EQ(fault("{method: {nbits: x}}"), "S101 test:1:18");
  EXPECT_EQ(fault("{method: {nbits: true}}"), "S101 test:1:18");
  EXPECT_EQ(fault("{method: {type: gptq, nbits: 2, act_order: 1}}"), "S101 test:1:44") << "0 and 1 are no switches";
  EXPECT_EQ(fault("{method: {nbits: 2}, dtype: 32}"), "S101 test:1:29") << "numbers do not become text";
  EXPECT_THAT(faults("{method: {nbits: 2}, dtype: 32}")[0].help, HasSubstr("\"32\""));
  EXPECT_EQ(fault("{method: 5}"), "S101 test:1:10");
  EXPECT_EQ(fault("{method: {nbits: 2}, tags: a}"), "S101 test:1:28");
}

TEST(Check, BoundsNameThePermittedInterval) {
  const auto problems = faults("{method: {nbits: 0}}");
  EXPECT_EQ(where(problems), "S102 test:1:18");
  EXPECT_EQ(problems[0].message, "'method.nbits' got 0, need 1 to 16");
  EXPECT_EQ(problems[0].hint, "bits a weight");
  EXPECT_EQ(fault("{method: {nbits: 17}}").substr(0, 4), "S102");
  EXPECT_EQ(fault("{method: {type: gptq, nbits: 2, solver: {damp_percent: .nan}}}").substr(0, 4), "S102");
  EXPECT_EQ(fault("{method: {nbits: 2}, max_windows: 0}").substr(0, 4), "S102");
}

TEST(Check, ChoicesOfferTheNearestName) {
  const Problem problem = faults("{method: {nbits: 2}, dtype: flaot32}")[0];
  EXPECT_EQ(problem.code, "S103");
  EXPECT_EQ(problem.hint, "did you mean 'float32'?");
  EXPECT_EQ(faults("{method: {nbits: 2}, tags: [a, c]}")[0].path, "tags[1]");
}

TEST(Check, UnknownKeysOfferTheNearestNameAndTheVariantThatHasThem) {
  const auto problems = faults("{method: {nbits: 2}, sead: 3}");
  EXPECT_EQ(where(problems), "C104 test:1:22");
  EXPECT_EQ(problems[0].hint, "did you mean 'seed'?");
  EXPECT_EQ(faults("{method: {nbits: 2, act_order: true}}")[0].hint, "a key of type gptq, not of rtn");
}

TEST(Check, VariantChoosesItsKeys) {
  EXPECT_EQ(to_json(*checked("{method: {type: gptq, nbits: 2}}").at("method")),
            "{\"type\": \"gptq\", \"nbits\": 2, \"act_order\": false, \"solver\": {\"damp_percent\": 0.01}}");
  const auto problems = faults("{method: {type: gtpq, nbits: 2, act_order: true}}");
  EXPECT_THAT(codes(problems), ElementsAre("S103")) << "keys of an unknown variant are consequences";
  EXPECT_EQ(problems[0].hint, "did you mean 'gptq'?");
}

TEST(Check, MissingAndNullAreFaultsWithTheirKey) {
  EXPECT_EQ(codes(faults("{}")), std::vector<std::string>{"S104"});
  EXPECT_EQ(faults("{}")[0].path, "method.nbits");
  EXPECT_THAT(faults("{}")[0].help, HasSubstr("method.nbits=VALUE (1 to 16)"));
  EXPECT_EQ(fault("method:\n  nbits: ???\n"), "S105 test:2:10");
  EXPECT_EQ(fault("{method: {nbits: null}}"), "S106 test:1:18");
  EXPECT_TRUE(checked("{method: {nbits: 2}, max_windows: null}").at("max_windows")->is_null());
}

TEST(Check, AllFaultsAreReportedTogether) {
  EXPECT_THAT(codes(faults("{method: {nbits: 0, x: 1}, seed: a, dtype: z, layers: [{}, {name: 5}], nope: 1}")),
              ElementsAre("S102", "C104", "S101", "S103", "S104", "S101", "C104"));
}

TEST(Check, ListsOfSectionsHaveIndexedPaths) {
  EXPECT_EQ(to_json(*checked("{method: {nbits: 2}, layers: [{name: a}, {name: b, nbits: 3}]}").at("layers")),
            "[{\"name\": \"a\", \"nbits\": 4}, {\"name\": \"b\", \"nbits\": 3}]");
  EXPECT_EQ(faults("{method: {nbits: 2}, layers: [{name: a, nbits: 0}]}")[0].path, "layers[0].nbits");
  EXPECT_EQ(faults("{method: {nbits: 2}, layers: [5]}")[0].path, "layers[0]");
}

TEST(Check, SchemaThatTravelledAsJsonChecksTheSame) {
  const Object copy = schema_from_json(schema_to_json(schema()));
  std::vector<Problem> problems;
  EXPECT_TRUE(same_data(check(yaml("{method: {type: gptq, nbits: 2}}"), copy, problems),
                        checked("{method: {type: gptq, nbits: 2}}")));
  EXPECT_TRUE(problems.empty());
}

TEST(Paths, AreRelativeToWhereTheyWereWritten) {
  const Configs configs{{"config", "defaults: [m: a]\nmethod: {nbits: 2}\nlog: out.txt\n"},
                        {"m/a", "# @package _global_\nmodel: ../weights\n"}};
  const auto resolved = [&](std::vector<std::string> overrides) {
    std::vector<Problem> problems;
    Node tree = check(configs.compose(std::move(overrides)), schema(), problems);
    resolve_paths(tree, schema(), {"/work dir", "/usr/share/aqlm-exp"}, problems);
    EXPECT_TRUE(problems.empty()) << problems_to_text(problems);
    return tree;
  };
  const Node from_files = resolved({});
  EXPECT_EQ(from_files.at("model")->as_string(), (configs.path() / "weights").string());
  EXPECT_EQ(from_files.at("log")->as_string(), (configs.path() / "out.txt").string());
  const Node from_command_line = resolved({"model=w/x/", "log=/abs/./log"});
  EXPECT_EQ(from_command_line.at("model")->as_string(), "/work dir/w/x");
  EXPECT_EQ(from_command_line.at("log")->as_string(), "/abs/log");
  EXPECT_EQ(resolved({"model=builtin:models/qwen2-5m"}).at("model")->as_string(),
            "/usr/share/aqlm-exp/models/qwen2-5m");
  EXPECT_EQ(resolved({"~model"}).at("model")->as_string(), "/usr/share/aqlm-exp/models/x")
      << "fallbacks may be built in";
  EXPECT_THAT(input_paths(from_command_line, schema()),
              ElementsAre(std::make_pair(std::string("model"), std::string("/work dir/w/x"))));
}

TEST(Paths, BuiltinCannotLeaveItsRoot) {
  std::vector<Problem> problems;
  Node tree = checked("{method: {nbits: 2}, model: 'builtin:../x', log: 'builtin:/etc'}");
  resolve_paths(tree, schema(), {"/w", "/b"}, problems);
  EXPECT_THAT(codes(problems), ElementsAre("S107", "S107"));
}

}  // namespace
}  // namespace aqlm_exp::config
