#include "framework/trial/loss_series.h"

#include <algorithm>
#include <cmath>

namespace aqlm_exp::trial {

void file_losses(results::TrialRecord& record, const std::vector<method::LossCurve>& curves) {
  using Of = method::LossCurve::Of;
  results::Series quantiser{.name = "quantiser_loss",
                            .unit = "of the start",
                            .description =
                                "output error of the linears (tr((W'-W)H(W'-W)^T)) while they are "
                                "quantised, as a part of that after initialisation, mean over linears"};
  results::Series finetuner{
      .name = "finetuner_loss",
      .unit = "mean square",
      .description = "squared error of a block's outputs in each epoch of its fine-tuning, one block after another"};
  std::vector<const std::vector<double>*> linears;
  size_t num_steps = 0;
  for (const method::LossCurve& curve : curves) {
    if (curve.of == Of::kQuantiser) {
      if (!(std::abs(curve.losses.front()) > 0)) continue;
      linears.push_back(&curve.losses);
      num_steps = std::max(num_steps, curve.losses.size());
      continue;
    }
    for (const double loss : curve.losses) {
      finetuner.step.push_back(static_cast<int64_t>(finetuner.step.size()));
      finetuner.value.push_back(loss);
    }
  }
  for (size_t step = 0; step < num_steps; ++step) {
    double sum = 0;
    for (const std::vector<double>* losses : linears) {
      sum += (*losses)[std::min(step, losses->size() - 1)] / losses->front();
    }
    quantiser.step.push_back(static_cast<int64_t>(step));
    quantiser.value.push_back(sum / static_cast<double>(linears.size()));
  }
  for (results::Series* series : {&quantiser, &finetuner}) {
    if (!series->value.empty()) record.series.push_back(std::move(*series));
  }
}

}  // namespace aqlm_exp::trial
