// Choosing by measurement: every kernel that can run a weight first shows that its answer is right, then is timed on
// the layer itself beside the others; the fastest one that keeps the weight compressed runs the model. One decision for
// all layers of a shape and format.
//
// What is timed is a decoding step. Prompts (more than kPromptTokens at once) always take the first eligible kernel's
// way, so that quality figures, which come from long windows, do not depend on which kernel was faster that day.
#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>

#include "framework/backend/backend.h"
#include "framework/backend/device_clock.h"
#include "framework/backend/flat_op.h"
#include "framework/backend/operands.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/rng.h"

namespace aqlm_exp::backend {
namespace {

using WeightPtr = std::shared_ptr<const quant::Weight>;
using Kind = quant::Scheme::Kind;

constexpr int64_t kPromptTokens = 64;
constexpr int64_t kGateTokens = 80;          // of the second check, which takes the prompts' way
constexpr double kBfloat16Step = 1.0 / 256;  // an answer in bfloat16 may add this to the error
constexpr double kShortestTimed_s = 2e-4;    // calls are repeated until a measurement takes this long (CPU, warm)

/// The winner for a few tokens, the first eligible kernel for prompts.
class SplitOp final : public LinearOp {
 public:
  SplitOp(std::shared_ptr<const LinearOp> few, std::shared_ptr<const LinearOp> many)
      : few_(std::move(few)), many_(std::move(many)) {}
  at::Tensor forward(const at::Tensor& x) const override {
    return (x.numel() > kPromptTokens * x.size(-1) ? many_ : few_)->forward(x);
  }
  int64_t resident_bytes() const override { return few_->resident_bytes() + many_->resident_bytes(); }
  std::string kernel() const override { return few_->kernel(); }
  std::string kernel_for(int64_t tokens) const override {
    return (tokens > kPromptTokens ? many_ : few_)->kernel_for(tokens);
  }
  bool is_self_contained() const override { return few_->is_self_contained() && many_->is_self_contained(); }

 private:
  std::shared_ptr<const LinearOp> few_, many_;
};

struct Options {
  int64_t repeats = 7;
  double tolerance = 2e-3;
  bool allow_dense = false;
};

at::Tensor random_input(int64_t tokens, int64_t in_features, at::Device device, at::ScalarType dtype) {
  Rng rng(0x61757430);
  at::Tensor x = at::empty({tokens, in_features}, at::kFloat);
  float* values = x.mutable_data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i) values[i] = static_cast<float>(rng.normal());
  return x.to(device, dtype);
}

double relative_error(const at::Tensor& y, const at::Tensor& exact) {
  const double norm = exact.norm().item<double>();
  const double error = (y.to(at::kDouble) - exact).norm().item<double>();
  return norm > 0 ? error / norm : error;
}

/// Times candidates in turn, so that a slow spell of the machine meets all of them. Where the whole model does not fit
/// the last cache, neither does a layer when its turn comes: the cache is then emptied before each call.
class Timer {
 public:
  Timer(at::Device device, int64_t model_bytes) : device_(device) {
    int64_t cache = int64_t{48} << 20;  // what stays in an H200's L2 cache (design/performance.md)
    if (device.is_cpu()) {
      const long known = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
      cache = known > 0 ? known : int64_t{32} << 20;
    }
    if (model_bytes > cache) {
      const int64_t size = std::min<int64_t>(2 * cache, int64_t{256} << 20);
      flush_ = at::ones({size / 4}, at::TensorOptions().dtype(at::kFloat).device(device));
    }
    if (device.is_cuda()) busy_ = at::zeros({4096, 4096}, at::TensorOptions().dtype(at::kHalf).device(device));
  }

  /// @return seconds a call, [operation][repeat]
  std::vector<std::vector<double>> run(const std::vector<const LinearOp*>& ops, const at::Tensor& x, int64_t repeats) {
    std::vector<std::vector<double>> out(ops.size());
    for (const LinearOp* op : ops) op->forward(x);  // warm: pages, allocator, lazily loaded code
    for (int64_t i = 0; i < repeats; ++i) {
      if (device_.is_cuda()) {
        round_on_gpu(ops, x, out);
      } else {
        for (size_t k = 0; k < ops.size(); ++k) out[k].push_back(once_on_cpu(*ops[k], x));
      }
    }
    return out;
  }

 private:
  /// The queue is kept full, so that what lies between two events is the device's time and not the host's.
  void round_on_gpu(const std::vector<const LinearOp*>& ops, const at::Tensor& x,
                    std::vector<std::vector<double>>& out) {
    DeviceClock clock(device_);
    for (int i = 0; i < 10; ++i) at::mm(busy_, busy_);
    for (const LinearOp* op : ops) {
      if (flush_.defined()) flush_.mul_(1.0f);
      clock.mark();
      op->forward(x);
      clock.mark();
    }
    const std::vector<double> intervals = clock.intervals_s();
    for (size_t k = 0; k < ops.size(); ++k) out[k].push_back(intervals[2 * k]);
  }

