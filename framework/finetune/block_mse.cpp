// The reference's block fine-tuning: mean squared error to target outputs, Adam, one random order of the samples reused in every epoch, optional validation split with early stop and the best parameters restored.
// Source: AQLM, arXiv:2401.06118 §3.4, and the reference implementation. Micro-batches change the cost, not the result:
// a batch's gradient is the sum over its parts.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/finetune/block_finetuner.h"
#include "framework/tuner/adam_state.h"

namespace aqlm_exp::finetune {
namespace {

struct Options {
  int64_t epochs = 5, batch_size = 1, micro_batch_size = 0, validation_samples = 0, early_stop = 3;
  bool cosine = false;  // learning rate falls along a half cosine after the warm-up
  double warmup = 0.0;  // part of all steps in which the rate rises from zero
  tuner::AdamOptions adam;
};

class BlockMse final : public BlockFinetuner {
 public:
  explicit BlockMse(Options options) : options_(options) {}

  BlockReport finetune(const BlockTask& task, Rng& rng) const override {
    const int64_t num_samples = task.inputs.size(0);
    const int64_t num_validation = options_.validation_samples;
    if (num_validation >= num_samples) {
      throw DataError(fmt::format("[block_mse] {}: {} validation samples of {}; need at least one sample for training",
                                  task.name, num_validation, num_samples));
    }
    const std::vector<int64_t> shuffled = rng.permutation(num_samples);
    const std::vector<int64_t> validation(shuffled.begin(), shuffled.begin() + num_validation);
    const std::vector<int64_t> training(shuffled.begin() + num_validation, shuffled.end());
    const std::vector<int64_t>& judged = validation.empty() ? training : validation;

    for (const at::Tensor& parameter : task.parameters) parameter.requires_grad_(true);
    tuner::Adam adam(task.parameters, options_.adam);
    BlockReport report;
    report.loss_before = mean_loss(task, judged);
    double best = report.loss_before;
    std::vector<at::Tensor> best_parameters = validation.empty() ? std::vector<at::Tensor>{} : copies(task.parameters);
    int64_t epochs_without_gain = 0;
    for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
      report.epoch_losses.push_back(train_epoch(task, training, epoch, adam));
      ++report.num_epochs;
      report_progress("finetune " + task.name, epoch + 1, options_.epochs);
      if (validation.empty()) continue;
      const double loss = mean_loss(task, validation);
      if (loss < best) {
        best = loss;
        best_parameters = copies(task.parameters);
        epochs_without_gain = 0;
      } else if (++epochs_without_gain >= options_.early_stop) {
        break;
      }
    }
    for (const at::Tensor& parameter : task.parameters) parameter.requires_grad_(false);
    if (!validation.empty()) restore(task.parameters, best_parameters);
    report.loss_after = validation.empty() ? mean_loss(task, training) : best;
    return report;
  }

 private:
  at::Tensor rows(const at::Tensor& from, const std::vector<int64_t>& order, size_t start, size_t end) const {
    const std::vector<int64_t> picked(order.begin() + static_cast<std::ptrdiff_t>(start),
                                      order.begin() + static_cast<std::ptrdiff_t>(end));
    return from.index_select(0, at::tensor(picked, at::kLong).to(from.device()));
  }

  size_t micro_batch() const {
    return static_cast<size_t>(options_.micro_batch_size > 0 ? options_.micro_batch_size : options_.batch_size);
  }

  double mean_loss(const BlockTask& task, const std::vector<int64_t>& samples) const {
    const c10::NoGradGuard no_grad;
    double sum = 0.0;
    for (size_t start = 0; start < samples.size(); start += micro_batch()) {
      const size_t end = std::min(samples.size(), start + micro_batch());
      const at::Tensor out = task.forward(rows(task.inputs, samples, start, end));
      sum +=
          at::mse_loss(out, rows(task.targets, samples, start, end)).item<double>() * static_cast<double>(end - start);
    }
    return sum / static_cast<double>(samples.size());
  }

  /// Learning rate of step `step` of `num_steps`.
  double rate(int64_t step, int64_t num_steps) const {
    const double warmup_steps = std::floor(options_.warmup * static_cast<double>(num_steps));
    double factor = warmup_steps > 0 ? std::min(1.0, static_cast<double>(step + 1) / warmup_steps) : 1.0;
    if (options_.cosine) {
      factor *= 0.5 + 0.5 * std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(num_steps));
    }
    return options_.adam.lr * factor;
  }

