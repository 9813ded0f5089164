// A dense weight that stays in its checkpoint file: each use reads it anew. Models larger than the memory are walked
// block by block this way, while the file's pages come and go.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "framework/checkpoint/checkpoint.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::model {

class MappedWeight final : public quant::Weight {
 public:
  /// @param files kept open as long as the weight lives
  /// @param name tensor of `files`, [out_features, in_features], or [num_experts, rows, in_features] with `expert` >= 0
  /// @param first, count rows of the (expert's) matrix; count < 0: all
  MappedWeight(std::shared_ptr<const checkpoint::Checkpoint> files, std::string name, at::Device device,
               at::ScalarType dtype, int64_t expert = -1, int64_t first = 0, int64_t count = -1);

  std::string format() const override { return "dense"; }
  int64_t out_features() const override { return rows_; }
  int64_t in_features() const override { return columns_; }
  at::Tensor dequantise() const override;
  quant::BitCount bits() const override;
  bool is_quantised() const override { return false; }
  std::unique_ptr<Weight> to(at::Device device) const override;

 private:
  std::shared_ptr<const checkpoint::Checkpoint> files_;
  std::string name_;
  at::Device device_;
  at::ScalarType dtype_;
  int64_t expert_, first_, rows_, columns_;
};

/// The type of a stored tensor. @throws DataError for one that no weight comes in
at::ScalarType scalar_type(checkpoint::Dtype dtype, const std::string& name);

/// A copy of a stored tensor's leading-dimension slice as it is stored, on the CPU.
/// @param first, count along the flattened leading dimensions of a [..., columns] tensor; count < 0: all, in its shape
at::Tensor read_tensor(const checkpoint::Checkpoint& files, const std::string& name, int64_t first = 0,
                       int64_t count = -1);

}  // namespace aqlm_exp::model
