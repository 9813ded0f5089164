// `aqlm-exp parity`: do our logits equal those of another implementation?
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/checkpoint/checkpoint.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/model.h"
#include "framework/trial/device.h"

namespace aqlm_exp::app {
namespace {

struct Arguments {
  std::string model, golden, device = "cpu";
  double tolerance = 1e-3;
  bool json = false;
};

void parity(const Arguments& arguments) {
  const c10::NoGradGuard no_grad;
  const at::Device device = trial::open_device(arguments.device);
  const checkpoint::Checkpoint golden = checkpoint::Checkpoint::open(arguments.golden);
  const at::Tensor ids = model::read_tensor(golden, "input_ids").reshape({-1}).to(device, at::kLong);
  const model::Model model = model::load_model(arguments.model, device);
  if (ids.numel() == 0 || ids.min().item<int64_t>() < 0 || ids.max().item<int64_t>() >= model.config.vocab_size) {
    throw DataError(fmt::format("{}: input_ids: need {} ids or fewer, each under the vocabulary size {}",
                                arguments.golden, model.config.max_position_embeddings, model.config.vocab_size));
  }
  const at::Tensor logits = model.forward(ids.unsqueeze(0)).squeeze(0).cpu();  // [tokens, vocab_size]
  const char* name = golden.find("logits_fp32") != nullptr ? "logits_fp32" : "logits";
  const at::Tensor expected = model::read_tensor(golden, name).to(at::kFloat).reshape({-1, model.config.vocab_size});
  if (expected.sizes() != logits.sizes()) {
    throw DataError(fmt::format("{}: logits for {} positions, input_ids for {}", arguments.golden, expected.size(0),
                                logits.size(0)));
  }
  const at::Tensor difference = (logits - expected).abs();
  const double worst = difference.max().item<double>();
  const double agreement = logits.argmax(-1).eq(expected.argmax(-1)).to(at::kDouble).mean().item<double>();
  if (arguments.json) {
    print_json({{"max_abs_diff", worst},
                {"mean_abs_diff", difference.mean().item<double>()},
                {"top1_agreement", agreement},
                {"num_tokens", ids.numel()},
                {"tolerance", arguments.tolerance},
                {"within_tolerance", worst <= arguments.tolerance}});
  } else {
    fmt::print("largest difference {:.3g}, mean {:.3g}, same top token at {:.1f}% of {} positions\n", worst,
               difference.mean().item<double>(), 100 * agreement, ids.numel());
  }
  if (!(worst <= arguments.tolerance)) {
    throw DataError(
        fmt::format("{}: logits differ by {:.3g}, allowed {:.3g}", arguments.model, worst, arguments.tolerance));
  }
}

}  // namespace

void add_parity_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("parity", "compare our logits with stored ones");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL_DIR", arguments->model, "Hugging Face folder")->required();
  command
      ->add_option("--golden", arguments->golden,
                   "safetensors file with input_ids [tokens] and logits_fp32 (or logits) [tokens, vocab_size]")
      ->required();
  command->add_option("--tolerance", arguments->tolerance, "largest difference that is accepted")
      ->capture_default_str();
  command->add_option("--device", arguments->device, "cpu, cuda, cuda:N, auto")->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { parity(*arguments); });
}

}  // namespace aqlm_exp::app
