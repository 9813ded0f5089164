#include "framework/results/publish.h"

#include <fmt/format.h>

#include <ctime>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/results/sidecar.h"
#include "framework/results/storage.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::results {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

Published publish(const TrialRecord& record, const std::filesystem::path& results_dir, FileSystem& files) {
  make_folders(results_dir, files);
  TrialRecord complete = record;
  if (complete.created_utc.empty()) complete.created_utc = utc_now();
  const std::string image = record_image(complete);
  Published published;
  published.file = result_path(results_dir, record.id);
  published.sha256 = sha256_hex(image);
  published.size_bytes = image.size();
  Sidecar sidecar;
  sidecar.id = record.id;
  sidecar.name = record.name;
  sidecar.status = record.status;
  sidecar.attempt = record.attempt;
  sidecar.exit_code = 0;
  sidecar.duration_s = record.duration_s;
  sidecar.build_id = record.build_id;
  sidecar.sha256 = published.sha256;
  sidecar.size_bytes = published.size_bytes;
  sidecar.overrides = record.overrides;
  if (put_file(published.file, image, IfPresent::kFail, files) == PutResult::kAlreadyThere) {
    published.already_there = true;
    return published;
  }
  // The sidecar acknowledges the trial. It replaces a failure that an earlier attempt may have filed.
  try {
    put_file(sidecar_path(results_dir, record.id), sidecar_text(sidecar), IfPresent::kReplace, files);
  } catch (...) {
    files.unlink(published.file.string());  // a result without a sidecar counts for nothing: leave no half of the pair
    throw;
  }
  return published;
}

TrialRecord read_published(const std::filesystem::path& results_dir, const std::string& trial_id) {
  const std::filesystem::path json = sidecar_path(results_dir, trial_id), file = result_path(results_dir, trial_id);
  const Sidecar sidecar = parse_sidecar(read_file(json), json.string());
  if (sidecar.status != "completed") {
    throw DataError(fmt::format("{}: the trial {} ({}); there is no result to read", json.string(), sidecar.status,
                                sidecar.message));
  }
  const std::string image = read_file(file, kMaxResultBytes);
  if (image.size() != sidecar.size_bytes || sha256_hex(image) != sidecar.sha256) {
    throw StorageError(fmt::format("{}: got {} bytes with SHA-256 {}, its sidecar says {} bytes with {}; the file is "
                                   "damaged, `aqlm-exp run` on this folder sets it aside and repeats the trial",
                                   file.string(), image.size(), sha256_hex(image), sidecar.size_bytes, sidecar.sha256),
                       "R-CHECKSUM");
  }
  return read_image(image, file.string());
}

}  // namespace aqlm_exp::results
