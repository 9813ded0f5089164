#include "framework/config/config_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

#include "framework/base/sha256.h"

namespace aqlm_exp::config {
namespace {

namespace fs = std::filesystem;
constexpr int kMaxGroupDepth = 16;

bool is_regular(const fs::path& file) {
  std::error_code error;
  return fs::is_regular_file(file, error);
}
bool is_folder(const fs::path& folder) {
  std::error_code error;
  return fs::is_directory(folder, error);
}

/// Symbolic links may not lead out of the root.
bool stays_inside(const fs::path& file, const fs::path& root) {
  std::error_code error;
  const fs::path real_file = fs::canonical(file, error);
  if (error) return false;
  const fs::path real_root = fs::canonical(root.empty() ? fs::path(".") : root, error);
  if (error) return false;
  return std::mismatch(real_root.begin(), real_root.end(), real_file.begin(), real_file.end()).first == real_root.end();
}

void collect_groups(const fs::path& folder, const std::string& group, int depth, std::set<std::string>& out) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory(error)) {
      if (is_config_path(name) && name[0] != '.' && depth < kMaxGroupDepth) {
        collect_groups(entry.path(), group.empty() ? name : group + "/" + name, depth + 1, out);
      }
    } else if (!group.empty() && entry.path().extension() == ".yaml") {
      out.insert(group);
    }
  }
}

}  // namespace

bool is_config_path(std::string_view path) {
  size_t begin = 0;
  for (;;) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part.find_first_not_of('.') == std::string_view::npos) return false;
    for (const char c : part) {
      const bool valid = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                         c == '.' || c == '-';
      if (!valid) return false;
    }
    if (end == path.size()) return true;
    begin = end + 1;
  }
}

ConfigFiles::ConfigFiles(fs::path primary, std::vector<fs::path> roots, YamlLimits limits)
    : primary_(std::move(primary)), limits_(limits) {
  roots_.push_back(primary_.parent_path());
  for (fs::path& root : roots) roots_.push_back(std::move(root));
}

const ConfigFile* ConfigFiles::primary(std::vector<Problem>& problems) {
  const std::string shown = primary_.lexically_normal().string();
  if (const auto found = cache_.find(""); found != cache_.end()) return found->second.get();
  if (primary_.extension() != ".yaml") {
    problems.push_back({"D102",
                        Mark{shown},
                        {},
                        fmt::format("configuration files end in .yaml, got '{}'", primary_.filename().string()),
                        is_regular(primary_.parent_path() / (primary_.stem().string() + ".yaml"))
                            ? fmt::format("use {}.yaml", (primary_.parent_path() / primary_.stem()).string())
                            : "rename the file"});
    return nullptr;
  }
  if (!is_regular(primary_)) {
    problems.push_back({"D101",
                        Mark{shown},
                        {},
                        is_folder(primary_) ? "is a folder, need a .yaml file" : "no such file",
                        "give the path of a configuration file, relative to the working directory"});
    return nullptr;
  }
  return read_file("", primary_, problems);
}

const ConfigFile* ConfigFiles::load(const std::string& config_path, std::vector<Problem>& problems) {
  if (const auto found = cache_.find(config_path); found != cache_.end()) return found->second.get();
  for (const fs::path& root : roots_) {
    const fs::path file = root / (config_path + ".yaml");
    if (!is_regular(file)) continue;
    if (!stays_inside(file, root)) {
      problems.push_back({"D104",
                          Mark{file.lexically_normal().string()},
                          {},
                          fmt::format("leads out of its root '{}' through a symbolic link", root.string()),
                          "copy the file into the root, or add its folder with --config-dir"});
      break;
    }
    return read_file(config_path, file, problems);
  }
  cache_[config_path] = nullptr;
  return nullptr;
}

const ConfigFile* ConfigFiles::read_file(const std::string& config_path, const fs::path& file,
                                         std::vector<Problem>& problems) {
  auto out = std::make_unique<ConfigFile>();
  out->config_path = config_path;
  out->source = file.lexically_normal().string();
  out->body = Node::map(Mark{out->source, 1, 1});
  ConfigFile* config = out.get();
  cache_[config_path] = std::move(out);
  read_.push_back(config);

  std::ifstream in(file, std::ios::binary);
  std::string text;
  if (in) {
    // One byte more than permitted shows that the file is too large without reading all of it.
    text.resize(limits_.max_bytes + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
  }
  if (in.bad() || !in.is_open()) {
    config->is_broken = true;
    problems.push_back({"D101", Mark{config->source}, {}, "cannot be read", "check its permissions"});
    return config;
  }
  config->sha256 = sha256_hex(text);
  sources_->add(config->source, text);
  std::optional<YamlFile> yaml = read_yaml(text, config->source, limits_, problems);
  if (!yaml) {
    config->is_broken = true;
    return config;
  }
  config->package = yaml->package;
  config->package_mark = yaml->package_mark;
  if (yaml->root.is_null()) return config;
  if (!yaml->root.is_map()) {
    config->is_broken = true;
    problems.push_back({"Y112",
                        yaml->root.mark(),
                        {},
                        fmt::format("the file holds a {}, need a map at its top", kind_name(yaml->root.kind())),
                        "write key: value lines"});
    return config;
  }
  config->body = std::move(yaml->root);
  if (Node* defaults = config->body.map_value().find("defaults")) {
    config->defaults_mark = *config->body.map_value().find_key_mark("defaults");
    config->defaults = std::move(*defaults);
    config->body.map_value().erase("defaults");
  }
  return config;
}

bool ConfigFiles::group_exists(const std::string& group) {
  const auto found = groups_.find(group);
  if (found != groups_.end()) return found->second;
  const bool exists = is_config_path(group) && std::any_of(roots_.begin(), roots_.end(), [&](const fs::path& root) {
                        return is_folder(root / group);
                      });
  groups_[group] = exists;
  return exists;
}

const std::vector<std::string>& ConfigFiles::options(const std::string& group) {
  const auto found = options_.find(group);
  if (found != options_.end()) return found->second;
  std::set<std::string> names;
  if (group.empty() || is_config_path(group)) {
    for (const fs::path& root : roots_) {
      const fs::path folder = root / group;
      std::error_code error;
      for (const fs::directory_entry& entry : fs::directory_iterator(folder.empty() ? "." : folder, error)) {
        if (entry.path().extension() == ".yaml" && entry.is_regular_file(error))
          names.insert(entry.path().stem().string());
      }
    }
  }
  return options_[group] = {names.begin(), names.end()};
}

std::vector<std::string> ConfigFiles::groups() {
  std::set<std::string> out;
  for (const fs::path& root : roots_) collect_groups(root.empty() ? fs::path(".") : root, "", 0, out);
  return {out.begin(), out.end()};
}

std::optional<std::string> ConfigFiles::find_yml(const std::string& config_path) const {
  for (const fs::path& root : roots_) {
    const fs::path file = root / (config_path + ".yml");
    if (is_regular(file)) return file.lexically_normal().string();
  }
  return std::nullopt;
}

}  // namespace aqlm_exp::config
