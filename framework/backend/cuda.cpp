// The GPU's kernels. `cuda` has additive codes of up to 8 bits (any number of codebooks up to 16), 1x9 to 2x16, and
// scalar codes of 4, 3 and 2 bits; `cuda_generic` has every additive code. Kernels compute in float16 with float32
// sums; float32 and bfloat16 activations are rounded to float16 on their way in.
//
// Prompts: a chunk of rows that stays in the L2 cache becomes dense and goes to the library's matrix product, one chunk
// after the other; no dense copy of the model exists.
#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/backend/backend.h"
#include "framework/backend/device_clock.h"
#include "framework/backend/flat_op.h"
#include "framework/backend/operands.h"
#include "framework/base/error.h"
#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/scalar_matvec/scalar_cuda.h"

namespace aqlm_exp::backend {
namespace {

using additive_matvec::AdditiveCudaCall;
using additive_matvec::AdditiveShape;
using kernels::Status;
using Kind = quant::Scheme::Kind;
using WeightPtr = std::shared_ptr<const quant::Weight>;

constexpr int64_t kChunkBytes = int64_t{32} << 20;  // of dense float16 rows: they must stay in L2 (design/gate.md)
constexpr int64_t kMatvecTokens = 64;               // above: dense chunks

void require_ok(Status status, const std::string& kernel) {
  if (status == Status::kOk) return;
  throw InternalError(fmt::format("[backend] {}: {}", kernel, kernels::status_name(status)));
}

const void* address(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
int64_t bytes_of(const at::Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; }

at::Tensor half_on(const at::Tensor& tensor, at::Device device) {
  if (!tensor.defined()) return {};
  return tensor.detach().to(device, at::kHalf).contiguous();
}

class CudaOp : public FlatOp {
 protected:
  CudaOp(const quant::Weight& weight, const at::Tensor& bias, at::Device device)
      : FlatOp(weight.out_features(), weight.in_features(), device, at::kHalf), bias_(half_on(bias, device)) {}
  const at::Tensor& bias() const { return bias_; }

  /// Dense float16 rows [begin, end) into `out`, by a kernel in the stream.
  virtual Status dequantise(int64_t begin, int64_t end, void* out, void* stream) const = 0;
  /// x with its columns in the order of the dense rows.
  virtual at::Tensor prompt_input(const at::Tensor& x) const { return x; }

  void prompt(const at::Tensor& x, at::Tensor& y) const {
    const int64_t fitting = kChunkBytes / 2 / in_features() / 128 * 128;
    const int64_t chunk_rows = std::min(std::max<int64_t>(fitting, 128), out_features());
    const at::Tensor prepared = prompt_input(x);
    at::Tensor chunk = at::empty({chunk_rows, in_features()}, x.options());
    void* stream = current_stream(device());
    for (int64_t row = 0; row < out_features(); row += chunk_rows) {
      const int64_t rows = std::min(chunk_rows, out_features() - row);
      require_ok(dequantise(row, row + rows, chunk.mutable_data_ptr(), stream), kernel());
      at::Tensor part = y.narrow(1, row, rows);
      at::mm_out(part, prepared, chunk.narrow(0, 0, rows).t());
    }
    if (bias_.defined()) y.add_(bias_);
  }

 private:
  at::Tensor bias_;
};

class AdditiveOp : public CudaOp {
 public:
  int64_t resident_bytes() const override { return bytes_of(codes_) + bytes_of(books_) + bytes_of(scales_); }
  const AdditiveShape& shape() const { return shape_; }
  AdditiveCudaCall call(const at::Tensor& x, at::Tensor& y) const {
    AdditiveCudaCall call = weights(current_stream(device()));
    call.bias = address(bias());
    call.x = x.const_data_ptr();
    call.y = y.mutable_data_ptr();
    call.batch = x.size(0);
    return call;
  }

 protected:
  AdditiveOp(const quant::AdditiveWeight& weight, const at::Tensor& bias)
      : CudaOp(weight, bias, weight.codes().device()),
        shape_(additive_shape(weight)),
        codes_(natural_codes(weight)),
        books_(half_on(weight.codebooks(), weight.codes().device())),
        scales_(half_on(weight.scales().flatten(), weight.codes().device())) {}
  AdditiveCudaCall weights(void* stream) const {
    AdditiveCudaCall call;
    call.codes = codes_.const_data_ptr();
    call.codebooks = books_.const_data_ptr();
    call.scales = scales_.const_data_ptr();
    call.stream = stream;
    call.programmatic = true;
    return call;
  }
  /// Tokens [done, done + count) of a call.
  AdditiveCudaCall part(AdditiveCudaCall call, int64_t done, int64_t count) const {
    call.x = static_cast<const char*>(call.x) + done * in_features() * 2;
    call.y = static_cast<char*>(call.y) + done * out_features() * 2;
    call.batch = count;
    return call;
  }
  void set_codes(at::Tensor codes) { codes_ = std::move(codes); }

 private:
  AdditiveShape shape_;
  at::Tensor codes_, books_, scales_;
};

/// Codes of up to 8 bits, packed for the look-up and tensor-core kernels.
class PackedOp final : public AdditiveOp {
 public:
  PackedOp(const quant::AdditiveWeight& weight, const at::Tensor& bias) : AdditiveOp(weight, bias) {
    const c10::DeviceGuard guard(device());
    const at::Tensor natural = natural_codes(weight);
    at::Tensor packed = at::empty({additive_cuda_packed_bytes(shape())}, natural.options());
    require_ok(
        additive_cuda_pack(shape(), natural.const_data_ptr(), packed.mutable_data_ptr(), current_stream(device())),
        "cuda_pack");
    set_codes(std::move(packed));
    has_mma_ = additive_mma_cuda_supports(shape(), 3) == Status::kOk;
  }
  std::string kernel() const override { return "cuda_lookup"; }
  /// Tokens that a launch of several linears takes.
  int64_t fused_tokens() const { return has_mma_ ? 1 : 2; }
  std::string kernel_for(int64_t tokens) const override {
    if (tokens <= lookup_tokens()) return "cuda_lookup";
    return has_mma_ && tokens <= kMatvecTokens ? "cuda_mma" : "cuda_dequantise_gemm";
  }

 private:
  /// Two tokens take twice the look-ups of one: 15.2 us where the tensor-core kernel takes 13.0. Without that one two
  /// at a time are faster than dense chunks up to here (2x8: 8 us a pair against 60 us and more, docs/kernels.md).
  int64_t lookup_tokens() const { return has_mma_ ? 1 : 8; }
  void run(const at::Tensor& x, at::Tensor& y) const override {
    const int64_t tokens = x.size(0);
    if (tokens > (has_mma_ ? kMatvecTokens : lookup_tokens())) return prompt(x, y);
    const AdditiveCudaCall all = call(x, y);
    if (tokens > lookup_tokens()) return require_ok(additive_mma_cuda_f16(shape(), all), "cuda_mma");
    for (int64_t done = 0; done < tokens; done += 2) {
      require_ok(additive_lookup_cuda_f16(shape(), part(all, done, std::min<int64_t>(2, tokens - done))), kernel());
    }
  }
  Status dequantise(int64_t begin, int64_t end, void* out, void* stream) const override {
    return additive_dequantise_packed_cuda_f16(shape(), weights(stream), begin, end, out);
  }

  bool has_mma_ = false;
};

/// Codes as the checkpoint has them: 9 to 16 bits through L1 and L2 into tensor cores, or any code by the generic
/// kernel.
class NaturalOp final : public AdditiveOp {
 public:
  NaturalOp(const quant::AdditiveWeight& weight, const at::Tensor& bias, bool generic)
      : AdditiveOp(weight, bias), generic_(generic) {}
  std::string kernel() const override { return generic_ ? "cuda_generic" : "cuda_gather"; }
  std::string kernel_for(int64_t tokens) const override {
    return tokens > max_tokens() ? "cuda_dequantise_gemm" : kernel();
  }

 private:
  int64_t max_tokens() const { return generic_ ? 8 : kMatvecTokens; }
  void run(const at::Tensor& x, at::Tensor& y) const override {
    if (x.size(0) > max_tokens()) return prompt(x, y);
    const AdditiveCudaCall c = call(x, y);
    require_ok(generic_ ? additive_generic_cuda_f16(shape(), c) : additive_gather_cuda_f16(shape(), c), kernel());
  }
  Status dequantise(int64_t begin, int64_t end, void* out, void* stream) const override {
    const int64_t size = shape().out_group_size;
    if (begin % size != 0) return Status::kUnsupportedShape;
    return additive_dequantise_natural_cuda_f16(shape(), weights(stream), begin, end, out);
  }

  bool generic_;
};

class ScalarOp final : public CudaOp {
 public:
  ScalarOp(const quant::Weight& weight, const at::Tensor& bias, at::Device device) : CudaOp(weight, bias, device) {
    const ScalarOperands operands = scalar_operands(weight);
    shape_ = operands.shape;
    at::Tensor codes = at::empty({scalar_cuda_packed_code_bytes(shape_)}, at::kByte);
    scalar_cuda_pack_codes_host(shape_, operands.codes.const_data_ptr<uint8_t>(), operands.levels.defined(),
                                codes.mutable_data_ptr());
    at::Tensor scales = at::empty({scalar_cuda_packed_scale_bytes(shape_)}, at::kByte);
    scalar_cuda_pack_scales_host(
        shape_, operands.scales.const_data_ptr<float>(),
        operands.zero_points.defined() ? operands.zero_points.const_data_ptr<float>() : nullptr,
        scales.mutable_data_ptr());
    codes_ = codes.to(device);
    scales_ = scales.to(device);
    levels_ = half_on(operands.levels, device);
    whole_zeros_ = operands.zero_points.defined() && operands.zero_points.equal(operands.zero_points.round());
    if (operands.x_perm.defined()) {
      x_perm_ = operands.x_perm.to(device);
      x_order_ = x_perm_.to(at::kLong);
    }
  }
  int64_t resident_bytes() const override {
    return bytes_of(codes_) + bytes_of(scales_) + bytes_of(levels_) + bytes_of(x_perm_) + bytes_of(x_order_);
  }
  std::string kernel() const override {
    return fmt::format("cuda_{}{}_mma", levels_.defined() ? "table" : "int", shape_.nbits);
  }
  std::string kernel_for(int64_t tokens) const override {
    return tokens > kMatvecTokens ? "cuda_dequantise_gemm" : kernel();
  }

 private:
  scalar_matvec::ScalarCudaCall weights(void* stream) const {
    scalar_matvec::ScalarCudaCall call;
    call.packed_codes = codes_.const_data_ptr();
    call.packed_scales = scales_.const_data_ptr();
    call.levels = address(levels_);
    call.whole_zero_points = whole_zeros_;
    call.stream = stream;
    call.programmatic = true;
    return call;
  }
  void run(const at::Tensor& x, at::Tensor& y) const override {
    if (x.size(0) > kMatvecTokens) return prompt(x, y);
    scalar_matvec::ScalarCudaCall call = weights(current_stream(device()));
    call.x_perm = static_cast<const int32_t*>(address(x_perm_));
    call.bias = address(bias());
    call.x = x.const_data_ptr();
    call.y = y.mutable_data_ptr();
    call.batch = x.size(0);
    require_ok(scalar_mma_cuda_f16(shape_, call), kernel());
  }
  Status dequantise(int64_t begin, int64_t end, void* out, void* stream) const override {
    return scalar_dequantise_cuda_f16(shape_, weights(stream), begin, end, out);
  }
  at::Tensor prompt_input(const at::Tensor& x) const override {
    return x_order_.defined() ? x.index_select(1, x_order_) : x;
  }

  scalar_matvec::ScalarShape shape_;
  at::Tensor codes_, scales_, levels_, x_perm_, x_order_;
  bool whole_zeros_ = false;
};

/// Packed additive codes of one scheme: up to four linears in one launch while a token or two are decoded (one where
/// the tensor-core kernel knows the scheme).
class FusedGroup final : public GroupOp {
 public:
  explicit FusedGroup(std::vector<std::shared_ptr<const LinearOp>> ops) : ops_(std::move(ops)) {
    for (const auto& op : ops_) packed_.push_back(dynamic_cast<const PackedOp*>(op.get()));
  }
  static bool fits(const std::vector<std::shared_ptr<const LinearOp>>& ops) {
    if (ops.size() < 2 || ops.size() > additive_matvec::kMaxFusedLinears) return false;
    const auto* first = dynamic_cast<const PackedOp*>(ops.front().get());
    for (const auto& op : ops) {
      const auto* packed = dynamic_cast<const PackedOp*>(op.get());
      if (packed == nullptr) return false;
      const AdditiveShape &a = packed->shape(), &b = first->shape();
      if (a.in_features != b.in_features || a.num_codebooks != b.num_codebooks ||
          a.nbits_per_codebook != b.nbits_per_codebook || a.in_group_size != b.in_group_size) {
        return false;
      }
    }
    return true;
  }
  std::vector<at::Tensor> forward(const at::Tensor& x) const override {
    const c10::NoGradGuard no_grad;
    const c10::DeviceGuard guard(x.device());
    std::vector<at::Tensor> out;
    const at::Tensor flat = packed_.front()->flatten(x);
    const int64_t tokens = flat.size(0);
    if (tokens < 1 || tokens > packed_.front()->fused_tokens()) {
      for (const auto& op : ops_) out.push_back(op->forward(x));
      return out;
    }
    AdditiveShape shapes[additive_matvec::kMaxFusedLinears];
    AdditiveCudaCall calls[additive_matvec::kMaxFusedLinears];
    for (size_t i = 0; i < packed_.size(); ++i) {
      out.push_back(at::empty({tokens, packed_[i]->out_features()}, flat.options()));
      shapes[i] = packed_[i]->shape();
      calls[i] = packed_[i]->call(flat, out[i]);
    }
    require_ok(additive_lookup_cuda_f16_fused(static_cast<int>(packed_.size()), shapes, calls), "cuda_lookup_fused");
    for (size_t i = 0; i < packed_.size(); ++i) out[i] = packed_[i]->unflatten(out[i], x);
    return out;
  }
  std::string kernel_for(int64_t tokens) const override {
    return tokens <= packed_.front()->fused_tokens() ? "cuda_lookup_fused" : packed_.front()->kernel_for(tokens);
  }
  const std::vector<std::shared_ptr<const LinearOp>>& ops() const override { return ops_; }

 private:
  std::vector<std::shared_ptr<const LinearOp>> ops_;
  std::vector<const PackedOp*> packed_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(bool generic) : generic_(generic), name_(generic ? "cuda_generic" : "cuda") {}

  std::string refusal(const quant::Scheme& scheme, at::Device device) const override {
    if (additive_matvec::additive_cuda_available() != Status::kOk) {
      return fmt::format(
          "backend {} needs an NVIDIA GPU of compute capability 9.0 and a build with CUDA kernels; one of them is "
          "missing here; use backend=cpu, or backend=auto",
          name_);
    }
    if (!device.is_cuda()) {
      return fmt::format("backend {} runs on a GPU, the model is on {}; set device=cuda, or use backend=cpu", name_,
                         device.str());
    }
    switch (scheme.kind) {
      case Kind::kDense:
        return {};
      case Kind::kAdditive:
        return additive_refusal(scheme.code);
      case Kind::kScalar:
      case Kind::kTable4:
        return scalar_refusal(scheme);
      case Kind::kInt8:
        break;
    }
    return fmt::format("backend {} has no kernel for {}; use backend=llm_int8", name_, scheme.str());
  }
  std::string refusal(const quant::Weight& weight) const override {
    if (!weight.is_quantised()) return {};
    const quant::Scheme scheme = scheme_of(weight);
    if (std::string reason = refusal(scheme, device_of(weight)); !reason.empty()) return reason;
    std::string problem;
    if (const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(&weight)) {
      const float largest =
          std::max(additive->codebooks().abs().max().item<float>(), additive->scales().abs().max().item<float>());
      if (!(largest <= 65504.0f)) problem = "a codeword or scale exceeds float16";
    } else if (scheme.kind == Kind::kScalar || scheme.kind == Kind::kTable4) {
      problem = scalar_problem(weight);
      if (problem.empty() && weight.in_features() % 8 != 0) problem = "in_features is no multiple of 8";
    } else {
      problem = "it is of an unknown kind";
    }
    if (problem.empty()) return {};
    return fmt::format("backend {} has no kernel for \"{}\": {}; use backend=dequantise or backend=dense", name_,
                       weight.format(), problem);
  }

  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias, const Target& target) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    if (!weight->is_quantised()) return std::make_unique<DenseOp>(*weight, bias, target.dtype);
    const c10::DeviceGuard guard(device_of(*weight));
    const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(weight.get());
    if (additive == nullptr) return std::make_unique<ScalarOp>(*weight, bias, device_of(*weight));
    const AdditiveShape shape = additive_shape(*additive);
    if (!generic_ && additive_lookup_cuda_supports(shape, 1) == Status::kOk) {
      return std::make_unique<PackedOp>(*additive, bias);
    }
    return std::make_unique<NaturalOp>(*additive, bias, generic_);
  }
  std::unique_ptr<GroupOp> prepare_group(std::vector<std::shared_ptr<const LinearOp>> ops) const override {
    if (FusedGroup::fits(ops)) return std::make_unique<FusedGroup>(std::move(ops));
    return Backend::prepare_group(std::move(ops));
  }

