#include "framework/trial/quality.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/base/timer.h"
#include "framework/eval/attribution.h"
#include "framework/eval/evaluate.h"
#include "framework/eval/task.h"
#include "framework/statistics/correlation.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::trial {
namespace {

constexpr double kMib = 1024.0 * 1024.0;
constexpr double kNormal95 = 1.959963984540054;  // of a normal distribution: 95% lie within

std::vector<double> as_doubles(const std::vector<int64_t>& values) { return {values.begin(), values.end()}; }

class Quality {
 public:
  Quality(const QualityInputs& in, std::vector<method::LayerReport>& layers, results::TrialRecord& record)
      : in_(in), eval_(in.spec.eval), layers_(layers), record_(record) {}

  void measure() {
    under(in_.text.windows, "");
    for (const eval::WindowSet& set : in_.text.also) under(set, "_" + set.convention.slug());
    if (eval_.attribution != "none" && in_.spec.method_type != "none") attribute();
    for (const TaskSpec& task : eval_.tasks) score(task);
  }

 private:
  /// @param suffix of names in the record; empty for the first convention, whose tag is the record's label
  void under(const eval::WindowSet& set, const std::string& suffix) {
    const Stopwatch watch;
    const bool unquantised = in_.spec.method_type == "none";
    std::unique_ptr<eval::ReferenceLogits> reference;
    if (eval_.kl) {
      // Written also by the unquantised model's own trial, whichever comes first; that one is compared with itself, not
      // with its rounded log-probabilities.
      reference = reference_logits(set, suffix);
      if (unquantised) reference = eval::logits_from_model(in_.original);
      provenance("eval/reference" + suffix, reference->source());
    }
    const eval::Evaluation result = eval::evaluate(in_.quantised, set, reference.get());
    time("evaluate" + suffix + "_s", watch.elapsed_s());
    const std::string tag = set.convention.tag() + ": ";
    if (!suffix.empty()) provenance("metrics/ppl" + suffix, "ppl.v1: " + tag + set.convention.description());
    metric("ppl" + suffix, result.perplexity, "", tag + set.convention.description(), results::Direction::kMin);
    interval(std::exp(result.log_perplexity - kNormal95 * result.log_perplexity_error),
             std::exp(result.log_perplexity + kNormal95 * result.log_perplexity_error), result.num_windows);
    if (result.bits_per_byte) {
      metric("bits_per_byte" + suffix, *result.bits_per_byte, "bits/byte", tag + "of the raw documents",
             results::Direction::kMin);
    }
    samples("window_loss" + suffix, "nats/token", tag + "mean loss of each window", result.window_losses);
    if (eval_.store_tokens) {
      samples("token_loss" + suffix, "nats", tag + "loss of every scored token, window after window",
              result.token_losses);
      samples("window_tokens" + suffix, "tokens", tag + "scored tokens of each window",
              as_doubles(result.window_tokens));
    }
    if (set.convention.name == "word") {
      samples("window_document" + suffix, "", tag + "document of each window", as_doubles(result.window_document));
    }
    if (!result.divergence) return;
    add_divergence(result, tag, suffix);
    if (unquantised && eval_.noise_floor) {
      const auto floor = eval::evaluate(eval::with_bf16_linears(in_.original), set, reference.get());
      metric("kl_noise_floor" + suffix, *floor.kl, "nats/token",
             tag + "KL(unquantised || the same with bfloat16 linears): smaller differences mean nothing",
             results::Direction::kNone);
    }
  }

