// The files a composition may read: roots in search order, groups (folders), options (files), each read once.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/problem.h"
#include "framework/config/yaml_front.h"

namespace aqlm_exp::config {

/// One YAML file of a root, split into what the defaults list needs and what is merged.
struct ConfigFile {
  std::string config_path;             ///< "quantizer/aqlm"
  std::string source;                  ///< as shown in marks: "configs/quantizer/aqlm.yaml"
  std::string sha256;                  ///< of its bytes
  std::optional<std::string> package;  ///< of its `# @package` line
  Mark package_mark;
  std::optional<Node> defaults;  ///< the value under `defaults`
  Mark defaults_mark;
  Node body;               ///< the rest, a map
  bool is_broken = false;  ///< its faults have been reported; the body is empty
};

/// True for "a", "a/b.c-d_e": parts of [A-Za-z0-9_.-]+, none of them "." or "..".
bool is_config_path(std::string_view path);

class ConfigFiles {
 public:
  /// @param primary any path; its folder is the first root. @param roots further ones, in search order.
  ConfigFiles(std::filesystem::path primary, std::vector<std::filesystem::path> roots, YamlLimits limits = {});

  /// The primary file, or nullptr with problems.
  const ConfigFile* primary(std::vector<Problem>& problems);
  /// The file of the first root that has it, or nullptr. Faults inside it are reported once, on first reading.
  const ConfigFile* load(const std::string& config_path, std::vector<Problem>& problems);

  bool group_exists(const std::string& group);
  /// Names of the files of a group over all roots, sorted.
  const std::vector<std::string>& options(const std::string& group);
  /// Every folder that holds options, over all roots, sorted: "model", "model/tokenizer".
  std::vector<std::string> groups();
  /// Path of "<config_path>.yml" if a root has that and no .yaml file.
  std::optional<std::string> find_yml(const std::string& config_path) const;

  const std::vector<std::filesystem::path>& roots() const { return roots_; }
  /// In the order of reading.
  const std::vector<const ConfigFile*>& read() const { return read_; }
  Sources& sources() { return *sources_; }
  std::shared_ptr<Sources> shared_sources() const { return sources_; }
  /// Name of the primary file without folder and extension.
  std::string primary_name() const { return primary_.stem().string(); }

 private:
  const ConfigFile* read_file(const std::string& config_path, const std::filesystem::path& file,
                              std::vector<Problem>& problems);

  std::filesystem::path primary_;
  std::vector<std::filesystem::path> roots_;
  YamlLimits limits_;
  std::shared_ptr<Sources> sources_ = std::make_shared<Sources>();
  std::map<std::string, std::unique_ptr<ConfigFile>> cache_;  // absent files as nullptr
  std::map<std::string, std::vector<std::string>> options_;
  std::map<std::string, bool> groups_;
  std::vector<const ConfigFile*> read_;
};

}  // namespace aqlm_exp::config
