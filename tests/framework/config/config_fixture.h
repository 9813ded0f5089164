// Configuration files in a scratch folder, and short ways to compose them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/compose.h"
#include "framework/config/yaml_front.h"

namespace aqlm_exp::config {

/// A folder that is removed with the object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "aqlm_exp_config_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

  /// Writes "<name>.yaml", or the file itself if the name has an extension.
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::path file = path_ / name;
    if (file.extension() != ".yaml" && file.extension() != ".yml") file += ".yaml";
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

/// "config.yaml" and its groups.
class Configs {
 public:
  Configs() = default;
  Configs(std::initializer_list<std::pair<std::string, std::string>> files) {
    for (const auto& [name, text] : files) folder_.write(name, text);
  }
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }
  const std::filesystem::path& path() const { return folder_.path(); }

  ComposeRequest request(std::vector<std::string> overrides, bool resolve = true) const {
    ComposeRequest out;
    out.file = folder_.path() / "config.yaml";
    out.overrides = std::move(overrides);
    out.resolve = resolve;
    return out;
  }
  Node compose(std::vector<std::string> overrides = {}, bool resolve = true) const {
    return config::compose(request(std::move(overrides), resolve)).tree;
  }
  /// Faults of a composition that must be refused.
  std::vector<Problem> refused(std::vector<std::string> overrides = {}, bool resolve = true) const {
    try {
      const Node tree = compose(overrides, resolve);
      ADD_FAILURE() << "composed to " << to_json(tree);
    } catch (const CompositionError& e) {
      return e.problems();
    } catch (const OverrideSyntaxError& e) {
      return e.problems();
    }
    return {};
  }
  std::vector<Problem> sweep_refused(std::vector<std::string> overrides) const {
    try {
      expand_sweep(request(std::move(overrides)));
      ADD_FAILURE() << "the sweep was expanded";
    } catch (const CompositionError& e) {
      return e.problems();
    } catch (const OverrideSyntaxError& e) {
      return e.problems();
    }
    return {};
  }
  /// Overrides of each point, joined by blanks.
  std::vector<std::string> trials(std::vector<std::string> overrides) const {
    std::vector<std::string> out;
    for (const SweepPoint& point : expand_sweep(request(std::move(overrides))).points) {
      std::string text;
      for (const std::string& override : point.all_overrides) text += (text.empty() ? "" : " ") + override;
      out.push_back(text);
    }
    return out;
  }

 private:
  ScratchFolder folder_;
};

/// YAML text as a tree, for expectations.
inline Node yaml(const std::string& text) {
  std::vector<Problem> problems;
  const auto file = read_yaml(text, "test", {}, problems);
  EXPECT_TRUE(file.has_value()) << problems_to_text(problems);
  return file ? file->root : Node();
}

/// "C104 config.yaml:3:5": code and place of the first problem, with the folder cut off.
inline std::string where(const std::vector<Problem>& problems) {
  if (problems.empty()) return "none";
  Mark mark = problems.front().mark;
  mark.source = std::filesystem::path(mark.source).filename().string();
  return problems.front().code + " " + mark.str();
}
inline std::vector<std::string> codes(const std::vector<Problem>& problems) {
  std::vector<std::string> out;
  for (const Problem& problem : problems) out.push_back(problem.code);
  return out;
}

#define EXPECT_TREE(tree, expected)                                                                \
  do {                                                                                             \
    const ::aqlm_exp::config::Node made_ = (tree);                                                 \
    EXPECT_TRUE(same_data(made_, ::aqlm_exp::config::yaml(expected))) << "got " << to_json(made_); \
  } while (false)

}  // namespace aqlm_exp::config
