#include "framework/eval/reference_logits.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"

namespace aqlm_exp::eval {
namespace {

constexpr size_t kHeaderBytes = 4096;

class ModelLogits final : public ReferenceLogits {
 public:
  explicit ModelLogits(const model::Model& model) : model_(model) {}
  at::Tensor log_probabilities(int64_t, const at::Tensor& ids) override {
    const c10::NoGradGuard no_grad;
    return at::log_softmax(model_.forward(ids.unsqueeze(0)).squeeze(0), -1);
  }
  std::string source() const override { return "model"; }

 private:
  const model::Model& model_;
};

class RoundedLogits final : public ReferenceLogits {
 public:
  explicit RoundedLogits(std::unique_ptr<ReferenceLogits> from) : from_(std::move(from)) {}
  at::Tensor log_probabilities(int64_t window, const at::Tensor& ids) override {
    return from_->log_probabilities(window, ids).to(at::kHalf).to(at::kFloat);
  }
  std::string source() const override { return from_->source() + " float16"; }

 private:
  std::unique_ptr<ReferenceLogits> from_;
};

/// An open file, closed at the end of its life.
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

void write_all(int fd, const void* data, size_t size, const std::filesystem::path& path) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      throw StorageError(fmt::format("{}: writing reference logits: {}", path.string(), std::strerror(errno)));
    at += written;
    size -= static_cast<size_t>(written);
  }
}

class FileLogits final : public ReferenceLogits {
 public:
  FileLogits(int fd, std::string path, int64_t num_windows, int64_t seq_len, int64_t vocab_size)
      : file_(fd), path_(std::move(path)), num_windows_(num_windows), seq_len_(seq_len), vocab_size_(vocab_size) {}

  at::Tensor log_probabilities(int64_t window, const at::Tensor& ids) override {
    if (window < 0 || window >= num_windows_ || ids.size(0) != seq_len_) {
      throw DataError(fmt::format("{}: window {} of {} tokens; the file has {} windows of {}", path_, window,
                                  ids.size(0), num_windows_, seq_len_));
    }
    at::Tensor half = at::empty({seq_len_, vocab_size_}, at::kHalf);
    auto* at = static_cast<char*>(half.data_ptr());
    auto left = static_cast<size_t>(half.nbytes());
    auto offset = static_cast<off_t>(kHeaderBytes + static_cast<size_t>(window) * left);
    while (left > 0) {
      const ssize_t got = ::pread(file_.get(), at, left, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw DataError(fmt::format("{}: ends inside window {}; delete it and run again", path_, window));
      at += got;
      left -= static_cast<size_t>(got);
      offset += got;
    }
    return half.to(at::kFloat).to(ids.device());
  }
  std::string source() const override { return "file float16"; }

 private:
  Descriptor file_;
  std::string path_;
  int64_t num_windows_, seq_len_, vocab_size_;
};

}  // namespace

std::unique_ptr<ReferenceLogits> logits_from_model(const model::Model& model) {
  return std::make_unique<ModelLogits>(model);
}

std::unique_ptr<ReferenceLogits> rounded_logits(std::unique_ptr<ReferenceLogits> from) {
  return std::make_unique<RoundedLogits>(std::move(from));
}

std::unique_ptr<ReferenceLogits> logits_from_file(const std::filesystem::path& path, const std::string& key) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return nullptr;
    throw DataError(fmt::format("{}: {}", path.string(), std::strerror(errno)));
  }
  std::string header(kHeaderBytes, '\0');
  const ssize_t got = ::pread(fd, header.data(), header.size(), 0);
  struct stat status {};
  nlohmann::json json;
  if (got == static_cast<ssize_t>(kHeaderBytes) && ::fstat(fd, &status) == 0) {
    json = nlohmann::json::parse(header, nullptr, /*allow_exceptions=*/false);
  }
  const bool known = json.is_object() && json.value("format", "") == "aqlm-exp-logits" && json.value("version", 0) == 1;
  if (!known || json.value("key", "") != key) {
    ::close(fd);
    throw DataError(fmt::format("{}: got {}, need reference logits of {}; delete the file and run again", path.string(),
                                known ? "logits of " + json.value("key", "") : "no logits file", key));
  }
  const int64_t windows = json.value("num_windows", int64_t{0}), seq_len = json.value("seq_len", int64_t{0}),
                vocab_size = json.value("vocab_size", int64_t{0});
  const int64_t expected = static_cast<int64_t>(kHeaderBytes) + windows * seq_len * vocab_size * 2;
  if (windows <= 0 || seq_len <= 0 || vocab_size <= 0 || status.st_size != expected) {
    ::close(fd);
    throw DataError(
        fmt::format("{}: {} bytes, need {}; delete the file and run again", path.string(), status.st_size, expected));
  }
  return std::make_unique<FileLogits>(fd, path.string(), windows, seq_len, vocab_size);
}

void write_logits_file(const std::filesystem::path& path, const std::string& key, ReferenceLogits& from,
                       const std::vector<at::Tensor>& windows, int64_t vocab_size) {
  const c10::NoGradGuard no_grad;
  std::filesystem::create_directories(path.parent_path());
  const std::filesystem::path temporary = path.string() + fmt::format(".tmp-{}", ::getpid());
  const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) throw StorageError(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
  try {
    const nlohmann::json json = {{"format", "aqlm-exp-logits"},
                                 {"version", 1},
                                 {"key", key},
                                 {"num_windows", windows.size()},
                                 {"seq_len", windows.front().size(0)},
                                 {"vocab_size", vocab_size}};
    std::string header = json.dump();
    if (header.size() >= kHeaderBytes) throw InternalError("[logits file] header too long");
    header.resize(kHeaderBytes - 1, ' ');
    header.push_back('\n');
    write_all(file.get(), header.data(), header.size(), temporary);
    for (size_t i = 0; i < windows.size(); ++i) {
      const at::Tensor half =
          from.log_probabilities(static_cast<int64_t>(i), windows[i]).to(at::kHalf).cpu().contiguous();
      write_all(file.get(), half.data_ptr(), static_cast<size_t>(half.nbytes()), temporary);
    }
    if (::fsync(file.get()) != 0) throw StorageError(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
    std::filesystem::rename(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace aqlm_exp::eval