  void add_divergence(const eval::Evaluation& result, const std::string& tag, const std::string& suffix) {
    const eval::Divergence& d = *result.divergence;
    metric("kl" + suffix, *result.kl, "nats/token", tag + "KL(unquantised || quantised), mean",
           results::Direction::kMin);
    interval(*result.kl - kNormal95 * d.kl.standard_error, *result.kl + kNormal95 * d.kl.standard_error,
             result.num_windows);
    for (const auto& [name, value] : {std::pair{"median", d.kl.median},
                                      {"p95", d.kl.p95},
                                      {"p99", d.kl.p99},
                                      {"p999", d.kl.p999},
                                      {"max", d.kl.max}}) {
      metric(fmt::format("kl_{}{}", name, suffix), value, "nats/token", tag + "over all compared positions",
             results::Direction::kMin);
    }
    metric("top1_agreement" + suffix, *result.top1_agreement, "fraction", tag + "both models rank the same token first",
           results::Direction::kMax);
    interval(d.top1_agreement - kNormal95 * d.top1_standard_error, d.top1_agreement + kNormal95 * d.top1_standard_error,
             result.num_windows);
    metric("delta_p" + suffix, d.delta_p.mean, "fraction",
           tag + "quantised minus unquantised probability of the true token, mean", results::Direction::kMax);
    metric("delta_p_rms" + suffix, d.delta_p_rms, "fraction", tag + "root mean square of the same",
           results::Direction::kMin);
    for (const auto& [name, value] :
         {std::pair{"p01", d.delta_p.p01}, {"p05", d.delta_p.p05}, {"p95", d.delta_p.p95}, {"p99", d.delta_p.p99}}) {
      metric(fmt::format("delta_p_{}{}", name, suffix), value, "fraction", tag + "percentile of the same",
             results::Direction::kNone);
    }
    samples("window_kl" + suffix, "nats/token", tag + "mean KL of each window", result.window_kl);
    if (eval_.store_tokens) {
      samples("token_kl" + suffix, "nats", tag + "KL of every compared position, window after window", d.token_kl);
      samples("window_positions" + suffix, "tokens", tag + "compared positions of each window",
              as_doubles(d.window_positions));
    }
  }

  std::unique_ptr<eval::ReferenceLogits> reference_logits(const eval::WindowSet& set, const std::string& suffix) {
    auto live = eval::logits_from_model(in_.original);
    const int64_t vocab_size = in_.original.config.vocab_size;
    const uint64_t size_bytes =
        static_cast<uint64_t>(set.num_positions()) * static_cast<uint64_t>(vocab_size) * 2 + 4096;
    const bool wanted = static_cast<double>(size_bytes) <= static_cast<double>(eval_.reference_cache_mib) * kMib;
    if (!in_.cache.enabled() || !wanted) return live;
    const std::string key =
        sha256_hex(fmt::format("model {} text {} ids {} convention {}", in_.model_fingerprint,
                               in_.text.eval_text_sha256, in_.text.eval_ids_sha256, set.convention.tag()));
    const std::string item = "logits-" + key.substr(0, 16);
    in_.cache.keep(item);
    const SweepCache::Lock lock(in_.cache, item);
    try {
      if (auto cached = eval::logits_from_file(in_.cache.path_of(item), key, set)) {
        in_.cache.touch(item);
        return cached;
      }
    } catch (const DataError& error) {
      log_warning("{}; it is made again", error.what());
    }
    const Stopwatch watch;
    const bool stored = in_.cache.store(item, size_bytes, [&](const std::filesystem::path& path) {
      eval::write_logits_file(path, key, *live, set, vocab_size);
    });
    time("reference_logits" + suffix + "_s", watch.elapsed_s());
    // No room for the file: its numbers all the same, so that a result does not depend on what a disk had to spare.
    return stored ? eval::logits_from_file(in_.cache.path_of(item), key, set) : eval::rounded_logits(std::move(live));
  }

