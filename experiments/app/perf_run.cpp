#include "experiments/app/perf_run.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/generate/conversation.h"
#include "framework/trial/device.h"
#include "framework/trial/provenance.h"

namespace aqlm_exp::app {
namespace {

using generate::SpeedTest;

struct Subject {
  trial::UsableModel* model = nullptr;
  std::unique_ptr<generate::Decoder> decoder;
  std::vector<int32_t> text;      // tokens to feed in speed tests
  std::vector<int32_t> question;  // the prompt, or empty
  PerfModel result;
};

std::vector<SpeedTest> tests_of(const PerfOptions& options) {
  std::vector<SpeedTest> tests;
  for (const int64_t depth : options.depths) {
    for (const int64_t n : options.prompt_lengths) tests.push_back({SpeedTest::Kind::kPrefill, n, depth});
    for (const int64_t n : options.answer_lengths) tests.push_back({SpeedTest::Kind::kDecode, n, depth});
  }
  return tests;
}

/// Tokens whose values do not matter: a walk over the vocabulary that does not repeat.
std::vector<int32_t> filler(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((i * 7919 + 13) % vocab_size));
  return ids;
}

PerfFigure& figure(PerfModel& model, const std::string& name, const std::string& unit) {
  for (PerfFigure& one : model.figures) {
    if (one.name == name) return one;
  }
  model.figures.push_back({name, unit, {}});
  return model.figures.back();
}

std::string format_of(const model::Model& model) {
  std::string format;
  for (const model::Linear* linear : model.linears()) {
    const std::string one = linear->weight->format();
    if (format.empty()) format = one;
    if (format != one) return "several";
  }
  return format;
}

Subject make_subject(trial::UsableModel& model, const PerfOptions& options, const std::vector<SpeedTest>& tests) {
  Subject subject;
  subject.model = &model;
  int64_t longest = 2;
  for (const SpeedTest& test : tests) longest = std::max(longest, std::max<int64_t>(1, test.depth) + test.tokens + 1);
  if (model.tokenizer && !options.question.empty()) {
    generate::Conversation conversation(model.folder, *model.tokenizer);
    conversation.set_system(options.system);
    conversation.add_user(options.question);
    subject.question = conversation.prompt(model.model.rotary->num_positions());
    longest = std::max(longest, static_cast<int64_t>(subject.question.size()) + options.generate.max_new_tokens);
  }
  const int64_t context = options.context > 0 ? options.context : longest;
  subject.decoder =
      generate::make_decoder(model.model, {.batch = 1, .capacity = context, .cuda_graph = options.cuda_graph});
  subject.text = filler(longest, model.model.embedding.size(0));
  PerfModel& result = subject.result;
  result.name = model.name;
  result.folder = model.folder.string();
  result.about = model.about();
  result.decoder = subject.decoder->description();
  result.format = format_of(model.model);
  result.load_s = model.load_s;
  result.weight_bytes = model.model.resident_bytes();
  const quant::BitCount quantised = model::quantised_bits(model.model);
  result.bits_per_weight = quantised.num_weights > 0 ? quantised.per_weight() : 0.0;
  result.num_weights = model::model_bits(model.model).num_weights;
  result.before_load = model.before_load;
  result.after_load = model.after_load;
  return subject;
}

void run_round(Subject& subject, const PerfOptions& options, const std::vector<SpeedTest>& tests, bool counts) {
  PerfModel& result = subject.result;
  if (!subject.question.empty()) {
    generate::GenerateOptions asking = options.generate;
    asking.stop_tokens = subject.model->stop_tokens;
    const generate::QuestionRun run = generate::ask(*subject.decoder, subject.question, asking);
    if (counts) {
      figure(result, "question", "s").runs.push_back(run.total_s);
      figure(result, "question prefill", "tokens/s")
          .runs.push_back(static_cast<double>(run.prompt_tokens) / run.prefill_s);
      if (run.new_tokens > 1) {
        figure(result, "question decode", "tokens/s")
            .runs.push_back(static_cast<double>(run.new_tokens - 1) / run.decode_s);
      }
      result.prompt_tokens = run.prompt_tokens;
      result.new_tokens = run.new_tokens;
      result.answer = subject.model->tokenizer->decode(run.tokens, {.skip_special_tokens = true});
    }
  }
  for (const SpeedTest& test : tests) {
    const double seconds = generate::run_speed_test(*subject.decoder, test, subject.text);
    if (counts) {
      figure(result, test.name(), "tokens/s").runs.push_back(static_cast<double>(test.tokens) / seconds);
    }
  }
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::string mib(int64_t bytes) { return fmt::format("{:.1f}", static_cast<double>(bytes) / 1048576.0); }

Json memory_json(const generate::MemoryReading& reading) {
  return {{"host_bytes", reading.host_bytes},
          {"host_peak_bytes", reading.host_peak_bytes},
          {"device_bytes", reading.device_bytes},
          {"device_peak_bytes", reading.device_peak_bytes},
          {"device_reserved_bytes", reading.device_reserved_bytes}};
}

}  // namespace

double PerfFigure::best() const {
  if (runs.empty()) return 0.0;
  return unit == "s" ? *std::min_element(runs.begin(), runs.end()) : *std::max_element(runs.begin(), runs.end());
}
double PerfFigure::worst() const {
  if (runs.empty()) return 0.0;
  return unit == "s" ? *std::max_element(runs.begin(), runs.end()) : *std::min_element(runs.begin(), runs.end());
}

PerfReport run_perf(std::vector<trial::UsableModel>& models, const PerfOptions& options) {
  PerfReport report;
  report.options = options;
  report.created_utc = utc_now();
  const std::vector<SpeedTest> tests = tests_of(options);
  std::vector<Subject> subjects;
  for (trial::UsableModel& model : models) subjects.push_back(make_subject(model, options, tests));
  const at::Device device = models.front().model.device();
  report.hardware = trial::hardware_name(device);
  for (int64_t round = 0; round <= options.repeats; ++round) {
    for (size_t i = 0; i < subjects.size(); ++i) {
      Subject& subject = subjects[(i + static_cast<size_t>(round)) % subjects.size()];
      run_round(subject, options, tests, round > 0);
      subject.result.after_inference = generate::read_memory(device);
    }
    report_progress("perf", round, options.repeats);
  }
  for (Subject& subject : subjects) report.models.push_back(std::move(subject.result));
  return report;
}

std::string perf_table(const PerfReport& report) {
  std::string out = fmt::format("{}\n{} repeats after one warm-up{}\n", report.hardware, report.options.repeats,
                                report.models.size() > 1 ? ", models in turn" : "");
  for (const PerfModel& model : report.models) {
    out += fmt::format("\n{} ({}; {})\n", model.name, model.about, model.decoder);
    if (model.bits_per_weight > 0) {
      out +=
          fmt::format("  {}: {:.3f} bits per weight over the quantised linears\n", model.format, model.bits_per_weight);
    }
    out += fmt::format("  {:<24} {:>12} {:>10} {:>12} {:>12}  {}\n", "", "mean", "std", "minimum", "maximum", "unit");
    for (const PerfFigure& figure : model.figures) {
      const bool time = figure.unit == "s";
      out += fmt::format("  {:<24} {:>12.{}f} {:>10.{}f} {:>12.{}f} {:>12.{}f}  {}\n",
                         figure.name == "question" ? "question, whole answer" : figure.name, figure.mean(),
                         time ? 4 : 1, figure.std(), time ? 4 : 1, time ? figure.best() : figure.worst(), time ? 4 : 1,
                         time ? figure.worst() : figure.best(), time ? 4 : 1, figure.unit);
    }
    if (model.prompt_tokens > 0) {
      out += fmt::format("  the question has {} tokens, the answer {}\n", model.prompt_tokens, model.new_tokens);
    }
    out += fmt::format("  model memory             {} MiB of weights ({} weights), loaded in {:.2f} s\n",
                       mib(model.weight_bytes), model.num_weights, model.load_s);
    out += fmt::format("  {:<24} {:>12} {:>12} {:>16} {:>12}\n", "memory in MiB", "before load", "after load",
                       "after inference", "peak");
    out += fmt::format("  {:<24} {:>12} {:>12} {:>16} {:>12}\n", "host", mib(model.before_load.host_bytes),
                       mib(model.after_load.host_bytes), mib(model.after_inference.host_bytes),
                       mib(model.after_inference.host_peak_bytes));
    if (model.after_load.device_reserved_bytes > 0) {
      out += fmt::format("  {:<24} {:>12} {:>12} {:>16} {:>12}\n", "GPU", mib(model.before_load.device_bytes),
                         mib(model.after_load.device_bytes), mib(model.after_inference.device_bytes),
                         mib(model.after_inference.device_peak_bytes));
    } else {
      out += "  GPU                      none in use\n";
    }
  }
  if (report.models.size() > 1) {
    out += "\nmemory after inference and peaks are the process's: all models are loaded at once\n";
  }
  return out;
}

Json perf_json(const PerfReport& report) {
  Json models = Json::array();
  for (const PerfModel& model : report.models) {
    Json figures = Json::array();
    for (const PerfFigure& figure : model.figures) {
      figures.push_back({{"name", figure.name},
                         {"unit", figure.unit},
                         {"mean", figure.mean()},
                         {"std", figure.std()},
                         {"min", figure.unit == "s" ? figure.best() : figure.worst()},
                         {"max", figure.unit == "s" ? figure.worst() : figure.best()},
                         {"runs", figure.runs}});
    }
    models.push_back({{"name", model.name},
                      {"folder", model.folder},
                      {"about", model.about},
                      {"decoder", model.decoder},
                      {"format", model.format},
                      {"bits_per_weight", model.bits_per_weight},
                      {"num_weights", model.num_weights},
                      {"weight_bytes", model.weight_bytes},
                      {"load_s", model.load_s},
                      {"memory",
                       {{"before_load", memory_json(model.before_load)},
                        {"after_load", memory_json(model.after_load)},
                        {"after_inference", memory_json(model.after_inference)}}},
                      {"prompt_tokens", model.prompt_tokens},
                      {"new_tokens", model.new_tokens},
                      {"answer", model.answer},
                      {"figures", std::move(figures)}});
  }
  return {{"created_utc", report.created_utc},
          {"writer", "aqlm-exp " + build_info().version},
          {"build_id", build_info().build_id},
          {"hardware", report.hardware},
          {"repeats", report.options.repeats},
          {"question", report.options.question},
          {"sampling", generate::describe(report.options.generate.sampling)},
          {"max_new_tokens", report.options.generate.max_new_tokens},
          {"models", std::move(models)}};
}

results::TrialRecord perf_record(const PerfReport& report, const PerfModel& model) {
  results::TrialRecord record;
  const Json whole = perf_json(report);
  record.config_identity =
      Json({{"perf", model.folder}, {"created_utc", report.created_utc}, {"about", model.about}}).dump();
  record.id = sha256_hex(record.config_identity + whole.dump());  // a measurement is its own, never another's repeat
  record.name = "perf " + model.name;
  record.created_utc = report.created_utc;
  record.config_yaml = fmt::format("perf: {}\n", Json(model.folder).dump());
  trial::add_provenance(record);
  record.labels = {{results::label::kMethod, model.format},
                   {results::label::kModel, model.name},
                   {results::label::kHardware, report.hardware},
                   {"backend", model.about},
                   {"decoder", model.decoder}};
  const auto metric = [&](const std::string& name, double value, const std::string& unit, const std::string& text,
                          results::Direction direction) {
    record.metrics.push_back({.name = name,
                              .value = value,
                              .unit = unit,
                              .description = text,
                              .direction = direction,
                              .deterministic = false});
  };
  for (const PerfFigure& figure : model.figures) {
    std::string name = figure.name;
    for (char& c : name) {
      if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
    }
    name += figure.unit == "s" ? "_s" : "_tokens_per_s";
    const auto direction = figure.unit == "s" ? results::Direction::kMin : results::Direction::kMax;
    metric(name, figure.mean(), figure.unit, figure.name + ", mean of the repeats", direction);
    record.metrics.back().n = static_cast<int64_t>(figure.runs.size());
    record.metrics.back().std = figure.std();
    record.samples.push_back(
        {.name = name, .unit = figure.unit, .description = figure.name, .values = figure.runs, .deterministic = false});
  }
  const auto memory = [&](const std::string& name, int64_t bytes, const std::string& text) {
    metric(name, static_cast<double>(bytes) / 1048576.0, "MiB", text, results::Direction::kMin);
  };
  memory("resident_mib", model.weight_bytes, "weights held in memory by this backend");
  memory("host_before_load_mib", model.before_load.host_bytes, "host memory before loading");
  memory("host_after_load_mib", model.after_load.host_bytes, "host memory after loading");
  memory("host_after_inference_mib", model.after_inference.host_bytes, "host memory after inference");
  memory("peak_host_mib", model.after_inference.host_peak_bytes, "largest resident memory of the process");
  memory("gpu_before_load_mib", model.before_load.device_bytes, "GPU memory before loading");
  memory("gpu_after_load_mib", model.after_load.device_bytes, "GPU memory after loading");
  memory("gpu_after_inference_mib", model.after_inference.device_bytes, "GPU memory after inference");
  memory("peak_gpu_mib", model.after_inference.device_peak_bytes, "largest GPU memory");
  if (model.bits_per_weight > 0) {
    metric(results::metric::kBitsPerWeight, model.bits_per_weight, "bits", "audited, over the quantised linears",
           results::Direction::kMin);
  }
  record.timing.emplace_back("load_s", model.load_s);
  return record;
}

}  // namespace aqlm_exp::app
