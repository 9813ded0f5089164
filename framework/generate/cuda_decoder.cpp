#include "framework/generate/cuda_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "framework/base/error.h"
#include "framework/generate/eager_decoder.h"
#include "framework/generate/graph_pool.h"
#include "kernels/decode/decode_cuda.h"
#include "kernels/platform/cuda_graph.h"

namespace aqlm_exp::generate {
namespace {

using decode::Element;
using kernels::Status;

std::optional<Element> element_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return Element::kF32;
    case at::kHalf:
      return Element::kF16;
    case at::kBFloat16:
      return Element::kBF16;
    default:
      return std::nullopt;
  }
}

void check(Status status, const char* what) {
  if (status == Status::kOk) return;
  throw InternalError(fmt::format("[cuda decoder] {}: {} ({}); try --no-cuda-graph", what, kernels::status_name(status),
                                  kernels::cuda_error_text()));
}

/// Makes a stream libtorch's current one, and its device the current device.
class StreamScope {
 public:
  explicit StreamScope(c10::Stream stream)
      : device_(stream.device()), guard_(stream.device_type()), before_(guard_.exchangeStream(stream)) {}
  ~StreamScope() { guard_.exchangeStream(before_); }
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  c10::DeviceGuard device_;
  c10::impl::VirtualGuardImpl guard_;
  c10::Stream before_;
};

/// The matrix of a linear that is stored as it is multiplied, if its storage suits the 16-bit kernel.
at::Tensor plain_matrix(const model::Linear& linear, at::ScalarType type) {
  if (!linear.weight || linear.weight->is_quantised()) return {};
  if (linear.op && linear.op->kernel() != "dense") return {};
  const at::Tensor matrix = linear.weight->dequantise();
  const bool good = matrix.scalar_type() == type && matrix.is_contiguous() &&
                    reinterpret_cast<uintptr_t>(matrix.const_data_ptr()) % 16 == 0;
  return good ? matrix : at::Tensor();
}

/// Do the matrices lie behind one another in memory?
bool adjacent(std::initializer_list<at::Tensor> matrices) {
  const char* expected = nullptr;
  for (const at::Tensor& matrix : matrices) {
    if (!matrix.defined()) return false;
    const auto* begin = static_cast<const char*>(matrix.const_data_ptr());
    if (expected != nullptr && begin != expected) return false;
    expected = begin + matrix.nbytes();
  }
  return true;
}

/// What of a block the fused kernels run themselves; undefined tensors: the linear's own operator runs.
struct BlockPlan {
  at::Tensor qkv, qkv_bias, o, o_bias, gate_up, down, down_bias;
};

class CudaDecoder final : public EagerDecoder {
 public:
  CudaDecoder(const model::Model& model, const DecoderOptions& options)
      : EagerDecoder(model, options),
        type_(model.embedding.scalar_type()),
        element_(*element_of(type_)),
        stream_(c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStreamFromGlobalPool(model.device(), false)),
        native_(stream_.native_handle()),
        pool_(stream_) {
    const c10::InferenceMode inference;
    check(kernels::device_wait(), "waiting for the weights");
    const StreamScope scope(stream_);
    plan_blocks();
    allocate();
    prepare_graph();
  }

  ~CudaDecoder() override {
    kernels::stream_wait(native_);
    kernels::graph_destroy(graph_);
    for (void* event : events_) kernels::event_destroy(event);
    kernels::pinned_free(pinned_);
  }

  void feed(int64_t sequence, std::span<const int32_t> tokens) override {
    const StreamScope scope(stream_);
    EagerDecoder::feed(sequence, tokens);
  }

