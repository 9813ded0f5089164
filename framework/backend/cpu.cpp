// The CPU's kernels. `cpu` takes the best one for the scheme: look-up tables for additive codes of up to 8 bits, decode
// and multiply for the others, integer dot products for scalar codes of 4, 3 and 2 bits. `cpu_lut` and `cpu_generic`
// insist on one of them. Prompts: a few hundred rows at a time become dense and go to the library's matrix product.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "framework/backend/backend.h"
#include "framework/backend/flat_op.h"
#include "framework/backend/operands.h"
#include "framework/base/error.h"
#include "kernels/additive_matvec/additive_generic_cpu.h"
#include "kernels/additive_matvec/additive_lut_cpu.h"
#include "kernels/platform/cpu_isa.h"
#include "kernels/platform/huge_pages.h"
#include "kernels/scalar_matvec/scalar_cpu.h"

namespace aqlm_exp::backend {
namespace {

using additive_matvec::AdditiveShape;
using kernels::Status;
using Kind = quant::Scheme::Kind;
using WeightPtr = std::shared_ptr<const quant::Weight>;

constexpr int64_t kChunkRows = 256;  // dense rows at a time: 4 MiB at 4096 inputs

/// Scratch memory of the calling thread: grows, never shrinks, starts at a multiple of 64.
void* workspace(int64_t bytes) {
  thread_local at::Tensor buffer;
  if (!buffer.defined() || static_cast<int64_t>(buffer.nbytes()) < bytes + 64) {
    buffer = at::empty({bytes + 64}, at::kByte);
  }
  const auto at = reinterpret_cast<uintptr_t>(buffer.data_ptr());
  return reinterpret_cast<void*>((at + 63) / 64 * 64);
}

/// For packed weights, which are read in one stream at every token.
at::Tensor aligned_bytes(int64_t bytes) {
  at::Tensor out = at::empty({std::max<int64_t>(bytes, 1)}, at::kByte);
  kernels::prefer_huge_pages(out.data_ptr(), bytes);
  if (reinterpret_cast<uintptr_t>(out.data_ptr()) % 64 != 0)
    throw InternalError("[backend] memory is not aligned to 64");
  return out;
}

const float* floats(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr; }

void require_ok(Status status, const std::string& kernel) {
  if (status != Status::kOk) throw InternalError(fmt::format("[backend] {}: {}", kernel, kernels::status_name(status)));
}

class CpuOp : public FlatOp {
 public:
  std::string kernel_for(int64_t tokens) const override {
    return tokens > max_tokens_ ? "cpu_dequantise_gemm" : kernel();
  }

 protected:
  CpuOp(const quant::Weight& weight, const at::Tensor& bias, int64_t max_tokens)
      : FlatOp(weight.out_features(), weight.in_features(), at::kCPU, at::kFloat), max_tokens_(max_tokens) {
    if (bias.defined()) bias_ = bias.detach().to(at::kFloat).contiguous();
  }
  static int threads() { return at::get_num_threads(); }
  const float* bias() const { return floats(bias_); }
  void run(const at::Tensor& x, at::Tensor& y) const final {
    if (x.size(0) <= max_tokens_) return few(x, y);
    const at::Tensor prepared = prompt_input(x);
    at::Tensor chunk = at::empty({std::min(kChunkRows, out_features()), in_features()}, x.options());
    for (int64_t row = 0; row < out_features(); row += kChunkRows) {
      const int64_t rows = std::min(kChunkRows, out_features() - row);
      dequantise(row, row + rows, chunk.mutable_data_ptr<float>());
      at::Tensor part = y.narrow(1, row, rows);
      at::mm_out(part, prepared, chunk.narrow(0, 0, rows).t());
    }
    if (bias_.defined()) y.add_(bias_);
  }
  virtual void few(const at::Tensor& x, at::Tensor& y) const = 0;
  /// Dense rows [begin, end); begin is a multiple of kChunkRows.
  virtual void dequantise(int64_t begin, int64_t end, float* out) const = 0;
  /// x with its columns in the order of the dense rows.
  virtual at::Tensor prompt_input(const at::Tensor& x) const { return x; }

