// How each linear is to be stored by a scalar method: quant.nbits and quant.group_size, and what quant.overrides says
// of linears by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "framework/config/reader.h"
#include "framework/method/method.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

struct ScalarFormat {
  int64_t nbits = 4;
  int64_t group_size = 128;  ///< -1: one group per row
  bool skip = false;         ///< stays as it is
};

class ScalarFormats {
 public:
  /// What a method can store, and its customary group size.
  struct Limits {
    int64_t min_nbits = 2, max_nbits = 8;
    int64_t group_size = 128;  ///< when the configuration names none
    int64_t min_group_size = -1, max_group_size = int64_t{1} << 20;
  };
  /// Reads the section quant of the config's root.
  ScalarFormats(config::Reader& root, const Limits& limits);

  /// The last override whose regular expression occurs in `linear` decides each of its keys.
  /// @param linear "model.layers.0.self_attn.q_proj"
  ScalarFormat at(const std::string& linear) const;
  /// @throws ConfigError if an override matches no linear of the model
  void check(const model::Model& model) const;
  /// "4 bits g128", "3 bits per row, 2 overrides"
  std::string str() const;
  const ScalarFormat& common() const { return common_; }
  /// The common format and those of the overrides.
  std::vector<quant::Scheme> schemes(quant::Scheme::Kind kind, int64_t axis = 1) const;

 private:
  struct Override {
    std::string match;
    std::regex pattern;
    std::optional<int64_t> nbits, group_size;
    bool skip = false;
  };
  ScalarFormat common_;
  std::vector<Override> overrides_;
};

/// The loop of methods that look at one weight at a time and need no calibration: every linear of every block that is
/// not skipped gets the weight that `make` returns for it, and a report. `make` may add metrics to the linear's report
/// by filling the map it is given.
void quantise_each_linear(
    model::Model& model, const ScalarFormats& formats, Context& context,
    const std::function<std::shared_ptr<quant::Weight>(const at::Tensor& original, const ScalarFormat& format,
                                                       std::map<std::string, double>& metrics)>& make);

}  // namespace aqlm_exp::method