  void start(std::span<const SamplingOptions> sampling, std::span<const std::vector<int32_t>> context,
             int64_t max_tokens) override {
    const c10::InferenceMode inference;
    const StreamScope scope(stream_);
    const int64_t batch = options_.batch;
    max_tokens_ = max_tokens;
    launched_ = returned_ = 0;
    std::vector<UniformStream> streams;
    for (const SamplingOptions& options : sampling) streams.emplace_back(options.seed);
    const at::Tensor uniforms = at::empty({max_tokens, batch}, at::kDouble);
    for (int64_t s = 0; s < max_tokens; ++s) {
      for (int64_t b = 0; b < batch; ++b) {
        uniforms.data_ptr<double>()[s * batch + b] = streams[static_cast<size_t>(b)].next();
      }
    }
    uniforms_.slice(0, 0, max_tokens).copy_(uniforms);
    const at::Tensor params = at::empty({batch, int64_t{sizeof(decode::SampleParams)}}, at::kByte);
    const at::Tensor positions = at::empty({batch}, at::kLong);
    seen_.zero_();
    for (int64_t b = 0; b < batch; ++b) {
      const auto row = static_cast<size_t>(b);
      if (!pending_[row].defined()) throw InternalError("[generate] start: a sequence was not fed");
      const decode::SampleParams rule = sample_params(sampling[row]);
      std::memcpy(params.data_ptr<uint8_t>() + b * int64_t{sizeof rule}, &rule, sizeof rule);
      // Choosing a token raises the position: the first chosen one belongs behind the tokens fed.
      positions.data_ptr<int64_t>()[b] = lengths_[row] - 1;
      logits_[b].copy_(pending_[row]);
      if (row < context.size() && rule.repetition_penalty != 1.0F) {
        const std::vector<int64_t> ids(context[row].begin(), context[row].end());
        seen_[b].index_fill_(0, at::tensor(ids, at::kLong).to(model_.device()), 1);
      }
    }
    params_.copy_(params);
    positions_.copy_(positions);
    step_.zero_();
    sample(false);
    record();
  }

  std::vector<int32_t> next() override {
    if (returned_ >= max_tokens_) throw InternalError("[generate] next: more tokens than start() was told of");
    // The device is kept one step ahead of the reader; a step too many at the end of an answer is never read.
    while (launched_ <= returned_ + 1 && launched_ < max_tokens_) {
      check(kernels::graph_launch(graph_, native_), "replaying the step");
      record();
    }
    check(kernels::event_wait(events_[returned_ % kAhead]), "a decoding step");
    std::vector<int32_t> tokens;
    for (int64_t b = 0; b < options_.batch; ++b) {
      const int64_t token = pinned_[returned_ % kAhead * options_.batch + b];
      if (token < 0) {
        throw NumericalError(
            "[sampling] the model's logits are not numbers; the weights or the dtype do not fit: try --dtype float32");
      }
      tokens.push_back(static_cast<int32_t>(token));
    }
    if (returned_ > 0) {
      for (int64_t& length : lengths_) ++length;
    }
    ++returned_;
    return tokens;
  }

  void truncate(int64_t sequence, int64_t num_tokens) override {
    check(kernels::stream_wait(native_), "waiting for the last step");  // it may still write behind the end
    EagerDecoder::truncate(sequence, num_tokens);
  }

  void finish() override { check(kernels::stream_wait(native_), "waiting"); }

  std::string description() const override {
    int64_t fused = 0, all = 0;
    for (const BlockPlan& plan : plans_) {
      for (const at::Tensor* matrix : {&plan.qkv, &plan.o, &plan.gate_up, &plan.down}) {
        ++all;
        fused += matrix->defined();
      }
    }
    return fmt::format("CUDA graph, {} of {} linear stages by the 16-bit kernel", fused, all);
  }

 private:
  static constexpr int64_t kAhead = 4;  // steps whose results are kept apart; at least two are in flight

  void plan_blocks() {
    const bool gemv = type_ != at::kFloat && options_.batch <= 4;
    for (const model::DecoderBlock& block : model_.blocks) {
      BlockPlan plan;
      const auto fits = [&](int64_t inputs) {
        decode::GemvCall call;
        call.element = element_, call.batch = options_.batch, call.rows = 1, call.inputs = inputs;
        return gemv && decode::gemv_cuda_supports(call) == Status::kOk;
      };
      const auto matrix = [&](const model::Linear& linear) {
        if (!linear.weight || !fits(linear.weight->in_features())) return at::Tensor();
        return plain_matrix(linear, type_);
      };
      if (block.has_fused_projections()) {
        plan.qkv = matrix(block.qkv_proj);
        plan.qkv_bias = block.qkv_proj.bias;
      } else {
        plan.qkv = joined({&block.q_proj, &block.k_proj, &block.v_proj}, matrix);
        plan.qkv_bias = joined_bias(block);
      }
      plan.o = matrix(block.o_proj);
      plan.o_bias = block.o_proj.bias;
      const bool gate_bias = block.gate_proj.bias.defined() || block.up_proj.bias.defined();
      if (block.gate_up_proj.weight) {
        if (!block.gate_up_proj.bias.defined()) plan.gate_up = matrix(block.gate_up_proj);
      } else if (!gate_bias) {
        plan.gate_up = joined({&block.gate_proj, &block.up_proj}, matrix);
      }
      plan.down = matrix(block.down_proj);
      plan.down_bias = block.down_proj.bias;
      plans_.push_back(std::move(plan));
    }
    decode::GemvCall call;
    call.element = element_, call.batch = options_.batch, call.rows = 1, call.inputs = model_.embedding.size(1);
    output_by_gemv_ = gemv && decode::gemv_cuda_supports(call) == Status::kOk && model_.output.is_contiguous();
  }