 private:
  at::Tensor bias_;
  int64_t max_tokens_;
};

class LutOp final : public CpuOp {
 public:
  LutOp(const quant::AdditiveWeight& weight, const at::Tensor& bias, kernels::CpuIsa isa)
      : CpuOp(weight, bias, 32), shape_(additive_shape(weight)), isa_(kernels::usable_cpu_isa(isa)) {
    const at::Tensor codes = natural_codes(weight);
    codes_ = aligned_bytes(additive_lut_cpu_packed_code_bytes(shape_));
    additive_lut_cpu_pack_codes(shape_, codes.const_data_ptr<uint8_t>(), codes_.mutable_data_ptr<uint8_t>());
    const at::Tensor books = weight.codebooks().detach().to(at::kFloat).contiguous();
    books_ = aligned_bytes(additive_lut_cpu_packed_codebook_floats(shape_) * 4);
    additive_lut_cpu_pack_codebooks(shape_, books.const_data_ptr<float>(), static_cast<float*>(books_.data_ptr()));
    scales_ = weight.scales().detach().to(at::kFloat).flatten().contiguous();
  }
  int64_t resident_bytes() const override {
    return static_cast<int64_t>(codes_.nbytes() + books_.nbytes() + scales_.nbytes());
  }
  std::string kernel() const override { return fmt::format("cpu_lut_{}", kernels::cpu_isa_name(isa_)); }

 private:
  additive_matvec::AdditiveLutCpuCall call() const {
    additive_matvec::AdditiveLutCpuCall call;
    call.packed_codes = codes_.const_data_ptr<uint8_t>();
    call.packed_codebooks = static_cast<const float*>(books_.const_data_ptr());
    call.scales = floats(scales_);
    call.bias = bias();
    call.threads = threads();
    call.isa = isa_;
    return call;
  }
  void few(const at::Tensor& x, at::Tensor& y) const override {
    additive_matvec::AdditiveLutCpuCall c = call();
    c.x = floats(x);
    c.y = y.mutable_data_ptr<float>();
    c.batch = x.size(0);
    c.workspace = workspace(additive_lut_cpu_workspace_bytes(shape_, c.batch, c.threads, isa_));
    require_ok(additive_lut_cpu(shape_, c), kernel());
  }
  void dequantise(int64_t begin, int64_t end, float* out) const override {
    additive_lut_cpu_dequantise(shape_, call(), begin, end, out);
  }

  AdditiveShape shape_;
  kernels::CpuIsa isa_;
  at::Tensor codes_, books_, scales_;
};

class GenericOp final : public CpuOp {
 public:
  GenericOp(const quant::AdditiveWeight& weight, const at::Tensor& bias)
      : CpuOp(weight, bias, 8),
        shape_(additive_shape(weight)),
        codes_(natural_codes(weight)),
        books_(weight.codebooks().detach().to(at::kFloat).contiguous()),
        scales_(weight.scales().detach().to(at::kFloat).flatten().contiguous()) {}
  int64_t resident_bytes() const override {
    return static_cast<int64_t>(codes_.nbytes() + books_.nbytes() + scales_.nbytes());
  }
  std::string kernel() const override { return "cpu_generic"; }

 private:
  additive_matvec::AdditiveGenericCpuCall call() const {
    additive_matvec::AdditiveGenericCpuCall call;
    call.codes = codes_.const_data_ptr();
    call.codebooks = floats(books_);
    call.scales = floats(scales_);
    call.bias = bias();
    call.threads = threads();
    return call;
  }
  void few(const at::Tensor& x, at::Tensor& y) const override {
    additive_matvec::AdditiveGenericCpuCall c = call();
    c.x = floats(x);
    c.y = y.mutable_data_ptr<float>();
    c.batch = x.size(0);
    require_ok(additive_generic_cpu(shape_, c), kernel());
  }
  void dequantise(int64_t begin, int64_t end, float* out) const override {
    // Chunks start at multiples of 256, out_group_size may be any number: whole groups around the rows, then a copy.
    const int64_t size = shape_.out_group_size, first = begin / size, last = (end + size - 1) / size;
    if (first * size == begin && last * size == end) {
      additive_generic_cpu_dequantise(shape_, call(), first, last, out);
      return;
    }
    at::Tensor wide = at::empty({(last - first) * size, in_features()}, books_.options());
    additive_generic_cpu_dequantise(shape_, call(), first, last, wide.mutable_data_ptr<float>());
    at::from_blob(out, {end - begin, in_features()}, at::kFloat)
        .copy_(wide.narrow(0, begin - first * size, end - begin));
  }

