// Whole quantisation methods: a model and calibration data in, the same model with quantised linears out.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "framework/base/timer.h"
#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/method/calibration_cache.h"
#include "framework/model/model.h"
#include "framework/quant/layer_problem.h"
#include "framework/quant/scheme.h"

namespace aqlm_exp::method {

/// How the experts of a mixture are calibrated. Routers are never quantised.
struct ExpertCalibration {
  /// Every expert is shown every token: balanced statistics, at num_experts / experts_per_token times the work.
  /// Otherwise it sees the tokens that the router sends it.
  bool all_tokens = false;
  /// An expert linear that saw fewer tokens is rounded to nearest: its second moments are taken to be the identity,
  /// under which GPTQ and AQLM know no error but the weights' own. At least 1.
  int64_t min_tokens = 1;
};

struct Calibration {
  at::Tensor input_ids;  ///< [num_samples, seq_len] int64, on the CPU; undefined for methods that need none
  /// Statistics of every block are taken on what the unquantised model gives it, not on what the quantised blocks
  /// before it give: all of them can then be shared by all methods.
  bool original_activations = false;
  ExpertCalibration experts = {};
};

/// What is known of one quantised linear. Metrics by name: rel_output_error, rel_weight_error, bits_per_weight,
/// seconds, ...
struct LayerReport {
  std::string name;   ///< "model.layers.0.self_attn.q_proj"
  int64_t block = 0;  ///< row of the per-layer tables
  std::string role;   ///< column of the per-layer tables: "q_proj"
  std::map<std::string, double> metrics;
};

/// How a loss fell, step by step: the quantiser's of one linear, or the fine-tuner's of one block.
struct LossCurve {
  enum class Of { kQuantiser, kFinetuner };
  Of of = Of::kQuantiser;
  std::string name;            ///< of the linear or the block
  std::vector<double> losses;  ///< not empty
};

/// What a method uses and reports besides the model.
struct Context {
  explicit Context(uint64_t seed) : rng(seed) {}
  Rng rng;
  StageTimes times;
  std::vector<LayerReport> layers;
  std::vector<LossCurve> curves;            ///< in the order of the work
  std::vector<std::string> notes;           ///< facts a reader of the result must know, one sentence each
  std::map<std::string, double> metrics;    ///< further numbers of the whole run
  CalibrationCache* cache = nullptr;        ///< null: nothing is shared
  BlockCheckpoints* checkpoints = nullptr;  ///< null: an interrupted trial starts from its beginning
  PassCounts passes;
  int64_t blocks_restored = 0;  ///< from checkpoints of an earlier attempt
};

class Method {
 public:
  virtual ~Method() = default;
  /// Bits and groups as asked for: "2x8 g8", "4 bits g128".
  virtual std::string setting() const = 0;
  virtual bool needs_calibration() const = 0;
  /// What linears will be stored as, where the configuration decides that: backends are asked before any work.
  virtual std::vector<quant::Scheme> schemes() const { return {}; }
  /// Replaces Linear::weight of every linear of every block (embedding, norms and output layer stay, but may be
  /// changed by a method that folds scales into them or fine-tunes them).
  virtual void quantise(model::Model& model, const Calibration& calibration, Context& context) const = 0;
  /// One linear on its own, as `aqlm-exp layer` does it.
  /// @throws ConfigError for methods that need a whole block (the default)
  virtual std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const;
};

using MethodRegistry = config::Registry<Method>;

void register_none(MethodRegistry& registry);
void register_aqlm(MethodRegistry& registry);
void register_awq(MethodRegistry& registry);
void register_gptq(MethodRegistry& registry);
void register_hqq(MethodRegistry& registry);
void register_rtn(MethodRegistry& registry);
void register_nf4(MethodRegistry& registry);
void register_fp4(MethodRegistry& registry);
void register_llm_int8(MethodRegistry& registry);

/// Every built-in method. Makers read the sections they need (method, quant, codebook, ...) from the root of the
/// config.
const MethodRegistry& methods();

/// Adds name, block, role, the errors under `xtx` (skipped when undefined), audited bits and seconds to context.layers.
void report_layer(Context& context, const model::Linear& linear, int64_t block, const at::Tensor& original,
                  const at::Tensor& xtx, double seconds);

}  // namespace aqlm_exp::method
