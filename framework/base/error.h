// Exceptions of the project and the exit codes they stand for.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace aqlm_exp {

/// Exit codes of both binaries; documented in docs/manual.md, stable.
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,
  kUsage = 2,
  kConfig = 3,
  kInput = 4,
  kFailedTrials = 5,
  kLocked = 6,
  kStorage = 7,
  kStopped = 8,
  kVersion = 9,
  kLauncher = 10,
};

/// Base of every exception thrown on purpose. `what()` reads "where: what we got, what we need, what to try".
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, std::string code, const std::string& message)
      : std::runtime_error(message), exit_code_(exit_code), code_(std::move(code)) {}
  ExitCode exit_code() const noexcept { return exit_code_; }
  /// Machine-readable code such as "T-DTYPE" or "C104"; empty where none is defined.
  const std::string& code() const noexcept { return code_; }

 private:
  ExitCode exit_code_;
  std::string code_;
};

/// A wrong command line: unknown flag, bad override syntax.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message, std::string code = {})
      : Error(ExitCode::kUsage, std::move(code), message) {}
};

/// A configuration the user has to mend.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message, std::string code = {})
      : Error(ExitCode::kConfig, std::move(code), message) {}
};

/// A file or tensor that cannot be used.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message, std::string code = {})
      : Error(ExitCode::kInput, std::move(code), message) {}
};

/// Numbers that cannot be worked with: a Hessian that is not positive definite, NaN in a loss.
class NumericalError : public Error {
 public:
  explicit NumericalError(const std::string& message, std::string code = {})
      : Error(ExitCode::kInput, std::move(code), message) {}
};

/// Space, permission or I/O trouble while writing.
class StorageError : public Error {
 public:
  explicit StorageError(const std::string& message, std::string code = {})
      : Error(ExitCode::kStorage, std::move(code), message) {}
};

/// A bug of ours.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message, std::string code = {})
      : Error(ExitCode::kInternal, std::move(code), message) {}
};

}  // namespace aqlm_exp