  AdditiveShape shape_;
  at::Tensor codes_, books_, scales_;
};

class ScalarOp final : public CpuOp {
 public:
  ScalarOp(const quant::Weight& weight, const at::Tensor& bias) : CpuOp(weight, bias, 16) {
    ScalarOperands operands = scalar_operands(weight);
    shape_ = operands.shape;
    codes_ = aligned_bytes(scalar_cpu_packed_code_bytes(shape_));
    scalar_cpu_pack_codes(shape_, operands.codes.const_data_ptr<uint8_t>(), codes_.data_ptr());
    scales_ = aligned_bytes(scalar_cpu_packed_scale_bytes(shape_));
    scalar_cpu_pack_scales(shape_, floats(operands.scales), floats(operands.zero_points), scales_.data_ptr());
    levels_ = operands.levels;
    x_perm_ = operands.x_perm;
    if (x_perm_.defined()) x_order_ = x_perm_.to(at::kLong);
    isa_ = kernels::usable_cpu_isa(kernels::CpuIsa::kBest);
  }
  int64_t resident_bytes() const override {
    return static_cast<int64_t>(codes_.nbytes() + scales_.nbytes() + (x_perm_.defined() ? x_perm_.nbytes() : 0));
  }
  std::string kernel() const override {
    return fmt::format("cpu_{}{}_{}", levels_.defined() ? "table" : "int", shape_.nbits, kernels::cpu_isa_name(isa_));
  }

 private:
  scalar_matvec::ScalarCpuCall call() const {
    scalar_matvec::ScalarCpuCall call;
    call.packed_codes = codes_.const_data_ptr();
    call.packed_scales = scales_.const_data_ptr();
    call.levels = floats(levels_);
    call.x_perm = x_perm_.defined() ? x_perm_.const_data_ptr<int32_t>() : nullptr;
    call.bias = bias();
    call.threads = threads();
    return call;
  }
  void few(const at::Tensor& x, at::Tensor& y) const override {
    scalar_matvec::ScalarCpuCall c = call();
    c.x = floats(x);
    c.y = y.mutable_data_ptr<float>();
    c.batch = x.size(0);
    c.workspace = workspace(scalar_cpu_workspace_bytes(shape_, c.batch));
    require_ok(scalar_cpu(shape_, c), kernel());
  }
  void dequantise(int64_t begin, int64_t end, float* out) const override {
    scalar_cpu_dequantise(shape_, call(), begin, end, out);
  }
  at::Tensor prompt_input(const at::Tensor& x) const override {
    return x_order_.defined() ? x.index_select(1, x_order_) : x;
  }

  scalar_matvec::ScalarShape shape_;
  kernels::CpuIsa isa_ = kernels::CpuIsa::kPortable;
  at::Tensor codes_, scales_, levels_, x_perm_, x_order_;
};

enum class Which { kBest, kLut, kGeneric };

class CpuBackend final : public Backend {
 public:
  CpuBackend(Which which, const char* name) : which_(which), name_(name) {}

