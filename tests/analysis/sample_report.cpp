// sample_report OUT [TRIALS]: writes a small sweep (or one of many trials) as result files, merges them and reports,
// for the tests that look at the outcome with other programs. With TRIALS, prints the seconds that reading and
// reporting took. sample_report --budget: 1,000 trials in memory; exit code 1 if that took 5 s of CPU time or the page
// has 5 MB.
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <optional>

#include "analysis/sqlite_export.h"
#include "analysis/write_report.h"
#include "framework/base/timer.h"
#include "framework/results/library.h"
#include "framework/results/merge.h"
#include "framework/results/publish.h"
#include "tests/analysis/sample_sweep.h"
#include "tests/framework/results/temp_dir.h"

int main(int argc, char** argv) {
  using namespace aqlm_exp;
  if (argc < 2) return 2;
  results::keep_freed_memory();
  std::optional<TempDir> in_memory;
  const bool budget = std::string(argv[1]) == "--budget";
  if (budget) in_memory.emplace();
  const std::filesystem::path out = budget ? in_memory->path() / "out" : std::filesystem::path(argv[1]);
  std::filesystem::remove_all(out);
  std::filesystem::create_directories(out / "results");
  analysis::Dataset data = analysis::sample_sweep();
  const int num_trials = budget ? 1000 : argc > 2 ? std::atoi(argv[2]) : 0;
  const char* const methods[] = {"aqlm", "gptq", "awq", "hqq", "rtn"};
  for (int i = static_cast<int>(data.rows.size()); i < num_trials; ++i) {
    analysis::TrialRow row = analysis::sample_trial({.method = methods[i % 5],
                                                     .setting = fmt::format("setting {}", i),
                                                     .bits = 2 + 0.0023 * i,
                                                     .kl = 1.0 / (1 + 0.01 * i) + 0.1 * (i % 7)});
    for (int key = 0; key < 6; ++key) row.overrides.push_back(fmt::format("quant.key{}={}", key, (i >> key) % 5));
    data.rows.push_back(std::move(row));
  }
  // A trial with a hostile name, a curve and kernel timings.
  analysis::TrialRow hostile = analysis::sample_trial({.method = "aqlm",
                                                       .setting = "</script><b>=1",
                                                       .bits = 2.2,
                                                       .kl = 0.9,
                                                       .name = "=HYPERLINK(\"http://evil.example\")"});
  hostile.record->series = {{.name = "loss",
                             .unit = "nats",
                             .description = "loss of the fine-tuner",
                             .step = {0, 10, 20, 30},
                             .value = {3, 1, 0.6, 0.5}}};
  for (const auto& [name, verdict, time_us] :
       {std::tuple{"cpu_lut", "chosen", 12.5}, std::tuple{"generic", "slower", 40.0}}) {
    const std::string where = fmt::format("kernels/aqlm_2x7_g8_256x64_b1/{}/", name);
    hostile.record->provenance.emplace_back(where + "verdict", std::string(verdict));
    hostile.record->provenance.emplace_back(where + "time_us", time_us);
    hostile.record->provenance.emplace_back(where + "rel_error", 1e-7);
    hostile.record->provenance.emplace_back(where + "resident_bytes", int64_t{65536});
  }
  data.rows.push_back(hostile);
  data.rows.push_back(analysis::sample_failure());
  results::MergeRequest merge{.rows = {},
                              .plan_json = "{}",
                              .results_dir = out / "results",
                              .target = out / "sweep.h5",
                              .writer = "sample_report",
                              .created_utc = "2026-11-25T00:00:00Z"};
  for (analysis::TrialRow& row : data.rows) {
    results::Sidecar sidecar{.id = row.id, .name = row.name, .status = row.status, .failure_class = row.failure_class};
    sidecar.message = row.message;
    sidecar.overrides = row.overrides;
    if (row.completed()) {
      row.record->overrides = row.overrides;
      row.record->created_utc = "2026-11-25T00:00:00Z";
      const results::Published published = results::publish(*row.record, out / "results");
      sidecar.sha256 = published.sha256;
      sidecar.size_bytes = published.size_bytes;
    }
    merge.rows.push_back({.id = row.id, .name = row.name, .repeat = 0, .overrides = row.overrides, .sidecar = sidecar});
  }
  results::merge(merge);
  const Stopwatch watch;
  const std::clock_t cpu_start = std::clock();
  for (analysis::TrialRow& row : data.rows) {
    if (row.completed()) row.record = results::read_published(out / "results", row.id);
  }
  const double read_s = watch.elapsed_s();
  analysis::write_report(data, {}, {}, out / "report");
  if (num_trials > 0) {
    const double cpu_s = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    const uintmax_t bytes = std::filesystem::file_size(out / "report" / "report.html");
    fmt::print("{} trials: read {:.2f} s, all {:.2f} s ({:.2f} s of CPU time), report.html {} bytes\n",
               data.rows.size(), read_s, watch.elapsed_s(), cpu_s, bytes);
    if (budget) return cpu_s < 5 && bytes < 5'000'000 ? 0 : 1;
  }
  analysis::export_sqlite(analysis::build_report(data), out / "sweep.sqlite");
}