  /// One matrix of several: their memory as it is where they lie behind one another, else a copy.
  template <class F>
  at::Tensor joined(std::initializer_list<const model::Linear*> linears, const F& matrix) {
    std::vector<at::Tensor> parts;
    for (const model::Linear* linear : linears) {
      parts.push_back(matrix(*linear));
      if (!parts.back().defined()) return {};
    }
    const bool behind = parts.size() == 2 ? adjacent({parts[0], parts[1]}) : adjacent({parts[0], parts[1], parts[2]});
    return behind ? parts[0] : at::cat(parts, 0);
  }

  at::Tensor joined_bias(const model::DecoderBlock& block) const {
    std::vector<at::Tensor> parts;
    bool any = false;
    for (const model::Linear* linear : {&block.q_proj, &block.k_proj, &block.v_proj}) {
      any = any || linear->bias.defined();
      parts.push_back(linear->bias.defined() ? linear->bias.to(type_)
                                             : at::zeros({linear->weight->out_features()}, model_.embedding.options()));
    }
    return any ? at::cat(parts, 0) : at::Tensor();
  }

  void allocate() {
    const auto on_device = [&](at::ScalarType type) { return at::TensorOptions().dtype(type).device(model_.device()); };
    const int64_t batch = options_.batch, hidden = model_.embedding.size(1), vocab = model_.output.size(0);
    const model::BlockShape& shape = model_.blocks.front().shape;
    int64_t inter = 0;
    for (const model::DecoderBlock& block : model_.blocks) {
      inter = std::max(inter, block.down_proj.weight->in_features());
    }
    residual_ = at::zeros({batch, hidden}, on_device(at::kFloat));
    normed_ = at::zeros({batch, hidden}, on_device(type_));
    qkv_ = at::zeros({batch, (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim}, on_device(type_));
    mixed_ = at::zeros({batch, shape.num_heads * shape.head_dim}, on_device(type_));
    activated_ = at::zeros({batch, inter}, on_device(type_));
    logits_ = at::zeros({batch, vocab}, on_device(at::kFloat));
    ids_ = at::zeros({batch}, on_device(at::kLong));
    positions_ = at::zeros({batch}, on_device(at::kLong));
    step_ = at::zeros({1}, on_device(at::kLong));
    history_ = at::zeros({options_.capacity + 1, batch}, on_device(at::kLong));
    uniforms_ = at::zeros({options_.capacity + 1, batch}, on_device(at::kDouble));
    params_ = at::zeros({batch, int64_t{sizeof(decode::SampleParams)}}, on_device(at::kByte));
    seen_ = at::zeros({batch, vocab}, on_device(at::kByte));
    tickets_ = at::zeros({batch * shape.num_kv_heads + 1}, on_device(at::kInt));
    const auto [cosines, sines] = model_.rotary->tables(options_.capacity);
    cosines_ = cosines.slice(0, 0, options_.capacity).slice(1, 0, shape.head_dim / 2).to(at::kFloat).contiguous();
    sines_ = sines.slice(0, 0, options_.capacity).slice(1, 0, shape.head_dim / 2).to(at::kFloat).contiguous();
    // Enough blocks to fill the device, none with fewer than 64 tokens of a full cache.
    const int64_t rows = batch * shape.num_kv_heads;
    splits_ = std::clamp<int64_t>(std::min(int64_t{132} / rows, options_.capacity / 64), 1, 32);
    partial_ = at::zeros({decode::attend_scratch_floats(attention(0, nullptr, nullptr, nullptr, 0, 0))},
                         on_device(at::kFloat));
    void* host = nullptr;
    check(kernels::pinned_allocate(&host, static_cast<size_t>(kAhead * batch) * sizeof(int64_t)), "page-locked memory");
    pinned_ = static_cast<int64_t*>(host);
    for (void*& event : events_) check(kernels::event_create(&event), "an event");
  }

  void prepare_graph() {
    step();  // once as it is: libraries set themselves up, which a capture would not allow
    check(kernels::stream_wait(native_), "the first step");
    const GraphPool::Scope scope(pool_);
    check(kernels::capture_begin(native_), "starting the capture");
    try {
      step();
    } catch (...) {
      void* unused = nullptr;
      kernels::capture_end(native_, &unused);
      kernels::graph_destroy(unused);
      throw;
    }
    check(kernels::capture_end(native_, &graph_), "the captured step");
  }

  /// Copies what the last step chose to the host, behind it on the stream.
  void record() {
    const int64_t slot = launched_ % kAhead;
    const auto* from = history_.const_data_ptr<int64_t>() + launched_ * options_.batch;
    check(kernels::copy_to_host(pinned_ + slot * options_.batch, from,
                                static_cast<size_t>(options_.batch) * sizeof(int64_t), native_),
          "copying tokens");
    check(kernels::event_record(events_[slot], native_), "an event");
    ++launched_;
  }

  decode::Order order() const { return {native_, true}; }

  decode::AttendCall attention(size_t layer, const void* q, const void* k, const void* v, int64_t q_stride,
                               int64_t kv_stride) const {
    const model::DecoderBlock& block = model_.blocks[layer];
    const model::BlockShape& shape = block.shape;
    decode::AttendCall call;
    call.element = element_;
    call.batch = options_.batch, call.num_heads = shape.num_heads, call.num_kv_heads = shape.num_kv_heads;
    call.head_dim = shape.head_dim, call.capacity = options_.capacity, call.num_splits = splits_;
    call.window = shape.window;
    call.scale = static_cast<float>(shape.attention_scale > 0 ? shape.attention_scale
                                                              : 1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
    call.q = q, call.k = k, call.v = v, call.q_stride = q_stride, call.kv_stride = kv_stride;
    if (block.q_norm.defined()) call.q_norm = block.q_norm.const_data_ptr();
    if (block.k_norm.defined()) call.k_norm = block.k_norm.const_data_ptr();
    call.norm_eps = static_cast<float>(shape.rms_norm_eps);
    if (!partial_.defined()) return call;
    call.cos = cosines_.const_data_ptr<float>(), call.sin = sines_.const_data_ptr<float>();
    call.positions = positions_.const_data_ptr<int64_t>();
    call.keys = cache_.layers[layer].keys.data_ptr(), call.values = cache_.layers[layer].values.data_ptr();
    call.y = mixed_.data_ptr(), call.partial = partial_.data_ptr<float>();
    call.tickets = reinterpret_cast<uint32_t*>(tickets_.data_ptr<int32_t>());
    return call;
  }

  void gemv(decode::Epilogue epilogue, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& x,
            const at::Tensor& norm, double eps, void* y, int64_t rows) const {
    decode::GemvCall call;
    call.element = element_, call.epilogue = epilogue;
    call.weight = weight.const_data_ptr(), call.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
    call.x = x.const_data_ptr(), call.norm_weight = norm.defined() ? norm.const_data_ptr() : nullptr;
    call.y = y, call.batch = options_.batch, call.rows = rows, call.inputs = x.size(-1);
    call.eps = static_cast<float>(eps);
    check(decode::gemv_cuda(call, order()), "matrix-vector product");
  }

  /// residual += delta (if there is one); normed_ = its norm.
  void norm_residual(at::Tensor& delta, const at::Tensor& weight, double eps) const {
    const at::Tensor joined = delta.defined() ? delta.contiguous() : delta;
    check(decode::add_rms_norm_cuda({.element = element_,
                                     .delta = joined.defined() ? joined.const_data_ptr() : nullptr,
                                     .residual = residual_.data_ptr<float>(),
                                     .weight = weight.const_data_ptr(),
                                     .y = normed_.data_ptr(),
                                     .batch = options_.batch,
                                     .width = residual_.size(1),
                                     .eps = static_cast<float>(eps)},
                                    order()),
          "norm");
    delta.reset();
  }

  void sample(bool programmatic) const {
    decode::SampleCall call{.batch = options_.batch, .vocab_size = logits_.size(1)};
    call.logits = logits_.data_ptr<float>();
    call.params = reinterpret_cast<const decode::SampleParams*>(params_.const_data_ptr<uint8_t>());
    call.uniforms = uniforms_.const_data_ptr<double>();
    call.seen = seen_.data_ptr<uint8_t>();
    call.ids = ids_.data_ptr<int64_t>(), call.positions = positions_.data_ptr<int64_t>();
    call.step = step_.data_ptr<int64_t>(), call.history = history_.data_ptr<int64_t>();
    call.ticket = reinterpret_cast<uint32_t*>(tickets_.data_ptr<int32_t>() + tickets_.numel() - 1);
    check(decode::sample_cuda(call, {native_, programmatic}), "sampling");
  }

  /// A whole step, from ids_ to ids_.
  void step() {
    check(decode::embed_cuda({.element = element_,
                              .table = model_.embedding.const_data_ptr(),
                              .ids = ids_.const_data_ptr<int64_t>(),
                              .residual = residual_.data_ptr<float>(),
                              .batch = options_.batch,
                              .width = residual_.size(1)},
                             order()),
          "embedding");
    at::Tensor delta;  // an output that has not been added to the residual stream yet
    for (size_t i = 0; i < model_.blocks.size(); ++i) {
      attention_step(i, delta);
      mlp_step(i, delta);
    }
    const double eps = model_.config.rms_norm_eps;
    const int64_t vocab = logits_.size(1);
    if (output_by_gemv_ && !delta.defined()) {
      gemv(decode::Epilogue::kStoreFloat, model_.output, {}, residual_, model_.final_norm, eps, logits_.data_ptr(),
           vocab);
    } else {
      norm_residual(delta, model_.final_norm, eps);
      if (output_by_gemv_) {
        gemv(decode::Epilogue::kStoreFloat, model_.output, {}, normed_, {}, eps, logits_.data_ptr(), vocab);
      } else {
        logits_.copy_(at::linear(normed_, model_.output));
      }
    }
    sample(true);
  }

  void attention_step(size_t i, at::Tensor& delta) {
    const model::DecoderBlock& block = model_.blocks[i];
    const BlockPlan& plan = plans_[i];
    const double eps = block.shape.rms_norm_eps;
    const int64_t q_width = block.shape.num_heads * block.shape.head_dim;
    const int64_t kv_width = block.shape.num_kv_heads * block.shape.head_dim, width = q_width + 2 * kv_width;
    const auto size = static_cast<int64_t>(at::elementSize(type_));
    at::Tensor qkv = qkv_, q, k, v;
    if (plan.qkv.defined() && !delta.defined()) {
      gemv(decode::Epilogue::kStore, plan.qkv, plan.qkv_bias, residual_, block.input_norm, eps, qkv_.data_ptr(), width);
    } else {
      norm_residual(delta, block.input_norm, eps);
      if (plan.qkv.defined()) {
        gemv(decode::Epilogue::kStore, plan.qkv, plan.qkv_bias, normed_, {}, eps, qkv_.data_ptr(), width);
      } else if (block.has_fused_projections()) {
        qkv = block.qkv_proj.forward(normed_).contiguous();
      } else {
        const auto parts = model::forward_together({&block.q_proj, &block.k_proj, &block.v_proj}, normed_);
        q = parts[0].contiguous(), k = parts[1].contiguous(), v = parts[2].contiguous();
      }
    }
    if (q.defined()) {
      const auto call = attention(i, q.const_data_ptr(), k.const_data_ptr(), v.const_data_ptr(), q_width, kv_width);
      check(decode::attend_cuda(call, order()), "attention");
    } else {
      const auto* base = static_cast<const char*>(qkv.const_data_ptr());
      const auto call = attention(i, base, base + q_width * size, base + (q_width + kv_width) * size, width, width);
      check(decode::attend_cuda(call, order()), "attention");
    }
    if (plan.o.defined()) {
      gemv(decode::Epilogue::kAddFloat, plan.o, plan.o_bias, mixed_, {}, eps, residual_.data_ptr(), residual_.size(1));
    } else {
      delta = block.o_proj.forward(mixed_);
    }
  }

  void mlp_step(size_t i, at::Tensor& delta) {
    const model::DecoderBlock& block = model_.blocks[i];
    const BlockPlan& plan = plans_[i];
    const double eps = block.shape.rms_norm_eps;
    const int64_t inter = block.down_proj.weight->in_features();
    const at::Tensor activated = activated_.slice(1, 0, inter);
    if (plan.gate_up.defined() && !delta.defined()) {
      gemv(decode::Epilogue::kSiluMul, plan.gate_up, {}, residual_, block.post_attention_norm, eps,
           activated.data_ptr(), inter);
    } else {
      norm_residual(delta, block.post_attention_norm, eps);
      if (plan.gate_up.defined()) {
        gemv(decode::Epilogue::kSiluMul, plan.gate_up, {}, normed_, {}, eps, activated.data_ptr(), inter);
      } else {
        at::Tensor gate, up;
        if (block.gate_up_proj.weight) {
          const auto halves = block.gate_up_proj.forward(normed_).chunk(2, -1);
          gate = halves[0].contiguous(), up = halves[1].contiguous();
        } else {
          const auto halves = model::forward_together({&block.gate_proj, &block.up_proj}, normed_);
          gate = halves[0].contiguous(), up = halves[1].contiguous();
        }
        check(decode::silu_mul_cuda(
                  {element_, gate.const_data_ptr(), up.const_data_ptr(), activated.data_ptr(), options_.batch * inter},
                  order()),
              "SiLU");
      }
    }
    if (plan.down.defined()) {
      gemv(decode::Epilogue::kAddFloat, plan.down, plan.down_bias, activated, {}, eps, residual_.data_ptr(),
           residual_.size(1));
    } else {
      delta = block.down_proj.forward(activated);
    }
  }

  at::ScalarType type_;
  Element element_;
  c10::Stream stream_;
  void* native_;
  GraphPool pool_;
  std::vector<BlockPlan> plans_;
  bool output_by_gemv_ = false;
  at::Tensor residual_, normed_, qkv_, mixed_, activated_, logits_, ids_, positions_, step_, history_, uniforms_,
      params_, seen_, tickets_, cosines_, sines_, partial_;
  int64_t splits_ = 1;
  void* graph_ = nullptr;
  int64_t* pinned_ = nullptr;
  void* events_[kAhead] = {};
  int64_t max_tokens_ = 0, launched_ = 0, returned_ = 0;  // steps of the answer under way
};

}  // namespace

std::string cuda_decoder_refusal(const model::Model& model, const DecoderOptions& options) {
  if (!model.device().is_cuda()) return "the model is not on a GPU";
  if (decode::decode_cuda_available() != Status::kOk) return "this program was built without CUDA kernels";
  const at::ScalarType type = model.embedding.scalar_type();
  if (!element_of(type)) return "the model's dtype is none of float32, float16, bfloat16";
  if (options.batch > 64) return fmt::format("batch {} is above 64", options.batch);
  if (model.config.embedding_scale != 1.0) return "the embedding is scaled";
  if (model.config.logit_softcap != 0) return "logits have a soft cap";
  if (model.final_norm.scalar_type() != type || model.output.scalar_type() != type) {
    return "norms have another dtype than the model";
  }
  const auto& rope = model.config.rope;
  if (rope.type == checkpoint::RopeType::kDynamic ||
      (rope.type == checkpoint::RopeType::kLongRope && options.capacity > rope.original_max_position_embeddings)) {
    return "the rotary embedding depends on the length";
  }
  if (model.blocks.empty()) return "the model has no blocks";
  const model::BlockShape& first = model.blocks.front().shape;
  for (const model::DecoderBlock& block : model.blocks) {
    const model::BlockShape& shape = block.shape;
    if (!block.moe.empty()) return "a block has experts";
    if (block.has_sandwich_norms()) return "a block has sandwich norms";
    if (shape.attention_softcap != 0) return "attention has a soft cap";
    if (shape.activation != checkpoint::Activation::kSilu) return "the activation is not SiLU";
    if (model.rotary->rotary_dim() != shape.head_dim) return "the rotary embedding is partial";
    if (shape.num_heads != first.num_heads || shape.num_kv_heads != first.num_kv_heads ||
        shape.head_dim != first.head_dim) {
      return "blocks have different heads";
    }
    for (const at::Tensor* norm : {&block.input_norm, &block.post_attention_norm}) {
      if (norm->scalar_type() != type) return "norms have another dtype than the model";
    }
    decode::AttendCall call;
    call.num_heads = shape.num_heads, call.num_kv_heads = shape.num_kv_heads, call.head_dim = shape.head_dim;
    call.batch = options.batch, call.capacity = options.capacity;
    if (decode::attend_cuda_supports(call) != Status::kOk) {
      return fmt::format("the attention kernel does not know {} heads on {} of {} numbers", shape.num_heads,
                         shape.num_kv_heads, shape.head_dim);
    }
  }
  return {};
}

std::unique_ptr<Decoder> make_cuda_decoder(const model::Model& model, const DecoderOptions& options) {
  if (const std::string reason = cuda_decoder_refusal(model, options); !reason.empty()) {
    throw ConfigError(fmt::format("[cuda decoder] {}; use --no-cuda-graph", reason));
  }
  return std::make_unique<CudaDecoder>(model, options);
}

}  // namespace aqlm_exp::generate
