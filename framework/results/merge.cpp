#include "framework/results/merge.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <functional>
#include <set>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/results/hdf5_io.h"
#include "framework/results/publish.h"
#include "framework/results/summary_table.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::results {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFailureMessageBytes = 1000;
constexpr size_t kFailureTailBytes = 4000;

std::string sources_hash(const MergeRequest& request) {
  Sha256 hash;
  for (const MergeRow& row : request.rows) {
    hash.update(row.id + " " + (row.sidecar ? sha256_hex(sidecar_text(*row.sidecar)) : "planned") + "\n");
  }
  hash.update(request.plan_json);
  return hash.hex();
}

fs::path sum_file(const fs::path& target) { return target.string() + ".sha256"; }

/// Two lines that `sha256sum -c` understands.
std::string sum_text(const std::string& hash, const fs::path& target, const std::string& sources) {
  return fmt::format("{}  {}\n# sources {}\n", hash, target.filename().string(), sources);
}

bool is_current(const MergeRequest& request, const std::string& sources) {
  std::error_code ignored;
  if (!fs::exists(request.target, ignored) || !fs::exists(sum_file(request.target), ignored)) return false;
  try {
    const std::string text = read_file(sum_file(request.target), 4096);
    return text == sum_text(sha256_file(request.target), request.target, sources);
  } catch (const Error&) {
    return false;
  }
}

/// Cut at a character's start.
std::string shortened(const std::string& text, size_t limit, bool keep_end) {
  if (text.size() <= limit) return text;
  return clean_text(keep_end ? text.substr(text.size() - limit) : text.substr(0, limit));
}

void add_record_columns(SummaryTable& table, size_t row, hid_t trial, std::map<std::string, ColumnInfo>& known) {
  h5::Handle labels = h5::open_group(trial, "labels");
  for (const std::string& name : h5::link_names(labels.get())) {
    table.set_text({.name = "label_" + name, .unit = "", .description = "label given by the worker"}, row,
                   h5::get_text(labels.get(), name));
  }
  h5::Handle metrics = h5::open_group(trial, "metrics");
  for (const std::string& name : h5::link_names(metrics.get())) {
    auto found = known.find(name);
    if (found == known.end()) {  // attributes are read once a metric, not once a trial
      h5::Handle set(H5Dopen2(metrics.get(), name.c_str(), H5P_DEFAULT), H5Dclose, "H5Dopen2 " + name);
      ColumnInfo info{.name = name,
                      .unit = h5::text_attribute(set.get(), "unit"),
                      .description = h5::text_attribute(set.get(), "description")};
      const std::string direction = h5::text_attribute(set.get(), "direction");
      info.direction = direction == "min" ? Direction::kMin : direction == "max" ? Direction::kMax : Direction::kNone;
      info.deterministic = h5::check(H5Aexists(set.get(), "deterministic"), "H5Aexists") == 0;
      found = known.emplace(name, std::move(info)).first;
    }
    table.set_number(found->second, row, h5::get_numbers(metrics.get(), name).at(0));
  }
}

void add_plan_columns(SummaryTable& table, size_t index, const MergeRow& row, const std::string& status) {
  table.set_text({.name = "id16", .unit = "", .description = "first digits of the trial's id; group /trials/<id16>"},
                 index, id16(row.id));
  table.set_text({.name = "name", .unit = "", .description = "trial"}, index, row.name);
  table.set_text({.name = "status", .unit = "", .description = "completed, failed, timed_out, oom, cancelled, planned"},
                 index, status);
  table.set_text({.name = "failure_class", .unit = "", .description = "kind of failure"}, index,
                 row.sidecar ? row.sidecar->failure_class : "");
  table.set_integer(
      {.name = "attempt", .unit = "", .description = "attempt that ended the trial", .deterministic = false}, index,
      row.sidecar ? row.sidecar->attempt : 0);
  table.set_integer({.name = "repeat", .unit = "", .description = "repeat index"}, index, row.repeat);
  table.set_number({.name = "duration_s", .unit = "s", .description = "of that attempt", .deterministic = false}, index,
                   row.sidecar ? row.sidecar->duration_s : kAbsent);
  table.set_text({.name = "overrides", .unit = "", .description = "swept keys"}, index,
                 fmt::format("{}", fmt::join(row.overrides, " ")));
  for (const std::string& text : row.overrides) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = text.substr(0, equals);
    table.set_parameter({.name = "param_" + plain_name(key), .unit = "", .description = "swept key " + key}, index,
                        text.substr(equals + 1));
  }
}