  std::string refusal(const quant::Scheme& scheme, at::Device device) const override {
    if (!device.is_cpu()) {
      return fmt::format("backend {} runs on the CPU, the model is on {}; set device=cpu, or use backend=cuda", name_,
                         device.str());
    }
    switch (scheme.kind) {
      case Kind::kDense:
        return {};
      case Kind::kAdditive:
        return additive_refusal(scheme.code);
      case Kind::kScalar:
      case Kind::kTable4:
        if (which_ == Which::kBest) return scalar_refusal(scheme);
        return fmt::format("backend {} has additive codes only, not {}; use backend=cpu", name_, scheme.str());
      case Kind::kInt8:
        break;
    }
    return fmt::format("backend {} has no kernel for {}; use backend=llm_int8", name_, scheme.str());
  }
  std::string refusal(const quant::Weight& weight) const override {
    if (!weight.is_quantised()) return {};
    const quant::Scheme scheme = scheme_of(weight);
    if (std::string reason = refusal(scheme, device_of(weight)); !reason.empty()) return reason;
    if (scheme.kind != Kind::kScalar && scheme.kind != Kind::kTable4) {
      return scheme.kind == Kind::kAdditive ? "" : fmt::format("backend {}: unknown weight {}", name_, weight.format());
    }
    std::string problem = scalar_problem(weight);
    if (problem.empty() && scalar_matvec::scalar_cpu_supports(scalar_shape(weight, scheme)) != Status::kOk) {
      problem = fmt::format("groups of {} are no multiple of 16", scheme.group_size);
    }
    if (problem.empty()) return {};
    return fmt::format("backend {} has no kernel for \"{}\": {}; use backend=dequantise or backend=dense", name_,
                       weight.format(), problem);
  }

  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias, const Target& target) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    if (!weight->is_quantised()) return std::make_unique<DenseOp>(*weight, bias, target.dtype);
    const auto* additive = dynamic_cast<const quant::AdditiveWeight*>(weight.get());
    if (additive == nullptr) return std::make_unique<ScalarOp>(*weight, bias);
    if (which_ != Which::kGeneric &&
        additive_matvec::additive_lut_cpu_supports(additive_shape(*additive)) == Status::kOk) {
      return std::make_unique<LutOp>(*additive, bias, kernels::CpuIsa::kBest);
    }
    return std::make_unique<GenericOp>(*additive, bias);
  }

 private:
  static scalar_matvec::ScalarShape scalar_shape(const quant::Weight& weight, const quant::Scheme& scheme) {
    scalar_matvec::ScalarShape shape;
    shape.out_features = weight.out_features();
    shape.in_features = weight.in_features();
    shape.nbits = static_cast<int32_t>(scheme.nbits);
    shape.group_size = scheme.group_size < 1 ? weight.in_features() : scheme.group_size;
    return shape;
  }
  std::string additive_refusal(const quant::CodeSpec& code) const {
    const AdditiveShape shape = additive_shape(code);
    if (which_ == Which::kLut && additive_matvec::additive_lut_cpu_supports(shape) != Status::kOk) {
      return fmt::format(
          "backend {} has no kernel for {}: it has up to 64 codebooks of up to 8 bits, groups along a row; use "
          "backend=cpu_generic, or backend=auto",
          name_, code.str());
    }
    if (additive_matvec::additive_generic_cpu_supports(shape) != Status::kOk) {
      return fmt::format("backend {} has no kernel for {}: groups of more than 1024 weights; use backend=dequantise",
                         name_, code.str());
    }
    return {};
  }
  std::string scalar_refusal(const quant::Scheme& scheme) const {
    const bool ok = scheme.nbits >= 2 && scheme.nbits <= 4 && scheme.axis == 1 &&
                    (scheme.group_size < 1 || scheme.group_size % 16 == 0);
    if (ok) return {};
    return fmt::format(
        "backend {} has no kernel for {}: it has 4, 3 and 2 bits in groups along a row that are a multiple of 16; use "
        "backend=dequantise or backend=dense",
        name_, scheme.str());
  }

  Which which_;
  const char* name_;
};

}  // namespace

void register_cpu(BackendRegistry& registry) {
  registry.add("cpu", "the CPU's kernel for the scheme: look-up tables, decode and multiply, integer products",
               [](config::Reader&) { return std::make_unique<CpuBackend>(Which::kBest, "cpu"); });
  registry.add("cpu_lut", "additive codes of up to 8 bits by look-up tables (what others do with Numba)",
               [](config::Reader&) { return std::make_unique<CpuBackend>(Which::kLut, "cpu_lut"); });
  registry.add("cpu_generic", "any additive code: decode, then multiply",
               [](config::Reader&) { return std::make_unique<CpuBackend>(Which::kGeneric, "cpu_generic"); });
}

}  // namespace aqlm_exp::backend
