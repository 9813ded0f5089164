#include "experiments/app/show_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "framework/base/error.h"
#include "framework/config/reader.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::app {
namespace {

using config::Configs;
using config::Node;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Shown {
  int exit_code = -1;
  std::string out, err;
};

config::Object schema() {
  return config::describe([](config::Reader& in) {
    in.integer("seed", {.fallback = 0, .doc = "of everything random"});
    config::Reader quantizer = in.section("quantizer", {.doc = "how weights become codes"});
    quantizer.integer("nbits", {.min = 1, .max = 16, .unit = "bits", .doc = "bits a weight"});
    quantizer.text("kind", {.choices = {"aqlm", "rtn", "gptq"}, .doc = "method"});
    quantizer.flag("act_order", {.fallback = false, .doc = "sort columns"});
  });
}

class Show : public ::testing::Test {
 protected:
  Show() {
    configs_.write("config",
                   "defaults:\n  - model: tiny\n  - quantizer: aqlm\n  - _self_\nseed: 17\nquantizer:\n  nbits: 8\n"
                   "tag: ${model.name}\nexp:\n  output: runs/x\n");
    configs_.write("model/tiny", "name: tiny\n");
    configs_.write("model/qwen", "name: qwen\n");
    configs_.write("quantizer/aqlm", "kind: aqlm\nnbits: 16\ngroup: 8\n");
    configs_.write("quantizer/rtn", "kind: rtn\nnbits: 4\n");
  }
  Shown run(const std::string& command, std::vector<std::string> rest = {}, bool with_file = true) const {
    std::vector<std::string> args = {command};
    if (with_file) args.push_back((configs_.path() / "config.yaml").string());
    args.insert(args.end(), rest.begin(), rest.end());
    std::ostringstream out, err;
    ShowContext context;
    context.schema = schema;
    Shown shown;
    shown.exit_code = show_command(args, context, out, err);
    shown.out = out.str();
    shown.err = err.str();
    return shown;
  }
  Node json(const Shown& shown) const { return config::from_json(shown.out, "stdout"); }
  Configs configs_;
};

TEST_F(Show, ConfigPrintsTheComposedTreeAsJson) {
  const Shown shown = run("config", {"quantizer=rtn", "--format", "json"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_TREE(json(shown), "{model: {name: tiny}, quantizer: {kind: rtn, nbits: 8}, seed: 17, tag: '${model.name}'}");
}

TEST_F(Show, ConfigPrintsYamlThatComposesToItself) {
  const Shown shown = run("config", {"--resolve"});
  EXPECT_TREE(config::yaml(shown.out),
              "{model: {name: tiny}, quantizer: {kind: aqlm, nbits: 8, group: 8}, seed: 17, tag: tiny}");
}

TEST_F(Show, ConfigPrintsAPartAndTheReservedNode) {
  EXPECT_EQ(run("config", {"--at", "quantizer.nbits"}).out, "8\n");
  EXPECT_TREE(json(run("config", {"--at", "exp", "--json"})), "{output: runs/x}");
  const Shown missing = run("config", {"--at", "quantizer.nbit"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("did you mean 'nbits'?"));
}

TEST_F(Show, OriginNamesFileAndOverwrittenValues) {
  const Shown shown = run("config", {"--origin", "seed=3"});
  EXPECT_THAT(shown.out, HasSubstr("quantizer.nbits: 8  # " + (configs_.path() / "config.yaml:7:10").string() +
                                   "; was 16 at " + (configs_.path() / "quantizer/aqlm.yaml:2:8").string()));
  EXPECT_THAT(shown.out, HasSubstr("seed: 3  # override #1, column 6; was 17 at "));
}

TEST_F(Show, RefusedCompositionExitsWithThreeAndSyntaxWithTwo) {
  const Shown unknown = run("config", {"quantizer.nbit=3"});
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_EQ(unknown.out, "");
  EXPECT_THAT(unknown.err, StartsWith("override #1, column 11: error[C104]: unknown key 'quantizer.nbit'\n"));
  const Shown syntax = run("config", {"a=[1"});
  EXPECT_EQ(syntax.exit_code, 2);
  EXPECT_THAT(syntax.err, HasSubstr("error[O101]"));
  EXPECT_EQ(run("confog").exit_code, 2);
  EXPECT_EQ(run("config", {"--formatt", "json"}).exit_code, 2);
}

TEST_F(Show, JsonFormOfErrorsHasCodeAndPlace) {
  const Node errors = *json(run("config", {"quantizer.nbit=3", "--json"})).at("errors");
  EXPECT_EQ(errors.items()[0].at("code")->as_string(), "C104");
  EXPECT_EQ(errors.items()[0].at("file")->as_string(), "override #1");
  EXPECT_EQ(errors.items()[0].at("column")->as_int(), 11);
}

TEST_F(Show, BuiltinNamesWhatIsInstalled) {
  ShowContext context;
  context.builtin_roots = {configs_.path()};
  const std::string name = "builtin:" + configs_.path().filename().string() + "/config.yaml";
  std::ostringstream out, err;
  EXPECT_EQ(show_command({"config", name, "--at", "seed"}, context, out, err), 0) << err.str();
  EXPECT_EQ(out.str(), "17\n");
  EXPECT_EQ(config_file("builtin/x.yaml", context), "builtin/x.yaml");  // a folder of that name
}

TEST_F(Show, SweepListsTrialsInOrder) {
  const Shown shown = run("sweep", {"quantizer=aqlm,rtn", "seed=1,2", "--json"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  const Node document = json(shown);
  ASSERT_EQ(document.at("num_trials")->as_int(), 4);
  EXPECT_EQ(document.at("trials.1.overrides.1")->as_string(), "seed=2");
  EXPECT_EQ(document.at("trials.2.config.quantizer.kind")->as_string(), "rtn");
  EXPECT_EQ(document.at("trials.2.choices.quantizer")->as_string(), "rtn");
}

TEST_F(Show, SweepShowsPointsThatDoNotCompose) {
  const Shown shown = run("sweep", {"quantizer=aqlm,rtn", "quantizer.group=4,8", "--json"});
  EXPECT_EQ(shown.exit_code, 3);
  const Node document = json(shown);
  EXPECT_EQ(document.at("num_trials")->as_int(), 4);
  EXPECT_EQ(document.at("trials.2.errors.0.code")->as_string(), "C104");
}

TEST_F(Show, TreeAndDefaultsShowWhereFilesLand) {
  EXPECT_THAT(run("tree").out, HasSubstr("quantizer: aqlm  -> quantizer  ["));
  const Node rows = json(run("defaults", {"--json"}));
  ASSERT_EQ(rows.items().size(), 3u);
  EXPECT_EQ(rows.items()[1].at("config")->as_string(), "quantizer/aqlm");
  EXPECT_EQ(rows.items()[2].at("package")->as_string(), "_global_");
}

TEST_F(Show, DefaultsWarnWhenSelfIsNotWrittenAndKeysMeet) {
  configs_.write("config", "defaults:\n  - quantizer: aqlm\nquantizer: {nbits: 8}\n");
  const Shown shown = run("defaults");
  EXPECT_THAT(shown.err, HasSubstr("W-SELF"));
  EXPECT_THAT(shown.err, HasSubstr("quantizer.nbits"));
  EXPECT_THAT(run("tree").out, HasSubstr("_self_ (not written: comes last)"));
}

TEST_F(Show, GroupsAndRootsListWhatCanBeChosen) {
  EXPECT_EQ(run("groups").out, "model: qwen, tiny\nquantizer: aqlm, rtn\n");
  EXPECT_THAT(run("roots", {"--config-dir", "/nonexistent"}).out,
              HasSubstr("/nonexistent  (--config-dir, does not exist)"));
}

TEST_F(Show, ComponentPrintsKeysWithBoundsAndDefaults) {
  const Shown shown = run("component", {"quantizer"}, false);
  EXPECT_THAT(shown.out, HasSubstr("nbits: int (required, 1 to 16, in bits)"));
  EXPECT_THAT(shown.out, HasSubstr("bits a weight"));
  EXPECT_EQ(run("component", {"quantiser"}, false).exit_code, 3);
  EXPECT_THAT(run("component", {"quantiser"}, false).err, HasSubstr("did you mean 'quantizer'?"));
}

class Complete : public Show {
 protected:
  std::vector<std::string> words(std::vector<std::string> typed) const {
    for (std::string& word : typed) {
      if (word == "FILE") word = (configs_.path() / "config.yaml").string();
    }
    const std::vector<CommandWords> commands = {{"run", {"--json", "--out"}, {}, true},
                                                {"show", {"--at"}, {"config", "sweep"}, true}};
    ShowContext context;
    context.schema = schema;
    std::ostringstream out;
    complete_command(typed, commands, context, out);
    std::vector<std::string> lines;
    std::istringstream in(out.str());
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
};

TEST_F(Complete, OffersCommandsFlagsAndFiles) {
  EXPECT_THAT(words({"r"}), ElementsAre("run"));
  EXPECT_THAT(words({"run", "--j"}), ElementsAre("--json"));
  EXPECT_THAT(words({"show", ""}), ElementsAre("config", "sweep"));
  EXPECT_THAT(words({"run", ""}), ElementsAre(":files yaml"));
}

TEST_F(Complete, OffersGroupsKeysOptionsAndChoices) {
  EXPECT_THAT(words({"run", "FILE", "mo"}), ElementsAre("model="));
  EXPECT_THAT(words({"run", "FILE", "quantizer.n"}), ElementsAre("quantizer.nbits="));
  EXPECT_THAT(words({"run", "FILE", "model="}), ElementsAre("model=qwen", "model=tiny"));
  EXPECT_THAT(words({"run", "FILE", "model=qwen,t"}), ElementsAre("model=qwen,tiny"));
  EXPECT_THAT(words({"run", "FILE", "quantizer.kind=g"}), ElementsAre("quantizer.kind=gptq"));
  EXPECT_THAT(words({"show", "sweep", "FILE", "quantizer.act_order="}),
              ElementsAre("quantizer.act_order=true", "quantizer.act_order=false"));
  EXPECT_THAT(words({"run", "FILE", "~mod"}), ElementsAre("~model"));
}

TEST(CompletionScript, EachShellParsesItsOwn) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    if (std::system((std::string("command -v ") + shell + " >/dev/null 2>&1").c_str()) != 0) continue;
    const std::string script = completion_script(shell);
    const std::string file = std::string(::testing::TempDir()) + "aqlm_exp_completion." + shell;
    std::ofstream(file) << script;
    EXPECT_EQ(std::system((std::string(shell) + " -n " + file).c_str()), 0) << script;
  }
  EXPECT_THROW(completion_script("tcsh"), UsageError);
}

/// Runs completion_shells.sh, which types lines into a real shell whose aqlm-exp is a stand-in, and gives what it
/// completed, one line each.
std::string completed_in(const std::string& shell) {
  const std::string folder = std::string(::testing::TempDir()) + "aqlm_exp_shell_" + shell;
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/script") << completion_script(shell);
  const std::string command = "cd \"" + folder + "\" && bash \"" + AQLM_EXP_SOURCE_DIR +
                              "/tests/experiments/app/completion_shells.sh\" " + shell + " script";
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "r");
  for (char buffer[512]; std::fgets(buffer, sizeof buffer, pipe) != nullptr;) out += buffer;
  EXPECT_EQ(::pclose(pipe), 0) << out;
  std::filesystem::remove_all(folder);
  return out;
}

TEST(CompletionScript, EachShellCompletesCommandsFilesAndOverrides) {
  int shells = 0;
  for (const char* shell : {"bash", "zsh", "fish"}) {
    if (std::system((std::string("command -v ") + shell + " >/dev/null 2>&1").c_str()) != 0) continue;
    ++shells;
    EXPECT_EQ(completed_in(shell),
              "aqlm-exp sh => show\n"
              "aqlm-exp show c => config\n"
              "aqlm-exp show config wi => with space.yaml\n"
              "aqlm-exp show config sweep.yaml quantizer.n => quantizer.nbits=\n"
              "aqlm-exp show config sweep.yaml x=1 model=lla => model=llama\n")
        << shell;
  }
  if (shells == 0) GTEST_SKIP() << "no bash, zsh or fish here";
}

}  // namespace
}  // namespace aqlm_exp::app
