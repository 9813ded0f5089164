#include "framework/trial/tensor_file.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::trial {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMagic = "AQTENS01";
constexpr uint64_t kMaxHeaderBytes = 16u << 20;
constexpr size_t kHashDigits = 64;

const std::vector<std::pair<std::string, at::ScalarType>>& known_types() {
  static const std::vector<std::pair<std::string, at::ScalarType>> types = {
      {"f64", at::kDouble}, {"f32", at::kFloat}, {"f16", at::kHalf}, {"bf16", at::kBFloat16}, {"i64", at::kLong},
      {"i32", at::kInt},    {"i16", at::kShort}, {"i8", at::kChar},  {"u8", at::kByte},       {"bool", at::kBool}};
  return types;
}

std::string type_name(at::ScalarType type) {
  for (const auto& [name, known] : known_types()) {
    if (known == type) return name;
  }
  throw InternalError("[tensor file] a dtype that is not known here");
}

at::ScalarType type_of(const std::string& name) {
  for (const auto& [known, type] : known_types()) {
    if (known == name) return type;
  }
  throw DataError("dtype " + name);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Reads exactly `size` bytes. @throws DataError
void read_exactly(int fd, void* to, uint64_t size, Sha256* hash) {
  char* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = ::read(fd, at, std::min<uint64_t>(size, 64u << 20));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw DataError(got == 0 ? "it ends too early" : std::strerror(errno));
    if (hash != nullptr) hash->update(at, static_cast<size_t>(got));
    at += got;
    size -= static_cast<uint64_t>(got);
  }
}

TensorMap read_checked(int fd, uint64_t file_bytes, const std::string& key, at::Device device) {
  Sha256 hash;
  char magic[kMagic.size()];
  uint64_t header_bytes = 0;
  read_exactly(fd, magic, sizeof magic, &hash);
  read_exactly(fd, &header_bytes, sizeof header_bytes, &hash);
  if (std::string_view(magic, sizeof magic) != kMagic) throw DataError("it is no tensor file");
  if (header_bytes > kMaxHeaderBytes || header_bytes > file_bytes) throw DataError("its header has no sound length");
  std::string header(header_bytes, '\0');
  read_exactly(fd, header.data(), header_bytes, &hash);
  const Json json = Json::parse(header);
  if (json.at("key") != key) throw DataError("it belongs to other inputs or another build");
  uint64_t left = file_bytes - sizeof magic - sizeof header_bytes - header_bytes;
  TensorMap tensors;
  for (const Json& item : json.at("tensors")) {
    const auto shape = item.at("shape").get<std::vector<int64_t>>();
    const at::ScalarType type = type_of(item.at("dtype").get<std::string>());
    uint64_t bytes = c10::elementSize(type);
    for (int64_t size : shape) {
      if (size < 0 || (size > 0 && bytes > left / static_cast<uint64_t>(size)))
        throw DataError("a shape beyond its end");
      bytes *= static_cast<uint64_t>(size);
    }
    at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
    read_exactly(fd, tensor.data_ptr(), bytes, &hash);
    left -= bytes;
    tensors[item.at("name").get<std::string>()] = tensor.to(device);
  }
  std::string stored(kHashDigits, '\0');
  if (left != kHashDigits) throw DataError("its length is not what its header says");
  read_exactly(fd, stored.data(), kHashDigits, nullptr);
  if (hash.hex() != stored) throw DataError("its SHA-256 differs");
  return tensors;
}

}  // namespace

uint64_t tensor_file_bytes(const TensorMap& tensors) {
  uint64_t bytes = 4096;
  for (const auto& [name, tensor] : tensors) bytes += tensor.nbytes();
  return bytes;
}

void write_tensor_file(const std::filesystem::path& path, const std::string& key, const TensorMap& tensors) {
  Json json = {{"key", key}, {"tensors", Json::array()}};
  for (const auto& [name, tensor] : tensors) {
    json["tensors"].push_back(
        {{"name", name}, {"dtype", type_name(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
  }
  const std::string header = json.dump();
  const uint64_t header_bytes = header.size();
  write_file_atomically(path, [&](const ByteSink& sink) {
    Sha256 hash;
    const auto put = [&](const void* data, size_t size) {
      hash.update(data, size);
      sink({static_cast<const std::byte*>(data), size});
    };
    put(kMagic.data(), kMagic.size());
    put(&header_bytes, sizeof header_bytes);
    put(header.data(), header.size());
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor host = tensor.cpu().contiguous();
      put(host.data_ptr(), host.nbytes());
    }
    const std::string digits = hash.hex();
    sink(std::as_bytes(std::span(digits.data(), digits.size())));
  });
}

std::optional<TensorMap> read_tensor_file(const std::filesystem::path& path, const std::string& key,
                                          at::Device device) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  try {
    return read_checked(file.get(), static_cast<uint64_t>(status.st_size), key, device);
  } catch (const std::exception& error) {
    log_warning("{}: {}; it is made again", path.string(), error.what());
    ::unlink(path.c_str());
    return std::nullopt;
  }
}

}  // namespace aqlm_exp::trial
