// Reading one defaults list: the shape of its items.
#include <fmt/format.h>

#include <algorithm>

#include "framework/config/defaults_list.h"

namespace aqlm_exp::config {
namespace {

class Refused {};

[[noreturn]] void refuse(std::vector<Problem>& problems, const char* code, const Mark& mark, std::string message,
                         std::string help, int length = 1) {
  Problem problem{code, mark, "defaults", std::move(message), std::move(help)};
  problem.length = length;
  problems.push_back(std::move(problem));
  throw Refused();
}

void check_package(const std::string& package, const Mark& mark, std::vector<Problem>& problems) {
  if (package.find("_group_") != std::string::npos || package.find("_name_") != std::string::npos) {
    refuse(problems, "D111", mark, fmt::format("package word in '{}' was removed from Hydra", package),
           "_group_ is the default; write no package, or the dotted path itself");
  }
  if (package != "_here_" && package.find("_here_") != std::string::npos) {
    refuse(problems, "D111", mark, fmt::format("'_here_' stands alone, got '{}'", package),
           "drop '_here_.': packages are relative to the including file anyway");
  }
  if (package.find(':') != std::string::npos) {
    refuse(problems, "D111", mark, fmt::format("package rename '{}' is not supported", package),
           "write the final package: group@package");
  }
  size_t begin = 0;
  for (;;) {
    const size_t end = std::min(package.find('.', begin), package.size());
    if (end == begin)
      refuse(problems, "D111", mark, fmt::format("package '{}' has an empty part", package), "write a.b.c");
    if (end == package.size()) return;
    begin = end + 1;
  }
}

/// Splits "path@package" and checks both.
void read_path(std::string text, const Mark& mark, bool has_reference, DefaultsItem& item,
               std::vector<Problem>& problems) {
  if (const size_t sign = text.find('@'); sign != std::string::npos && !has_reference) {
    item.package = text.substr(sign + 1);
    text.resize(sign);
    check_package(*item.package, mark, problems);
  }
  item.path = text;
  if (has_reference) return;
  const std::string_view relative = std::string_view(text).substr(!text.empty() && text[0] == '/' ? 1 : 0);
  if (!is_config_path(relative)) {
    std::string help = "write group/option with letters, digits and _ . - only, without the .yaml extension";
    if (text.find("..") != std::string::npos) help = "write /group/option: a leading / starts at the root";
    refuse(problems, "D103", mark, fmt::format("'{}' is no path of a configuration file", text), help,
           static_cast<int>(std::max<size_t>(text.size(), 1)));
  }
}

void check_option(const std::string& name, const Mark& mark, std::vector<Problem>& problems) {
  if (name == "???" || name.find("${") != std::string::npos) return;
  if (name == "_self_")
    refuse(problems, "D105", mark, "'_self_' is no option of a group", "write '- _self_' as an item of its own");
  std::string help = "name a file of the group, without its .yaml extension";
  if (name.size() > 5 && (name.substr(name.size() - 5) == ".yaml" || name.substr(name.size() - 4) == ".yml")) {
    help = fmt::format("write {}", name.substr(0, name.rfind('.')));
    refuse(problems, "D103", mark, fmt::format("option '{}' is written with its extension", name), help,
           static_cast<int>(name.size()));
  }
  if (!is_config_path(name)) {
    refuse(problems, "D103", mark, fmt::format("'{}' is no option name", name), help,
           static_cast<int>(std::max<size_t>(name.size(), 1)));
  }
}

DefaultsItem read_choice(const Node& map, std::vector<Problem>& problems) {
  const auto& entries = map.map_value().entries();
  if (entries.size() != 1) {
    refuse(problems, "D105", map.mark(), fmt::format("an item with {} keys, need one 'group: option'", entries.size()),
           "start each choice with '- '");
  }
  const MapEntry& entry = entries.front();
  DefaultsItem item;
  item.kind = DefaultsItem::Kind::kChoice;
  item.mark = entry.key_mark;
  std::string key = entry.key;
  for (bool again = true; again;) {
    again = false;
    const size_t blank = key.find(' ');
    if (blank == std::string::npos) break;
    const std::string word = key.substr(0, blank);
    if (word == "optional" || word == "override") {
      (word == "optional" ? item.optional : item.override) = true;
      key = key.substr(key.find_first_not_of(' ', blank));
      again = true;
    }
  }
  read_path(key, entry.key_mark, false, item, problems);
  const Node& value = entry.value;
  item.option_mark = value.mark();
  if (value.is_map()) {
    refuse(problems, "D105", value.mark(),
           fmt::format("choice '{}' names a map, need an option, a list of options or null", entry.key),
           "write the map in the file's body");
  }
  if (value.is_list()) {
    item.option.is_list = true;
    for (const Node& name : value.items()) {
      if (name.is_list() || name.is_map() || name.is_null()) {
        refuse(problems, "D105", name.mark(),
               fmt::format("an option list holds a {}, need names", kind_name(name.kind())), "write [a, b]");
      }
      item.option.names.push_back(scalar_text(name));
      if (item.option.names.back().find("${") != std::string::npos || item.option.names.back() == "???") {
        refuse(problems, "D105", name.mark(),
               fmt::format("'{}' cannot stand in a list of options", item.option.names.back()),
               "give it an item of its own");
      }
      check_option(item.option.names.back(), name.mark(), problems);
    }
  } else if (!value.is_null()) {
    item.option.names.push_back(scalar_text(value));
    check_option(item.option.names.back(), value.mark(), problems);
  }
  return item;
}

DefaultsItem read_item(const Node& node, std::vector<Problem>& problems) {
  if (node.is_map()) return read_choice(node, problems);
  if (!node.is_string()) {
    refuse(problems, "D105", node.mark(),
           fmt::format("an item is a {}, need a name or 'group: option'", kind_name(node.kind())),
           "write '- name', '- group: option' or '- _self_'");
  }
  DefaultsItem item;
  item.mark = item.option_mark = node.mark();
  const std::string& text = node.as_string();
  if (text == "_self_") return item;
  if (text.rfind("_self_@", 0) == 0) {
    refuse(problems, "D105", node.mark(), "_self_ takes no package", "use a '# @package' line at the top of the file",
           static_cast<int>(text.size()));
  }
  item.kind = DefaultsItem::Kind::kConfig;
  std::string path = text;
  if (path.rfind("optional ", 0) == 0) {
    item.optional = true;
    path = path.substr(9);
  }
  if (path.rfind("override ", 0) == 0) {
    refuse(problems, "D105", node.mark(), fmt::format("'{}' names no option", text), "write '- override group: option'",
           static_cast<int>(text.size()));
  }
  const bool has_reference = path.find("${") != std::string::npos;
  if (path.size() > 5 && path.substr(path.size() - 5) == ".yaml") {
    refuse(problems, "D103", node.mark(), fmt::format("'{}' is written with its extension", path),
           fmt::format("write {}", path.substr(0, path.size() - 5)), static_cast<int>(path.size()));
  }
  read_path(path, node.mark(), has_reference, item, problems);
  return item;
}

}  // namespace

std::string Option::str() const {
  if (!is_list) return names.empty() ? "null" : names.front();
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return "[" + out + "]";
}

std::vector<DefaultsItem> read_defaults(const Node& defaults, std::vector<Problem>& problems) {
  std::vector<DefaultsItem> items;
  if (!defaults.is_list()) {
    if (!defaults.is_null()) {
      problems.push_back({"D105", defaults.mark(), "defaults",
                          fmt::format("'defaults' is a {}, need a list", kind_name(defaults.kind())),
                          "start each choice with '- '"});
    }
    return items;
  }
  const DefaultsItem* self = nullptr;
  items.reserve(defaults.items().size());
  for (const Node& node : defaults.items()) {
    try {
      DefaultsItem item = read_item(node, problems);
      if (item.kind == DefaultsItem::Kind::kSelf) {
        if (self != nullptr) {
          refuse(problems, "D112", item.mark, fmt::format("second '_self_', the first is at line {}", self->mark.line),
                 "keep one of the two", 6);
        }
        items.push_back(std::move(item));
        self = &items.back();
        continue;
      }
      items.push_back(std::move(item));
    } catch (const Refused&) {
    }
  }
  return items;
}

}  // namespace aqlm_exp::config