 private:
  std::string additive_refusal(const quant::CodeSpec& code) const {
    const AdditiveShape shape = additive_shape(code);
    if (generic_) {
      if (128 % code.out_group_size == 0) return {};
      return fmt::format(
          "backend cuda_generic has no kernel for {}: out_group_size is no divisor of 128; use "
          "backend=dequantise",
          code.str());
    }
    if (additive_lookup_cuda_supports(shape, 1) == Status::kOk ||
        additive_gather_cuda_supports(shape, 1) == Status::kOk) {
      return {};
    }
    return fmt::format(
        "backend cuda has no kernel for {}: it has up to 16 codebooks of up to 8 bits and 1 or 2 codebooks of 9 to 16 "
        "bits, groups of 8 or 16 along a row; use backend=cuda_generic (any MxN, slower), or backend=auto",
        code.str());
  }
  std::string scalar_refusal(const quant::Scheme& scheme) const {
    if (generic_) {
      return fmt::format("backend cuda_generic has additive codes only, not {}; use backend=cuda", scheme.str());
    }
    const int64_t g = scheme.group_size;
    if (scheme.nbits >= 2 && scheme.nbits <= 4 && scheme.axis == 1 &&
        (g < 1 || g == 32 || g == 64 || g == 128 || g % 256 == 0)) {
      return {};
    }
    return fmt::format(
        "backend cuda has no kernel for {}: it has 4, 3 and 2 bits in groups of 32, 64, 128, a multiple of 256 or a "
        "whole row; use backend=dequantise or backend=dense",
        scheme.str());
  }

  bool generic_;
  const char* name_;
};

}  // namespace

void register_cuda(BackendRegistry& registry) {
  registry.add("cuda", "the GPU's kernel for the scheme: look-up tables, codewords or integers into tensor cores",
               [](config::Reader&) { return std::make_unique<CudaBackend>(false); });
  registry.add("cuda_generic", "any additive code on a GPU (what others do with Triton): decode, then multiply",
               [](config::Reader&) { return std::make_unique<CudaBackend>(true); });
}

}  // namespace aqlm_exp::backend
