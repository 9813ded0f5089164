// A model's tensors as a checkpoint names and stores them: what all savers share.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "framework/checkpoint/write_checkpoint.h"
#include "framework/model/model.h"

namespace aqlm_exp::model {

class TensorExport {
 public:
  /// Adds every tensor of the model in the order of its forward pass, dense ones in float16; `quantised` adds those of
  /// a linear whose weight is quantised (its bias follows by itself).
  /// @throws NumericalError for a dense value beyond float16
  TensorExport(const Model& model, const std::function<void(TensorExport&, const Linear&)>& quantised);

  /// A tensor made when it is written: `make` may be called later, the model must live as long.
  void add(const std::string& name, at::ScalarType dtype, std::vector<int64_t> shape, std::function<at::Tensor()> make);
  /// As float16, checked for values that it cannot hold when it is written.
  void add_half(const std::string& name, std::vector<int64_t> shape, std::function<at::Tensor()> make);

  const std::vector<checkpoint::TensorToWrite>& tensors() const { return tensors_; }
  /// Names of all dense parameters ("model.norm.weight") in the order of tensors().
  const std::vector<std::string>& dense_names() const { return dense_names_; }
  /// Module paths of linears that stayed dense, routers too ("model.layers.0.mlp.gate").
  const std::vector<std::string>& dense_modules() const { return dense_modules_; }

 private:
  void add_dense(const std::string& name, const at::Tensor& tensor);
  void add_norm(const std::string& name, const at::Tensor& tensor);
  void add_linear(const Linear& linear);
  void add_block(const DecoderBlock& block, int64_t index);

  const Model& model_;
  std::function<void(TensorExport&, const Linear&)> quantised_;
  std::vector<checkpoint::TensorToWrite> tensors_;
  std::vector<std::string> dense_names_, dense_modules_;
};

/// The source's config.json with the given quantization_config (a JSON text) and float16 as its type.
/// @throws DataError as load_model_config
std::string export_config(const Model& model, const std::filesystem::path& source, const std::string& quantisation);

}  // namespace aqlm_exp::model
