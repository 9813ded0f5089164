#include "framework/plan/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "framework/config/reader.h"

namespace aqlm_exp::plan {
namespace {

using config::Node;

void read_keys(config::Reader& in, ExpSettings& settings, std::vector<std::string>& budgets) {
  config::Reader launcher = in.section("launcher", {.doc = "how trials are started"});
  LauncherSettings& l = settings.launcher;
  l.type = launcher.text("type", {.fallback = "local", .choices = {"local", "slurm"}, .doc = "where workers run"});
  l.workers = launcher.integer("workers", {.fallback = 1, .min = 1, .max = 1024, .doc = "trials at a time"});
  l.threads = launcher.integer("threads",
                               {.fallback = 0, .min = 0, .max = 4096, .doc = "threads a worker; 0: cores / workers"});
  l.retries =
      launcher.integer("retries", {.fallback = -1,
                                   .min = -1,
                                   .max = 1000,
                                   .doc = "repeats of a failed trial; -1: one after a crash or a hang, else none"});
  l.timeout_s =
      launcher.number("timeout_s", {.fallback = 0.0, .min = 0.0, .unit = "s", .doc = "limit a trial; 0: none"});
  l.grace_s = launcher.number("grace_s", {.fallback = 30.0,
                                          .min = 0.0,
                                          .unit = "s",
                                          .doc = "for running trials after Ctrl-C, and from SIGTERM to SIGKILL"});
  l.backoff_s = launcher.number(
      "backoff_s", {.fallback = 10.0, .min = 0.0, .unit = "s", .doc = "before a first repeat; doubles, at most 600"});
  l.log_limit_mib = launcher.number(
      "log_limit_mib", {.fallback = 64.0, .min = 0.001, .unit = "MiB", .doc = "output of a trial before it is ended"});
  l.devices = launcher.texts("devices", {.doc = "CUDA devices to hand out, one a worker; empty: no pool"});
  l.env = launcher.texts("env", {.doc = "further environment variables for workers"});
  config::Reader slurm = launcher.section("slurm", {.doc = "what a trial asks of the cluster"});
  SlurmSettings& c = l.slurm;
  c.partition = slurm.text("partition", {.fallback = "", .doc = "sbatch --partition"});
  c.account = slurm.text("account", {.fallback = "", .doc = "sbatch --account"});
  c.qos = slurm.text("qos", {.fallback = "", .doc = "sbatch --qos"});
  c.time = slurm.text("time", {.fallback = "", .doc = "sbatch --time, e.g. \"04:00:00\""});
  c.mem = slurm.text("mem", {.fallback = "", .doc = "sbatch --mem, e.g. 32G"});
  c.gres = slurm.text("gres", {.fallback = "", .doc = "sbatch --gres, e.g. \"gpu:1\""});
  c.cpus = slurm.integer("cpus", {.fallback = 1, .min = 1, .max = 4096, .doc = "sbatch --cpus-per-task"});
  c.max_running = slurm.integer("max_running",
                                {.fallback = 0, .min = 0, .doc = "trials at a time; 0: as many as there is room for"});
  c.poll_s = slurm.number(
      "poll_s", {.fallback = 10.0, .min = 0.1, .unit = "s", .doc = "between two looks at the queue (squeue)"});
  c.args = slurm.texts("args", {.doc = "further options of sbatch, each as one text"});
  config::Reader cache = in.section("cache", {.doc = "what trials of a sweep share, in OUT/cache"});
  settings.cache_mib = cache.integer(
      "limit_mib",
      {.fallback = 8192, .min = 0, .unit = "MiB", .doc = "tokens, statistics, logits; 0: nothing is kept"});
  config::Reader output = in.section("output", {.doc = "where results go"});
  settings.output_dir = output.text("dir", {.fallback = "", .doc = "output folder; empty: runs/<config name>"});
  settings.output_json = output.flag(
      "json", {.fallback = false, .doc = "quantize: figures as JSON as well, in <folder>/performance_results"});
  config::Reader report = in.section("report", {.doc = "what tables show"});
  budgets = report.texts("budgets", {.doc = "upper bounds of the bit budgets, bits per weight"});
}

/// Short forms become the full one: `launcher: local`; numbers in lists of texts.
Node normalised(const Node& exp) {
  Node copy = exp.is_map() ? exp : Node::map(exp.mark());
  config::NodeMap& keys = copy.map_value();
  keys.erase("sweep");
  if (Node* launcher = keys.find("launcher"); launcher != nullptr && launcher->is_string()) {
    Node full = Node::map(launcher->mark());
    full.map_value().set("type", *launcher);
    *launcher = full;
  }
  const auto numbers_to_texts = [&](const char* section, const char* key) {
    Node* parent = keys.find(section);
    if (parent == nullptr || !parent->is_map()) return;
    Node* list = parent->map_value().find(key);
    if (list == nullptr || !list->is_list()) return;
    for (Node& item : list->items()) {
      if (item.is_int() || item.is_float()) item = Node::string(config::to_json(item), item.mark());
    }
  };
  numbers_to_texts("launcher", "devices");
  numbers_to_texts("report", "budgets");
  return copy;
}

}  // namespace

config::Object exp_schema() {
  return config::describe([](config::Reader& in) {
    ExpSettings settings;
    std::vector<std::string> budgets;
    read_keys(in, settings, budgets);
  });
}

ExpSettings read_exp(const config::Node& exp, std::vector<config::Problem>& problems) {
  ExpSettings settings;
  const size_t before = problems.size();
  const Node coerced = config::check(normalised(exp), exp_schema(), problems);
  if (problems.size() != before) {
    for (size_t i = before; i < problems.size(); ++i) problems[i].path = "exp." + problems[i].path;
    return settings;
  }
  std::vector<std::string> budgets;
  config::Reader in(coerced);
  read_keys(in, settings, budgets);
  if (!budgets.empty()) settings.budgets.clear();
  for (const std::string& text : budgets) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end != '\0' || !(value > 0) || value > 64) {
      problems.push_back({.code = "S102",
                          .mark = exp.mark(),
                          .path = "exp.report.budgets",
                          .message = fmt::format("got \"{}\", need bits per weight above 0 and at most 64", text),
                          .help = "exp.report.budgets=[2.25,3.25,4.25]"});
      continue;
    }
    settings.budgets.push_back(value);
  }
  std::sort(settings.budgets.begin(), settings.budgets.end());
  return settings;
}

}  // namespace aqlm_exp::plan
