// One decoding step of a decoder-only model on the GPU, as a handful of launches per block: everything between the
// linears, and for 16-bit weights the linears themselves. No torch or CUDA header here: pointers are device pointers,
// `stream` is a cudaStream_t.
//
//   entry          does                                                                       launches
//   embed          residual = table[id]                                                       1
//   add_rms_norm   residual += delta; y = RMSNorm(residual) * weight                          1
//   gemv           y = epilogue(W prologue(x)): norm before, bias, residual or SiLU·mul after 1
//   attend         rotary embedding, cache append, attention over the cache in splits         1
//   silu_mul       y = silu(gate) * up                                                        1
//   sample         next token: greedy or by temperature, top-k, top-p, min-p                  1
//
// The residual stream is float32; everything else has the model's element type. Positions, tokens and random numbers
// lie on the device, so that a captured step can be replayed without an argument changing. Every entry is ordered by
// the stream, allocates nothing, never synchronises, may be captured in a CUDA graph, and is deterministic.
#pragma once

#include <cstdint>

#include "kernels/decode/sample.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::decode {

enum class Element : int32_t { kF32, kF16, kBF16 };

/// How a kernel is launched.
struct Order {
  void* stream = nullptr;
  /// Programmatic dependent launch: may start before its predecessor ends; weights are read early, everything else
  /// after the predecessor's end. Weights must not be written by work still in flight.
  bool programmatic = false;
};

/// Is there a usable GPU, and was this built with CUDA? kOk or kNoDevice.
kernels::Status decode_cuda_available() noexcept;

struct EmbedCall {
  Element element = Element::kBF16;
  const void* table = nullptr;   // [vocab_size, width]
  const int64_t* ids = nullptr;  // [batch], each under vocab_size
  float* residual = nullptr;     // [batch, width]
  int64_t batch = 1, width = 0;
};
kernels::Status embed_cuda(const EmbedCall& call, const Order& order) noexcept;

struct AddRmsNormCall {
  Element element = Element::kBF16;
  const void* delta = nullptr;   // [batch, width] or null
  float* residual = nullptr;     // [batch, width], changed in place when there is a delta
  const void* weight = nullptr;  // [width]
  void* y = nullptr;             // [batch, width]
  int64_t batch = 1, width = 0;
  float eps = 1e-6F;
};
kernels::Status add_rms_norm_cuda(const AddRmsNormCall& call, const Order& order) noexcept;

struct SiluMulCall {
  Element element = Element::kBF16;
  const void* gate = nullptr;  // [count]
  const void* up = nullptr;    // [count]
  void* y = nullptr;           // [count]; may be gate or up
  int64_t count = 0;
};
kernels::Status silu_mul_cuda(const SiluMulCall& call, const Order& order) noexcept;

enum class Epilogue : int32_t {
  kStore,       // y element [batch, rows] = product + bias
  kStoreFloat,  // y float32 [batch, rows] = product + bias
  kAddFloat,    // y float32 [batch, rows] += product + bias
  kSiluMul,     // weight holds 2·rows rows, gate rows first: y element [batch, rows] = silu(gate) * up; no bias
};

struct GemvCall {
  Element element = Element::kBF16;  // of weight, bias, norm_weight, and of x without a norm
  Epilogue epilogue = Epilogue::kStore;
  const void* weight = nullptr;       // [rows, inputs], 16-byte aligned
  const void* bias = nullptr;         // [rows] or null
  const void* x = nullptr;            // element [batch, inputs]; with norm_weight float32: the residual stream
  const void* norm_weight = nullptr;  // [inputs]: x is RMS-normalised first; or null
  void* y = nullptr;
  int64_t batch = 1, rows = 0, inputs = 0;
  float eps = 1e-6F;
};
/// kF16 and kBF16, inputs a multiple of 8, batch 1-4, batch·inputs <= 49152; otherwise kUnsupportedShape.
kernels::Status gemv_cuda_supports(const GemvCall& call) noexcept;
kernels::Status gemv_cuda(const GemvCall& call, const Order& order) noexcept;

/// Cached decode attention of one new token per sequence. Rotary embedding as in Hugging Face's Llama and Qwen2 (halves
/// rotated, arXiv:2104.09864), grouped-query heads (arXiv:2305.13245), partial results of the splits joined as in
/// flash decoding (arXiv:2205.14135 §3.1 across blocks).
struct AttendCall {
  Element element = Element::kBF16;
  int64_t batch = 1, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t capacity = 0;     // tokens that a sequence's cache holds
  int64_t num_splits = 1;   // blocks that share a sequence and key-value head
  int64_t window = 0;       // sees the last `window` tokens, itself included; 0: all
  float scale = 0;          // of q·k
  const void* q = nullptr;  // [batch, num_heads, head_dim], rows q_stride elements apart
  const void* k = nullptr;  // [batch, num_kv_heads, head_dim], rows kv_stride apart
  const void* v = nullptr;  // [batch, num_kv_heads, head_dim], rows kv_stride apart
  int64_t q_stride = 0, kv_stride = 0;
  const void* q_norm = nullptr;  // [head_dim] RMSNorm of each query head before rotation, or null
  const void* k_norm = nullptr;  // [head_dim], or null
  float norm_eps = 1e-6F;
  const float* cos = nullptr;          // [positions, head_dim / 2]
  const float* sin = nullptr;          // [positions, head_dim / 2]
  const int64_t* positions = nullptr;  // [batch]: tokens in the cache already, and the new token's position
  void* keys = nullptr;                // [batch, num_kv_heads, capacity, head_dim]: row `position` is written
  void* values = nullptr;              // the same
  void* y = nullptr;                   // [batch, num_heads, head_dim] contiguous
  float* partial = nullptr;            // scratch, attend_scratch_floats() of them
  uint32_t* tickets = nullptr;         // [batch, num_kv_heads], zero before the first call; left zero
};
/// head_dim 64 or 128 and at most 16 query heads a key-value head, or 96 or 256 and at most 8; num_splits <= 64;
/// otherwise kUnsupportedShape. num_splits is an upper bound: short sequences use fewer.
kernels::Status attend_cuda_supports(const AttendCall& call) noexcept;
int64_t attend_scratch_floats(const AttendCall& call) noexcept;
kernels::Status attend_cuda(const AttendCall& call, const Order& order) noexcept;

/// The rule is that of kernels/decode/sample.h; where no logit is a number, history gets -1 and ids 0.
struct SampleCall {
  int64_t batch = 1, vocab_size = 0;
  float* logits = nullptr;               // [batch, vocab_size]; penalised in place
  const SampleParams* params = nullptr;  // [batch]
  const double* uniforms = nullptr;      // [max_steps, batch] in [0, 1)
  uint8_t* seen = nullptr;               // [batch, vocab_size]: 1 where a token occurred; updated. null: no penalty
  int64_t* ids = nullptr;                // [batch]: the chosen tokens
  int64_t* positions = nullptr;          // [batch]: each raised by one
  int64_t* step = nullptr;               // one number: row of `uniforms` and of `history`; raised by one
  int64_t* history = nullptr;            // [max_steps, batch]: the chosen tokens
  uint32_t* ticket = nullptr;            // one number, zero before the first call; left zero
};
kernels::Status sample_cuda(const SampleCall& call, const Order& order) noexcept;

}  // namespace aqlm_exp::decode
