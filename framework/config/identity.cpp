#include "framework/config/identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <system_error>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/config/canonical.h"
#include "framework/config/check.h"

namespace aqlm_exp::config {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCacheHeader = "aqlm-exp fingerprints 1";
constexpr int64_t kSecond = 1000000000;  // ns
constexpr size_t kMaxFiles = 100000;

int64_t nanoseconds(const struct timespec& time) { return int64_t{time.tv_sec} * kSecond + time.tv_nsec; }

struct FileState {
  std::string key;
  int64_t newest_ns = 0;
  int64_t size_bytes = 0;
};

FileState state_of(const fs::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) throw DataError(fmt::format("{}: no such file", file.string()));
  FileState out;
  const int64_t modified = nanoseconds(info.st_mtim), changed = nanoseconds(info.st_ctim);
  out.key = fmt::format("{} {} {} {} {}", static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino),
                        static_cast<int64_t>(info.st_size), modified, changed);
  out.newest_ns = std::max(modified, changed);
  out.size_bytes = info.st_size;
  return out;
}

bool is_weights_file(const fs::path& file) { return file.extension() == ".safetensors" || file.extension() == ".json"; }

std::map<std::string, std::string> read_cache(const fs::path& file) {
  std::map<std::string, std::string> out;
  std::ifstream in(file);
  std::string line;
  if (!std::getline(in, line) || line != kCacheHeader) return out;
  while (std::getline(in, line)) {
    const size_t blank = line.rfind(' ');
    if (blank == std::string::npos || line.size() - blank - 1 != 64) continue;
    out[line.substr(0, blank)] = line.substr(blank + 1);
  }
  return out;
}

}  // namespace

std::string identity_text(const IdentityParts& parts) {
  Node identity = Node::map();
  NodeMap& map = identity.map_value();
  map.set("v", Node::integer(kIdentityVersion));
  Node components = Node::map();
  for (const auto& [role, name] : parts.components) components.map_value().set(role, Node::string(name));
  map.set("components", std::move(components));
  map.set("config", parts.config);
  Node inputs = Node::map();
  for (const auto& [key, fingerprint] : parts.inputs) inputs.map_value().set(key, Node::string(fingerprint));
  map.set("inputs", std::move(inputs));
  map.set("repeat", Node::integer(parts.repeat));
  return canonical_json(identity);
}

std::string trial_id(const IdentityParts& parts) { return sha256_hex(identity_text(parts)); }

Fingerprints::Fingerprints(fs::path cache_file) : cache_file_(std::move(cache_file)) {
  if (!cache_file_.empty()) cache_ = read_cache(cache_file_);
}

std::string Fingerprints::of(const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) {
    throw DataError(
        fmt::format("{}: no such file or folder; a path in a YAML file is relative to that file, on the "
                    "command line to the working directory, and builtin:... names what is installed",
                    path.string()));
  }
  if (const auto done = done_.find(real.string()); done != done_.end()) return done->second;
  return done_[real.string()] = fs::is_directory(real, error) ? of_folder(real) : of_file(real);
}

std::string Fingerprints::of_file(const fs::path& file) {
  const FileState before = state_of(file);
  if (!verify_) {
    for (const auto* known : {&cache_, &added_}) {
      if (const auto found = known->find(before.key); found != known->end()) {
        ++num_cached_;
        return found->second;
      }
    }
  }
  const std::string hash = sha256_file(file);
  ++num_hashed_;
  if (state_of(file).key != before.key) {
    throw DataError(fmt::format("{}: changed while it was read; try again when nothing writes to it", file.string()));
  }
  const int64_t now_ns = int64_t{std::time(nullptr)} * kSecond;
  if (now_ns - before.newest_ns > 2 * kSecond) added_[before.key] = hash;
  return hash;
}

std::string Fingerprints::of_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_regular_file(error)) files.push_back(entry.path());
    if (files.size() > kMaxFiles) throw DataError(fmt::format("{}: more than {} files", folder.string(), kMaxFiles));
  }
  if (error) throw DataError(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  if (std::any_of(files.begin(), files.end(), is_weights_file)) {
    files.erase(std::remove_if(files.begin(), files.end(), [](const fs::path& file) { return !is_weights_file(file); }),
                files.end());
  }
  if (files.empty()) throw DataError(fmt::format("{}: the folder holds no files to fingerprint", folder.string()));
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.filename() < b.filename(); });
  Node::List rows;
  for (const fs::path& file : files) {
    rows.push_back(Node::list({Node::string(file.filename().string()), Node::integer(state_of(file).size_bytes),
                               Node::string(of_file(file))}));
  }
  return sha256_hex(canonical_json(Node::list(std::move(rows))));
}

void Fingerprints::save() {
  if (cache_file_.empty() || added_.empty()) return;
  std::error_code error;
  fs::create_directories(cache_file_.parent_path(), error);
  std::map<std::string, std::string> all = read_cache(cache_file_);
  for (const auto& [key, hash] : added_) all[key] = hash;
  const fs::path part = cache_file_.string() + fmt::format(".{}", ::getpid());
  {
    std::ofstream out(part, std::ios::trunc);
    out << kCacheHeader << "\n";
    for (const auto& [key, hash] : all) out << key << " " << hash << "\n";
    out.flush();
    if (!out) {
      fs::remove(part, error);
      return;
    }
  }
  fs::rename(part, cache_file_, error);
  if (error) fs::remove(part, error);
  cache_ = std::move(all);
  added_.clear();
}

fs::path Fingerprints::default_cache_file() {
  if (const char* folder = std::getenv("XDG_CACHE_HOME"); folder != nullptr && *folder == '/') {
    return fs::path(folder) / "aqlm-exp" / "fingerprints.txt";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".cache" / "aqlm-exp" / "fingerprints.txt";
  }
  return {};
}

std::map<std::string, std::string> fingerprint_inputs(const Node& coerced, const Object& schema,
                                                      Fingerprints& fingerprints) {
  std::map<std::string, std::string> out;
  for (const auto& [key, path] : input_paths(coerced, schema)) {
    try {
      out[key] = fingerprints.of(path);
    } catch (const DataError& e) {
      const Node* node = coerced.at(key);
      throw DataError(fmt::format("{}: {}: {}", node == nullptr ? "" : node->mark().str(), key, e.what()));
    }
  }
  return out;
}

}  // namespace aqlm_exp::config
