// The performance test: the same question and the same lengths for several models in turn.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/app/json_output.h"
#include "framework/generate/measure.h"
#include "framework/results/record.h"
#include "framework/trial/usable_model.h"

namespace aqlm_exp::app {

/// Asked where nothing else is: models without a chat template continue it.
inline constexpr const char* kDefaultQuestion = "What makes a good story? A good story";

struct PerfOptions {
  std::vector<int64_t> prompt_lengths;  ///< llama-bench's pp
  std::vector<int64_t> answer_lengths;  ///< and tg
  std::vector<int64_t> depths = {0};    ///< tokens in the cache before each of them
  std::string question;                 ///< empty: none is asked. Models without a tokenizer are not asked
  std::string system;
  generate::GenerateOptions generate;  ///< of the question
  int64_t repeats = 5;
  int64_t context = 0;  ///< tokens of the cache; 0: as many as the tests need
  bool cuda_graph = true;
};

/// One figure of one model.
struct PerfFigure {
  std::string name;          ///< "pp512", "tg128", "question", "question prefill", "question decode"
  std::string unit;          ///< "tokens/s" or "s"
  std::vector<double> runs;  ///< one a repeat, in the unit
  double mean() const { return generate::mean(runs); }
  double std() const { return generate::standard_deviation(runs); }
  double best() const;  ///< the largest speed, the shortest time
  double worst() const;
};

struct PerfModel {
  std::string name, folder, about, decoder, format;
  double load_s = 0;
  int64_t weight_bytes = 0;    ///< resident weights
  double bits_per_weight = 0;  ///< of the quantised linears; 0: none is
  int64_t num_weights = 0;
  generate::MemoryReading before_load, after_load, after_inference;
  std::vector<PerfFigure> figures;
  std::string answer;  ///< to the question, of the last repeat
  int64_t prompt_tokens = 0, new_tokens = 0;
};

struct PerfReport {
  std::string hardware, created_utc;
  PerfOptions options;
  std::vector<PerfModel> models;
};

/// Models take turns within every repeat, each repeat beginning with another one, so that whatever drifts (clocks,
/// heat, other programs) drifts for all. The first round warms up and is not counted.
PerfReport run_perf(std::vector<trial::UsableModel>& models, const PerfOptions& options);

/// For people: one block a model, one row a figure.
std::string perf_table(const PerfReport& report);
Json perf_json(const PerfReport& report);
/// As a result of docs/results-format.md: means as metrics, every repeat as samples.
results::TrialRecord perf_record(const PerfReport& report, const PerfModel& model);

}  // namespace aqlm_exp::app