void put_failures(hid_t sweep, const MergeRequest& request) {
  std::vector<const MergeRow*> failed;
  for (const MergeRow& row : request.rows) {
    if (row.sidecar && row.sidecar->status != "completed") failed.push_back(&row);
  }
  struct Row {
    std::string id, failure, message, tail;
    int64_t exit_code, signal;
  };
  std::vector<Row> rows;
  size_t id = 1, failure = 1, message = 1, tail = 1;
  for (const MergeRow* row : failed) {
    const Sidecar& sidecar = *row->sidecar;
    Row out{.id = id16(row->id),
            .failure = sidecar.failure_class,
            .message = shortened(sidecar.message, kFailureMessageBytes, false),
            .tail = shortened(fmt::format("{}", fmt::join(sidecar.log_tail, "\n")), kFailureTailBytes, true),
            .exit_code = sidecar.exit_code,
            .signal = sidecar.signal};
    id = std::max(id, out.id.size() + 1);
    failure = std::max(failure, out.failure.size() + 1);
    message = std::max(message, out.message.size() + 1);
    tail = std::max(tail, out.tail.size() + 1);
    rows.push_back(std::move(out));
  }
  const size_t exit_at = id + failure, signal_at = exit_at + 8, message_at = signal_at + 8,
               tail_at = message_at + message;
  const size_t row_bytes = tail_at + tail;
  std::string bytes(row_bytes * rows.size(), '\0');
  for (size_t i = 0; i < rows.size(); ++i) {
    char* at = bytes.data() + i * row_bytes;
    rows[i].id.copy(at, id - 1);
    rows[i].failure.copy(at + id, failure - 1);
    std::copy_n(reinterpret_cast<const char*>(&rows[i].exit_code), 8, at + exit_at);
    std::copy_n(reinterpret_cast<const char*>(&rows[i].signal), 8, at + signal_at);
    rows[i].message.copy(at + message_at, message - 1);
    rows[i].tail.copy(at + tail_at, tail - 1);
  }
  const h5::Handle id_type = h5::fixed_text_type(id), failure_type = h5::fixed_text_type(failure),
                   message_type = h5::fixed_text_type(message), tail_type = h5::fixed_text_type(tail);
  h5::Handle set = h5::put_table(sweep, "failures",
                                 {{"id16", id_type.get(), 0},
                                  {"class", failure_type.get(), id},
                                  {"exit", H5T_NATIVE_INT64, exit_at},
                                  {"signal", H5T_NATIVE_INT64, signal_at},
                                  {"message", message_type.get(), message_at},
                                  {"log_tail", tail_type.get(), tail_at}},
                                 row_bytes, bytes, rows.size());
  h5::put_attribute(set.get(), "unit", "");
  h5::put_attribute(set.get(), "description", "trials that ended without a result");
  h5::put_attribute(set.get(), "dims", "failure");
  set.close("H5Dclose failures");
}