  void attribute() {
    const Stopwatch watch;
    eval::WindowSet set = in_.text.windows;
    if (static_cast<int64_t>(set.windows.size()) > eval_.attribution_windows) {
      set.windows.resize(static_cast<size_t>(eval_.attribution_windows));
    }
    eval::SwapUnit unit = eval_.attribution == "linears" ? eval::SwapUnit::kLinear : eval::SwapUnit::kBlock;
    if (unit == eval::SwapUnit::kLinear && in_.spec.method_type == "awq") {
      unit = eval::SwapUnit::kBlock;
      const std::string note =
          "attribution by blocks: awq moves scales between the linears and norms of a block, so that one linear alone "
          "means nothing in the unquantised model";
      log_warning("{}", note);
      provenance("notes/attribution", note);
    }
    double sum = 0;
    std::vector<double> kl, proxy;
    for (const eval::Swap& swap : eval::swap_attribution(in_.original, in_.quantised, set, unit)) {
      sum += swap.kl;
      auto report = std::find_if(layers_.begin(), layers_.end(), [&](const auto& r) { return r.name == swap.name; });
      if (report == layers_.end()) {
        layers_.push_back({.name = swap.name, .block = swap.block, .role = swap.role, .metrics = {}});
        report = layers_.end() - 1;
      }
      report->metrics["swap_kl"] = swap.kl;
      if (const auto error = report->metrics.find("rel_output_error"); error != report->metrics.end()) {
        kl.push_back(swap.kl);
        proxy.push_back(error->second);
      }
    }
    const std::string windows = fmt::format("{}, first {} windows: ", set.convention.tag(), set.windows.size());
    metric("swap_kl_sum", sum, "nats/token", windows + "KL of each quantised part alone, summed",
           results::Direction::kMin);
    if (kl.size() >= 3) {
      metric("swap_kl_proxy_spearman", statistics::spearman(kl, proxy), "",
             windows + "rank correlation of swap_kl with rel_output_error, the XtX-weighted layer error",
             results::Direction::kNone);
      std::vector<double> log_kl, log_proxy;
      for (size_t i = 0; i < kl.size(); ++i) {
        if (kl[i] <= 0 || proxy[i] <= 0) continue;
        log_kl.push_back(std::log(kl[i]));
        log_proxy.push_back(std::log(proxy[i]));
      }
      metric("swap_kl_proxy_log_pearson", statistics::pearson(log_kl, log_proxy), "",
             windows + "correlation of their logarithms", results::Direction::kNone);
    }
    provenance("metrics/swap_kl", "swap_kl.v1: KL(unquantised || unquantised with this one part quantised)");
    time("attribution_s", watch.elapsed_s());
  }

  void score(const TaskSpec& spec) {
    const Stopwatch watch;
    const text::Tokenizer tokenizer = text::Tokenizer::load(in_.spec.model_path);
    const eval::Task task = eval::load_task(spec.path, spec.name, spec.limit);
    const eval::TaskResult result = eval::run_task(in_.quantised, tokenizer, task,
                                                   eval::task_options(in_.original, tokenizer, in_.spec.model_path));
    std::string name = task.name;
    for (char& c : name) {
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
    }
    const auto questions = static_cast<int64_t>(task.questions.size());
    const auto add = [&](const std::string& kind, double value, double error, const std::vector<double>& correct,
                         const std::string& how) {
      metric(kind + "_" + name, value, "fraction", how, results::Direction::kMax);
      interval(value - kNormal95 * error, value + kNormal95 * error, questions);
      samples("correct_" + kind + "_" + name, "", "1 where question was answered rightly: " + how, correct);
    };
    add("acc", result.acc, result.acc_stderr, result.correct, "zero-shot, likeliest answer");
    if (task.has_acc_norm()) {
      add("acc_norm", result.acc_norm, result.acc_norm_stderr, result.correct_norm,
          "zero-shot, likeliest answer per character");
    }
    provenance("tasks/" + name + "/sha256", task.sha256);
    provenance("tasks/" + name + "/layout", task.layout);
    time("task_" + name + "_s", watch.elapsed_s());
  }

  void metric(const std::string& name, double value, const std::string& unit, const std::string& description,
              results::Direction direction) {
    record_.metrics.push_back(
        {.name = name, .value = value, .unit = unit, .description = description, .direction = direction});
  }
  /// Of the metric added last.
  void interval(double low, double high, int64_t n) {
    record_.metrics.back().n = n;
    record_.metrics.back().ci_low = low;
    record_.metrics.back().ci_high = high;
  }
  void samples(const std::string& name, const std::string& unit, const std::string& description,
               std::vector<double> values) {
    record_.samples.push_back({.name = name, .unit = unit, .description = description, .values = std::move(values)});
  }
  void time(const std::string& name, double seconds) { record_.timing.emplace_back(name, seconds); }
  void provenance(const std::string& key, results::Value value) {
    record_.provenance.emplace_back(key, std::move(value));
  }

  const QualityInputs& in_;
  const EvalSpec& eval_;
  std::vector<method::LayerReport>& layers_;
  results::TrialRecord& record_;
};

}  // namespace

void measure_quality(const QualityInputs& inputs, std::vector<method::LayerReport>& layers,
                     results::TrialRecord& record) {
  Quality(inputs, layers, record).measure();
}

}  // namespace aqlm_exp::trial
