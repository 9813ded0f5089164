// SHA-256, over OpenSSL's libcrypto. Names trials, files and texts.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace aqlm_exp {

/// SHA-256 of bytes that come in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  void update(const void* bytes, size_t size_bytes);
  /// 64 lowercase hex digits; no update() or hex() may follow.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 64 lowercase hex digits.
std::string sha256_hex(std::string_view bytes);
/// Reads the file in pieces of 1 MiB. @throws DataError if it is no regular file, cannot be read or shrinks meanwhile
std::string sha256_file(const std::filesystem::path& file);

}  // namespace aqlm_exp