void write_merged(const MergeRequest& request, const fs::path& temporary, MergeReport& report) {
  h5::Handle file = h5::create_on_disk(temporary.string());
  h5::Handle root = h5::open_group(file.get(), "/");
  h5::put_attribute(root.get(), "format", "aqlm-exp-sweep");
  h5::put_attribute_int32(root.get(), "format_version", kFormatVersion);
  h5::put_attribute_int32(root.get(), "format_minor", kFormatMinor);
  h5::put_attribute(root.get(), "created_utc", request.created_utc);
  h5::put_attribute(root.get(), "writer", request.writer);
  h5::Handle trials = h5::create_group(root.get(), "trials");
  SummaryTable table(request.rows.size());
  std::map<std::string, ColumnInfo> known;
  for (size_t i = 0; i < request.rows.size(); ++i) {
    const MergeRow& row = request.rows[i];
    std::string status = row.sidecar ? row.sidecar->status : "planned";
    std::string image;
    if (status == "completed") {
      const fs::path path = result_path(request.results_dir, row.id);
      try {
        image = read_file(path, kMaxResultBytes);
        if (sha256_hex(image) != row.sidecar->sha256) {
          throw StorageError(fmt::format("{}: its SHA-256 is not the one in its sidecar", path.string()), "R-CHECKSUM");
        }
      } catch (const StorageError& error) {
        report.unreadable.push_back(error.what());
        status = "unreadable";
      }
    }
    add_plan_columns(table, i, row, status);
    if (status != "completed") continue;
    h5::Handle source = h5::open_image(image);
    const std::string name = "trials/" + id16(row.id);
    h5::check(H5Ocopy(source.get(), name.c_str(), root.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
              "H5Ocopy " + name);
    h5::Handle trial = h5::open_group(source.get(), name);
    add_record_columns(table, i, trial.get(), known);
    trial.close("H5Gclose " + name);
    source.close("H5Fclose " + name);
    ++report.num_copied;
  }
  trials.close("H5Gclose trials");
  h5::Handle summary = h5::create_group(root.get(), "summary");
  table.write(summary.get());
  summary.close("H5Gclose summary");
  h5::Handle sweep = h5::create_group(root.get(), "sweep");
  h5::put_text(sweep.get(), "plan", clean_text(request.plan_json));
  put_failures(sweep.get(), request);
  sweep.close("H5Gclose sweep");
  root.close("H5Gclose /");
  h5::check(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "H5Fflush " + temporary.string());
  file.close("H5Fclose " + temporary.string());
}

/// The file opens and holds as many trials as were copied.
void verify_merged(const fs::path& file_path, const MergeReport& report) {
  h5::Handle file(H5Fopen(file_path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, "H5Fopen " + file_path.string());
  h5::Handle trials = h5::open_group(file.get(), "trials");
  H5G_info_t info;
  h5::check(H5Gget_info(trials.get(), &info), "H5Gget_info trials");
  if (info.nlinks != static_cast<hsize_t>(report.num_copied)) {
    throw StorageError(fmt::format("{}: got {} trials after writing {}; the disk or its driver is faulty",
                                   file_path.string(), info.nlinks, report.num_copied),
                       "R-READBACK");
  }
  h5::get_text(file.get(), "sweep/plan");
  trials.close("H5Gclose trials");
  file.close("H5Fclose");
}

}  // namespace

MergeReport merge(const MergeRequest& request, FileSystem& files) {
  MergeReport report;
  const std::string sources = sources_hash(request);
  if (is_current(request, sources)) {
    report.was_current = true;
    return report;
  }
  const fs::path temporary = request.target.parent_path() / temporary_name();
  try {
    try {
      write_merged(request, temporary, report);
      verify_merged(temporary, report);
    } catch (const StorageError& error) {
      if (error.code() != "R-HDF5") throw;
      throw StorageError(
          fmt::format("write {}: {}; {}; the results themselves are safe, `aqlm-exp merge` makes this file "
                      "once there is space",
                      request.target.string(), free_space_text(request.target), error.what()),
          error.code());
    }
    const int fd = files.open(temporary.string(), O_RDWR, 0);
    if (fd < 0) throw StorageError(describe_io_failure("open", temporary, errno), "R-IO");
    const int synced = files.fsync(fd);  // HDF5 itself never does this
    const int error = errno;
    files.close(fd);
    if (synced != 0) throw StorageError(describe_io_failure("fsync", temporary, error), "R-IO");
    const std::string hash = sha256_file(temporary);
    if (files.rename(temporary.string(), request.target.string()) != 0) {
      throw StorageError(describe_io_failure("rename to", request.target, errno), "R-IO");
    }
    sync_folder(request.target.parent_path(), files);
    put_file(sum_file(request.target), sum_text(hash, request.target, sources), IfPresent::kReplace, files);
  } catch (...) {
    files.unlink(temporary.string());
    throw;
  }
  return report;
}

}  // namespace aqlm_exp::results
