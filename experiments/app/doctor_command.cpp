// `aqlm-exp doctor`: is everything there that a sweep needs?
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "experiments/app/driver_commands.h"
#include "experiments/app/worker_program.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/home.h"
#include "framework/plan/command.h"
#include "framework/plan/execute.h"
#include "framework/plan/slurm.h"
#include "framework/results/library.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;

class Report {
 public:
  void good(const std::string& what, const std::string& detail) { line("ok  ", what, detail); }
  void note(const std::string& what, const std::string& detail) { line("--  ", what, detail); }
  void bad(const std::string& what, const std::string& detail) {
    line("BAD ", what, detail);
    all_good_ = false;
  }
  /// Runs a check that throws when something is missing.
  template <typename Check>
  void check(const std::string& what, Check check) {
    try {
      good(what, check());
    } catch (const std::exception& error) {
      bad(what, error.what());
    }
  }
  bool all_good() const { return all_good_; }

 private:
  void line(const char* mark, const std::string& what, const std::string& detail) {
    fmt::print("{} {:<12} {}\n", mark, what, detail);
  }
  bool all_good_ = true;
};

std::string check_folder(const fs::path& folder) {
  const bool existed = fs::exists(folder);
  results::make_folders(folder);
  const plan::OutFolder probe{folder / results::temporary_name()};
  results::make_folders(probe.root);
  std::string text;
  try {
    {
      const plan::FolderLock lock(probe, "doctor");
      results::put_file(probe.root / "file", "text", results::IfPresent::kFail);
    }
    struct statvfs info {};
    ::statvfs(folder.c_str(), &info);
    text = fmt::format("{}: can be written, locks work, {} MiB free", folder.string(),
                       (static_cast<uint64_t>(info.f_bavail) * info.f_frsize) >> 20);
  } catch (...) {
    fs::remove_all(probe.root);
    throw;
  }
  fs::remove_all(probe.root);
  if (!existed) fs::remove(folder);
  return text;
}

int doctor(const std::string& out) {
  Report report;
  const BuildInfo& build = build_info();
  report.good("program",
              fmt::format("aqlm-exp {} ({}), {} {}", build.version, build.build_id, build.compiler, build.build_type));
  report.good("HDF5", results::hdf5_version());
  report.check("home", [] { return program_home().string(); });
  report.check("worker", [] {
    std::string version = worker_output({"--version"});
    while (!version.empty() && version.back() == '\n') version.pop_back();
    return fmt::format("{}: {}", worker_program().string(), version);
  });
  report.check("schema", [] { return fmt::format("{} keys at the top", trial_schema().fields.size()); });
  report.good("processor", fmt::format("{} core(s) for this process", plan::available_cores()));
  rlimit files{}, processes{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_NPROC, &processes);
  report.good("limits",
              fmt::format("{} open files, {} processes", files.rlim_cur,
                          processes.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(processes.rlim_cur)));
  if (fs::exists("/dev/nvidia0") || fs::exists("/dev/nvidiactl")) {
    report.good("GPU", "an NVIDIA device is present");
  } else {
    report.note("GPU", "none seen (/dev/nvidia*): device=cpu is what runs here");
  }
  const std::string sbatch = plan::find_program("sbatch");
  if (sbatch.empty()) {
    report.note("Slurm", "sbatch is not in PATH; exp.launcher=local needs none");
  } else {
    try {
      report.good("Slurm", fmt::format("{}, arrays of up to {} tasks", sbatch, plan::SlurmClient().max_array_tasks()));
    } catch (const Error& error) {
      report.note("Slurm", fmt::format("{} is installed, but {}", sbatch, error.what()));
    }
  }
  report.check("folder", [&] { return check_folder(out); });
  return report.all_good() ? 0 : static_cast<int>(ExitCode::kLauncher);
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
  auto out = std::make_shared<std::string>("runs");
  CLI::App* command = app.add_subcommand("doctor", "check program, worker, locking and free space");
  command->add_option("OUT", *out, "folder to check")->capture_default_str();
  command->callback([out, &exit_code] { exit_code = doctor(*out); });
}

}  // namespace aqlm_exp::app
