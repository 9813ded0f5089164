// Named makers of one interface. Filled by an explicit list in the room's builtin.cpp; one maker is both the way to
// build a component from its keys and, run with a describing Reader, the schema of these keys.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp::config {

class Reader;

template <typename Interface>
class Registry {
 public:
  using Maker = std::function<std::unique_ptr<Interface>(Reader&)>;
  struct Entry {
    std::string name;
    std::string doc;
    Maker maker;
  };

  /// @throws InternalError if the name is taken
  void add(std::string name, std::string doc, Maker maker) {
    if (find(name) != nullptr) throw InternalError("[Registry] \"" + name + "\" is registered twice");
    entries_.push_back({std::move(name), std::move(doc), std::move(maker)});
  }
  const Entry* find(std::string_view name) const {
    for (const Entry& entry : entries_) {
      if (entry.name == name) return &entry;
    }
    return nullptr;
  }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace aqlm_exp::config