  double train_epoch(const BlockTask& task, const std::vector<int64_t>& order, int64_t epoch,
                     tuner::Adam& adam) const {
    const auto steps_per_epoch = static_cast<int64_t>((order.size() + static_cast<size_t>(options_.batch_size) - 1) /
                                                      static_cast<size_t>(options_.batch_size));
    int64_t step = epoch * steps_per_epoch;
    double epoch_loss = 0.0;
    for (size_t batch = 0; batch < order.size(); batch += static_cast<size_t>(options_.batch_size)) {
      const size_t batch_end = std::min(order.size(), batch + static_cast<size_t>(options_.batch_size));
      for (size_t start = batch; start < batch_end; start += micro_batch()) {
        const size_t end = std::min(batch_end, start + micro_batch());
        const double share = static_cast<double>(end - start) / static_cast<double>(batch_end - batch);
        const c10::AutoGradMode grad(true);
        const at::Tensor out = task.forward(rows(task.inputs, order, start, end));
        const at::Tensor loss = at::mse_loss(out, rows(task.targets, order, start, end));
        (loss * share).backward();
        epoch_loss += loss.item<double>() * static_cast<double>(end - start);
      }
      std::vector<at::Tensor> gradients;
      for (const at::Tensor& parameter : task.parameters) gradients.push_back(parameter.grad());
      adam.set_lr(rate(step++, options_.epochs * steps_per_epoch));
      adam.step(gradients);
      for (const at::Tensor& parameter : task.parameters) parameter.mutable_grad().reset();
    }
    epoch_loss /= static_cast<double>(order.size());
    if (!std::isfinite(epoch_loss)) {
      throw NumericalError(fmt::format("[block_mse] {}: training loss became {}; try a smaller finetune.lr (got {})",
                                       task.name, epoch_loss, options_.adam.lr));
    }
    return epoch_loss;
  }

  static std::vector<at::Tensor> copies(const std::vector<at::Tensor>& parameters) {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> out;
    for (const at::Tensor& parameter : parameters) out.push_back(parameter.detach().clone());
    return out;
  }
  static void restore(const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& saved) {
    const c10::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(saved[i]);
  }

  Options options_;
};

class NoFinetuning final : public BlockFinetuner {
 public:
  BlockReport finetune(const BlockTask&, Rng&) const override { return {}; }
  bool is_active() const override { return false; }
};

}  // namespace

void register_none(BlockFinetunerRegistry& registry) {
  registry.add("none", "no block fine-tuning", [](config::Reader&) { return std::make_unique<NoFinetuning>(); });
}

void register_block_mse(BlockFinetunerRegistry& registry) {
  registry.add("block_mse", "Adam on the squared error of block outputs", [](config::Reader& in) {
    Options options;
    options.epochs = in.integer("epochs", {.fallback = 5, .min = 1, .max = 100000, .doc = "passes over the samples"});
    options.batch_size =
        in.integer("batch_size", {.fallback = 1, .min = 1, .unit = "sequences", .doc = "per Adam step"});
    options.micro_batch_size = in.integer(
        "micro_batch_size", {.fallback = 0,
                             .min = 0,
                             .unit = "sequences",
                             .doc = "sequences in one forward pass; 0: the whole batch. Changes memory, not results"});
    options.validation_samples =
        in.integer("validation_samples", {.fallback = 0,
                                          .min = 0,
                                          .unit = "sequences",
                                          .doc = "held out for early stop; the best parameters are restored"});
    options.early_stop =
        in.integer("early_stop", {.fallback = 3,
                                  .min = 1,
                                  .unit = "epochs",
                                  .doc = "stop after this many epochs without a better validation loss"});
    options.adam.lr = in.number("lr", {.fallback = 1e-5, .min = 0.0, .doc = "learning rate"});
    options.cosine = in.text("lr_schedule", {.fallback = "constant",
                                             .choices = {"constant", "cosine"},
                                             .doc = "cosine: falls to zero along a half cosine over all epochs"}) ==
                     "cosine";
    options.warmup = in.number(
        "warmup", {.fallback = 0.0, .min = 0.0, .max = 1.0, .doc = "part of all steps in which the rate rises from zero"});
    options.adam.beta1 =
        in.number("beta1", {.fallback = 0.9, .min = 0.0, .max = 1.0, .doc = "decay of the first moment"});
    options.adam.beta2 =
        in.number("beta2", {.fallback = 0.95, .min = 0.0, .max = 1.0, .doc = "decay of the second moment"});
    return std::make_unique<BlockMse>(options);
  });
}

}  // namespace aqlm_exp::finetune
