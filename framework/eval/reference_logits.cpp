#include "framework/eval/reference_logits.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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
  at::Tensor log_probabilities(int64_t window, const Window& of, int64_t first, int64_t count) override {
    const c10::NoGradGuard no_grad;
    if (window != window_ || !of.ids.is_same(ids_)) {
      hidden_ = hidden_states(model_, of.ids.slice(0, 0, of.last_position + 1));
      window_ = window;
      ids_ = of.ids;
    }
    const int64_t begin = of.first_target - 1 + first;
    return at::log_softmax(model_.logits(hidden_.slice(0, begin, begin + count)), -1);
  }
  std::string source() const override { return "model"; }

 private:
  const model::Model& model_;
  int64_t window_ = -1;  // whose hidden states are kept
  at::Tensor ids_, hidden_;
};

class RoundedLogits final : public ReferenceLogits {
 public:
  explicit RoundedLogits(std::unique_ptr<ReferenceLogits> from) : from_(std::move(from)) {}
  at::Tensor log_probabilities(int64_t window, const Window& of, int64_t first, int64_t count) override {
    return from_->log_probabilities(window, of, first, count).to(at::kHalf).to(at::kFloat);
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
  FileLogits(int fd, std::string path, const WindowSet& set, int64_t vocab_size)
      : file_(fd), path_(std::move(path)), vocab_size_(vocab_size) {
    int64_t start = 0;
    for (const Window& window : set.windows) {
      starts_.push_back(start);
      start += window.num_positions();
    }
    starts_.push_back(start);
  }

  at::Tensor log_probabilities(int64_t window, const Window& of, int64_t first, int64_t count) override {
    if (window < 0 || window + 1 >= static_cast<int64_t>(starts_.size()) || first + count > of.num_positions() ||
        starts_[static_cast<size_t>(window) + 1] - starts_[static_cast<size_t>(window)] != of.num_positions()) {
      throw DataError(fmt::format("{}: window {} with {} positions; the file was opened for {} other windows", path_,
                                  window, of.num_positions(), starts_.size() - 1));
    }
    at::Tensor half = at::empty({count, vocab_size_}, at::kHalf);
    auto* at = static_cast<char*>(half.data_ptr());
    auto left = static_cast<size_t>(half.nbytes());
    auto offset = static_cast<off_t>(kHeaderBytes) + static_cast<off_t>(starts_[static_cast<size_t>(window)] + first) *
                                                         static_cast<off_t>(vocab_size_) * 2;
    while (left > 0) {
      const ssize_t got = ::pread(file_.get(), at, left, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw DataError(fmt::format("{}: ends inside window {}; delete it and run again", path_, window));
      at += got;
      left -= static_cast<size_t>(got);
      offset += got;
    }
    return half.to(of.ids.device()).to(at::kFloat);
  }
  std::string source() const override { return "file float16"; }

 private:
  Descriptor file_;
  std::string path_;
  int64_t vocab_size_;
  std::vector<int64_t> starts_;  // first position of each window, and the number of all
};

}  // namespace

std::unique_ptr<ReferenceLogits> logits_from_model(const model::Model& model) {
  return std::make_unique<ModelLogits>(model);
}

std::unique_ptr<ReferenceLogits> rounded_logits(std::unique_ptr<ReferenceLogits> from) {
  return std::make_unique<RoundedLogits>(std::move(from));
}

at::Tensor hidden_states(const model::Model& model, const at::Tensor& ids) {
  at::Tensor hidden = model.embed(ids.unsqueeze(0));
  for (const model::DecoderBlock& block : model.blocks) hidden = block.forward(hidden, *model.rotary);
  return hidden.squeeze(0);
}

int64_t positions_at_once(int64_t vocab_size) { return std::max<int64_t>(1, (int64_t{128} << 20) / 4 / vocab_size); }

std::unique_ptr<ReferenceLogits> logits_from_file(const std::filesystem::path& path, const std::string& key,
                                                  const WindowSet& set) {
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
  const bool known = json.is_object() && json.value("format", "") == "aqlm-exp-logits" && json.value("version", 0) == 2;
  if (!known || json.value("key", "") != key) {
    ::close(fd);
    throw DataError(fmt::format("{}: got {}, need reference logits of {}; delete the file and run again", path.string(),
                                known ? "logits of " + json.value("key", "") : "no logits file", key));
  }
  const int64_t positions = json.value("num_positions", int64_t{0}), vocab_size = json.value("vocab_size", int64_t{0});
  const int64_t expected = static_cast<int64_t>(kHeaderBytes) + set.num_positions() * vocab_size * 2;
  if (vocab_size <= 0 || positions != set.num_positions() || status.st_size != expected) {
    ::close(fd);
    throw DataError(fmt::format("{}: {} positions in {} bytes, need {} in {}; delete the file and run again",
                                path.string(), positions, status.st_size, set.num_positions(), expected));
  }
  return std::make_unique<FileLogits>(fd, path.string(), set, vocab_size);
}

void write_logits_file(const std::filesystem::path& path, const std::string& key, ReferenceLogits& from,
                       const WindowSet& set, int64_t vocab_size) {
  const c10::NoGradGuard no_grad;
  std::filesystem::create_directories(path.parent_path());
  const std::filesystem::path temporary = path.string() + fmt::format(".tmp-{}", ::getpid());
  const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) throw StorageError(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
  try {
    const nlohmann::json json = {{"format", "aqlm-exp-logits"},
                                 {"version", 2},
                                 {"key", key},
                                 {"num_positions", set.num_positions()},
                                 {"vocab_size", vocab_size}};
    std::string header = json.dump();
    if (header.size() >= kHeaderBytes) throw InternalError("[logits file] header too long");
    header.resize(kHeaderBytes - 1, ' ');
    header.push_back('\n');
    write_all(file.get(), header.data(), header.size(), temporary);
    const int64_t step = positions_at_once(vocab_size);
    for (size_t i = 0; i < set.windows.size(); ++i) {
      const Window& window = set.windows[i];
      for (int64_t first = 0; first < window.num_positions(); first += step) {
        const int64_t count = std::min(step, window.num_positions() - first);
        const at::Tensor half =
            from.log_probabilities(static_cast<int64_t>(i), window, first, count).to(at::kHalf).cpu().contiguous();
        write_all(file.get(), half.data_ptr(), static_cast<size_t>(half.nbytes()), temporary);
      }
    }
    if (::fsync(file.get()) != 0) throw StorageError(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
    std::filesystem::rename(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace aqlm_exp::eval