  double once_on_cpu(const LinearOp& op, const at::Tensor& x) {
    using Clock = std::chrono::steady_clock;
    if (flush_.defined()) flush_.mul_(1.0f);
    int64_t calls = 0;
    const Clock::time_point start = Clock::now();
    double seconds = 0;
    do {
      op.forward(x);
      ++calls;
      seconds = std::chrono::duration<double>(Clock::now() - start).count();
    } while (!flush_.defined() && seconds < kShortestTimed_s);
    return seconds / static_cast<double>(calls);
  }

  at::Device device_;
  at::Tensor flush_, busy_;
};

class AutoBackend final : public Backend {
 public:
  explicit AutoBackend(Options options) : options_(options) {}

  std::string refusal(const quant::Scheme& scheme, at::Device) const override {
    if (scheme.kind != Kind::kInt8) return {};
    return fmt::format("\"{}\" quantises activations as well; use backend.type: llm_int8", scheme.str());
  }
  std::string refusal(const quant::Weight& weight) const override {
    if (weight.needed_backend().empty()) return {};
    return fmt::format("\"{}\" quantises activations as well; use backend.type: {}", weight.format(),
                       weight.needed_backend());
  }

  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias, const Target& target) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    if (!weight->is_quantised()) return std::make_unique<DenseOp>(*weight, bias, target.dtype);
    const c10::NoGradGuard no_grad;
    const at::Device device = device_of(*weight);
    const c10::DeviceGuard guard(device);
    const std::string key = fmt::format("{} {}x{} {} {} b{}", weight->format(), weight->out_features(),
                                        weight->in_features(), device.str(), at::toString(target.dtype), target.batch);
    const std::lock_guard lock(mutex_);
    auto found = decisions_.find(key);
    if (found == decisions_.end()) found = decisions_.emplace(key, decide(weight, bias, target, device)).first;
    Decision& decision = found->second;
    decision.choice.num_layers += 1;
    auto few = backend_named(decision.few).prepare(weight, bias, target);
    if (decision.few == decision.many) return few;
    return std::make_unique<SplitOp>(std::move(few), backend_named(decision.many).prepare(weight, bias, target));
  }

  std::unique_ptr<GroupOp> prepare_group(std::vector<std::shared_ptr<const LinearOp>> ops) const override {
    return backend_named("cuda").prepare_group(std::move(ops));  // fuses what it knows, loops over the rest
  }

  std::vector<Choice> choices() const override {
    const std::lock_guard lock(mutex_);
    std::vector<Choice> out;
    for (const auto& [key, decision] : decisions_) out.push_back(decision.choice);
    return out;
  }

 private:
  struct Decision {
    std::string few, many;  // names of backends
    Choice choice;
  };
  struct Runner {
    std::string backend;
    std::unique_ptr<LinearOp> op;
    bool eligible = true;
    size_t row = 0;  // in Choice::candidates
  };

  static std::vector<std::string> names_for(Kind kind, at::Device device) {
    std::vector<std::string> names;
    if (device.is_cuda()) {
      names.push_back("cuda");
      if (kind == Kind::kAdditive) names.push_back("cuda_generic");
    } else if (kind == Kind::kAdditive) {
      names = {"cpu_lut", "cpu_generic"};
    } else {
      names = {"cpu"};
    }
    names.insert(names.end(), {"dequantise", "dense"});
    return names;
  }

  const Backend& backend_named(const std::string& name) const {
    auto& made = backends_[name];
    if (!made) {
      const config::Node none = config::Node::map();
      config::Reader reader(none);
      made = backends().find(name)->maker(reader);
    }
    return *made;
  }

  Decision decide(const WeightPtr& weight, const at::Tensor& bias, const Target& target, at::Device device) const {
    Decision decision;
    Choice& choice = decision.choice;
    choice.format = weight->format();
    choice.out_features = weight->out_features();
    choice.in_features = weight->in_features();
    choice.batch = target.batch;
    choice.dtype = at::toString(target.dtype);
    choice.tolerance = options_.tolerance + (target.dtype == at::kBFloat16 ? kBfloat16Step : 0.0);
    std::vector<Runner> runners = gate(weight, bias, target, device, choice);

    const at::Tensor x = random_input(target.batch, choice.in_features, device, target.dtype);
    std::vector<const LinearOp*> ops;
    for (const Runner& runner : runners) ops.push_back(runner.op.get());
    Timer timer(device, target.model_bytes);
    const std::vector<std::vector<double>> times = timer.run(ops, x, options_.repeats);
    const Runner* best = nullptr;
    for (size_t i = 0; i < runners.size(); ++i) {
      std::vector<double> sorted = times[i];
      std::sort(sorted.begin(), sorted.end());
      Candidate& row = choice.candidates[runners[i].row];
      const double median = sorted[sorted.size() / 2];
      row.time_us = 1e6 * median;
      row.spread = median > 0 ? (sorted.back() - sorted.front()) / median : 0;
      if (!runners[i].eligible) continue;
      if (best == nullptr || row.time_us < choice.candidates[best->row].time_us) best = &runners[i];
      if (decision.many.empty()) decision.many = runners[i].backend;
    }
    if (best == nullptr) {
      std::string reasons;
      for (const Candidate& row : choice.candidates) reasons += fmt::format("; {}: {}", row.name, row.verdict);
      throw ConfigError(fmt::format("backend auto: no kernel can run \"{}\" {}x{}{}; use backend=dense", choice.format,
                                    choice.out_features, choice.in_features, reasons));
    }
    for (const Runner& runner : runners) {
      if (runner.eligible) choice.candidates[runner.row].verdict = &runner == best ? "chosen" : "slower";
    }
    decision.few = best->backend;
    log_info("backend auto: {} {}x{} at {} tokens: {}", choice.format, choice.out_features, choice.in_features,
             choice.batch, summary(choice));
    return decision;
  }

  /// Prepares every kernel that can run the weight and throws out those whose answer is wrong.
  std::vector<Runner> gate(const WeightPtr& weight, const at::Tensor& bias, const Target& target, at::Device device,
                           Choice& choice) const {
    const at::Tensor few = random_input(target.batch, choice.in_features, device, target.dtype);
    const at::Tensor many = random_input(kGateTokens, choice.in_features, device, target.dtype);
    const at::Tensor matrix = weight->dequantise().detach().to(at::kDouble).t();
    const auto exact = [&](const at::Tensor& x) {
      const at::Tensor y = at::mm(x.to(at::kDouble), matrix);
      return bias.defined() ? y + bias.to(at::kDouble) : y;
    };
    const at::Tensor exact_few = exact(few), exact_many = exact(many);
    std::vector<Runner> runners;
    for (const std::string& name : names_for(scheme_of(*weight).kind, device)) {
      const Backend& candidate = backend_named(name);
      Candidate row;
      row.name = name;
      row.verdict = candidate.refusal(*weight);
      if (row.verdict.empty()) {
        Runner runner{.backend = name, .op = candidate.prepare(weight, bias, target)};
        if (runner.op->kernel() != name) row.name += "/" + runner.op->kernel_for(target.batch);
        row.resident_bytes = runner.op->resident_bytes();
        row.rel_error = std::max(relative_error(runner.op->forward(few), exact_few),
                                 relative_error(runner.op->forward(many), exact_many));
        if (!(row.rel_error <= choice.tolerance)) {
          row.verdict = "inexact";
        } else {
          runner.eligible = name != "dense" || options_.allow_dense;
          if (!runner.eligible) row.verdict = "for comparison";
          runner.row = choice.candidates.size();
          runners.push_back(std::move(runner));
        }
      }
      choice.candidates.push_back(std::move(row));
    }
    return runners;
  }

  static std::string summary(const Choice& choice) {
    std::string out;
    for (const Candidate& row : choice.candidates) {
      if (row.time_us > 0)
        out += fmt::format("{}{} {:.1f} us ({})", out.empty() ? "" : ", ", row.name, row.time_us, row.verdict);
    }
    return out;
  }

  Options options_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Decision> decisions_;
  mutable std::map<std::string, std::unique_ptr<Backend>> backends_;
};

}  // namespace

void register_auto(BackendRegistry& registry) {
  registry.add(
      "auto", "the kernel that is fastest on the model's own layers among those whose answer is right",
      [](config::Reader& in) {
        Options options;
        options.repeats =
            in.integer("repeats", {.fallback = 7, .min = 1, .doc = "timings of each kernel; the median counts"});
        options.tolerance = in.number(
            "tolerance", {.fallback = 2e-3,
                          .min = 0.0,
                          .doc = "largest |y - exact| / |exact| of a kernel on random inputs, against float64"});
        options.allow_dense = in.flag(
            "allow_dense",
            {.fallback = false, .doc = "a dense copy of the weight may win; it is timed for comparison anyway"});
        return std::make_unique<AutoBackend>(options);
      });
}

}  // namespace aqlm_exp::backend
