// Perplexity conventions by name: the same model and text give quite different numbers under different ones, so a
// number never travels without its convention.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/config/reader.h"

namespace aqlm_exp::eval {

struct Convention {
  std::string name = "gptq";  ///< see read_convention
  int64_t seq_len = 2048;     ///< tokens in a window
  int64_t stride = 2048;      ///< tokens between window starts
  int64_t max_windows = 0;    ///< 0: all
  /// "gptq-1024 first-24": what tables print and what must agree before two numbers are compared.
  std::string tag() const;
  /// One sentence: window, stride, BOS rule, scored tokens, mean.
  std::string description() const;
};

/// Keys convention, seq_len, max_windows. Known conventions:
/// `gptq`: one tokenisation of the whole text without added tokens, windows of seq_len without overlap, the tail is
/// dropped; a window's seq_len − 1 predictions are averaged, then windows, then exp. Source: IST-DASLab/gptq.
Convention read_convention(config::Reader& in);

/// Start of each window in a text of num_tokens. @throws DataError if not even one fits
std::vector<int64_t> window_starts(const Convention& convention, int64_t num_tokens);

}  // namespace aqlm_exp::eval
