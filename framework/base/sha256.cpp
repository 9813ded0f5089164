#include "framework/base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    throw InternalError("[Sha256] libcrypto offers no SHA-256");
  }
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) { update(bytes.data(), bytes.size()); }

void Sha256::update(const void* bytes, size_t size_bytes) {
  if (EVP_DigestUpdate(state_->context, bytes, size_bytes) != 1) throw InternalError("[Sha256] update failed");
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(state_->context, digest.data(), &size) != 1 || size != digest.size()) {
    throw InternalError("[Sha256] final failed");
  }
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * digest.size());
  for (const unsigned char byte : digest) {
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& file) {
  // O_NONBLOCK: opening a FIFO must not hang; the check below then refuses it.
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw DataError(file.string() + ": cannot be opened: " + std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    throw DataError(file.string() + ": got something that is no regular file, need one to hash");
  }
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  int64_t total_bytes = 0;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(file.string() + ": cannot be read: " + std::strerror(errno));
    if (got == 0) break;
    hash.update(buffer.data(), static_cast<size_t>(got));
    total_bytes += got;
  }
  if (total_bytes != static_cast<int64_t>(info.st_size)) {
    throw DataError(file.string() + ": changed while it was read: " + std::to_string(info.st_size) +
                    " bytes at the start, " + std::to_string(total_bytes) + " read; try again");
  }
  return hash.hex();
}

}  // namespace aqlm_exp
