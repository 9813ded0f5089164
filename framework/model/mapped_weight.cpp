#include "framework/model/mapped_weight.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cstring>

#include "framework/base/error.h"

namespace aqlm_exp::model {

at::ScalarType scalar_type(checkpoint::Dtype dtype, const std::string& name) {
  switch (dtype) {
    case checkpoint::Dtype::kF16:
      return at::kHalf;
    case checkpoint::Dtype::kBF16:
      return at::kBFloat16;
    case checkpoint::Dtype::kF32:
      return at::kFloat;
    case checkpoint::Dtype::kF64:
      return at::kDouble;
    case checkpoint::Dtype::kI8:
      return at::kChar;
    case checkpoint::Dtype::kU8:
      return at::kByte;
    case checkpoint::Dtype::kI16:
      return at::kShort;
    case checkpoint::Dtype::kI32:
      return at::kInt;
    case checkpoint::Dtype::kI64:
      return at::kLong;
    default:
      throw DataError(fmt::format("[load] {}: type {} cannot hold a weight; need F16, BF16, F32 or F64", name,
                                  checkpoint::dtype_name(dtype)));
  }
}

at::Tensor read_tensor(const checkpoint::Checkpoint& files, const std::string& name, int64_t first, int64_t count) {
  const checkpoint::TensorInfo& info = files.at(name);
  const auto bytes = files.bytes(info);
  std::vector<int64_t> shape = info.shape;
  size_t offset = 0;
  if (count >= 0) {
    const int64_t columns = info.shape.back();
    shape = {count, columns};
    offset = static_cast<size_t>(first * columns * checkpoint::dtype_bits(info.dtype) / 8);
  }
  at::Tensor out = at::empty(shape, scalar_type(info.dtype, name));
  if (out.numel() > 0) std::memcpy(out.data_ptr(), bytes.data() + offset, out.nbytes());
  files.release(info);
  return out;
}

MappedWeight::MappedWeight(std::shared_ptr<const checkpoint::Checkpoint> files, std::string name, at::Device device,
                           at::ScalarType dtype, int64_t expert, int64_t first, int64_t count)
    : files_(std::move(files)),
      name_(std::move(name)),
      device_(device),
      dtype_(dtype),
      expert_(expert),
      first_(first),
      rows_(count) {
  const checkpoint::TensorInfo& info = files_->at(name_);
  columns_ = info.shape.back();
  const int64_t all = info.shape[info.shape.size() - 2];
  if (rows_ < 0) rows_ = all;
  if (expert_ >= 0) first_ += expert_ * all;
}

at::Tensor MappedWeight::dequantise() const {
  const c10::NoGradGuard no_grad;
  return read_tensor(*files_, name_, first_, rows_).to(dtype_).to(device_);
}

quant::BitCount MappedWeight::bits() const {
  const int64_t numbers = rows_ * columns_;
  return {.num_weights = numbers, .other_bits = numbers * checkpoint::dtype_bits(files_->at(name_).dtype)};
}

std::unique_ptr<quant::Weight> MappedWeight::to(at::Device device) const {
  auto copy = std::make_unique<MappedWeight>(files_, name_, device, dtype_);
  copy->expert_ = expert_;
  copy->first_ = first_;
  copy->rows_ = rows_;
  return copy;
}

}  // namespace aqlm_exp::model
