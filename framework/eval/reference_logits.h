// Log-probabilities of the unquantised model, window by window: from the model itself, or from a file that one trial of
// a sweep writes and the others read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/eval/windows.h"
#include "framework/model/model.h"

namespace aqlm_exp::eval {

class ReferenceLogits {
 public:
  virtual ~ReferenceLogits() = default;
  /// @param window  index of the window `of`
  /// @param first  position within the window's compared ones, 0-based; count: how many from there
  /// @return natural log-probabilities [count, vocab_size] float32
  virtual at::Tensor log_probabilities(int64_t window, const Window& of, int64_t first, int64_t count) = 0;
  /// "model" or "file float16": how the numbers came, for the result.
  virtual std::string source() const = 0;
};

/// Hidden states behind the last block. @param ids [tokens] int64 → [tokens, hidden_size]
at::Tensor hidden_states(const model::Model& model, const at::Tensor& ids);

/// Positions whose distributions over a vocabulary are held at once: 128 MiB of float32.
int64_t positions_at_once(int64_t vocab_size);

/// Computes each window with `model`, which must outlive the result.
std::unique_ptr<ReferenceLogits> logits_from_model(const model::Model& model);

/// What `from` gives, rounded as a file would have it.
std::unique_ptr<ReferenceLogits> rounded_logits(std::unique_ptr<ReferenceLogits> from);

/// The file format: one line of JSON {"format":"aqlm-exp-logits","version":2,"key":...,"num_positions":n,
/// "vocab_size":v} padded with blanks to 4096 bytes, then n·v float16 log-probabilities of the compared positions,
/// window after window, row-major, little-endian. Rounding to float16 moves a KL of 0.01 nats by less than 1e-5 (test
/// ReferenceFile.RoundingBarelyMovesKl).
/// Reads `path`; null if it does not exist. @throws DataError if it is damaged or its key is another one
std::unique_ptr<ReferenceLogits> logits_from_file(const std::filesystem::path& path, const std::string& key,
                                                  const WindowSet& set);

/// Writes such a file durably: a temporary beside it, fsync, rename. @throws StorageError
void write_logits_file(const std::filesystem::path& path, const std::string& key, ReferenceLogits& from,
                       const WindowSet& set, int64_t vocab_size);

}  // namespace aqlm_exp::eval
