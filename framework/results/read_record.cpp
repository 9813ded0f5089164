// HDF5 bytes → TrialRecord, for files whose SHA-256 was checked; and the deterministic part as text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/results/hdf5_io.h"
#include "framework/results/publish.h"
#include "framework/results/sidecar.h"

namespace aqlm_exp::results {
namespace {

bool is_deterministic(hid_t object) {
  return h5::check(H5Aexists(object, "deterministic"), "H5Aexists deterministic") == 0;
}

std::vector<Metric> get_metrics(hid_t trial) {
  std::vector<Metric> metrics;
  h5::Handle group = h5::open_group(trial, "metrics");
  for (const std::string& name : h5::link_names(group.get())) {
    Metric metric;
    metric.name = name;
    metric.value = h5::get_numbers(group.get(), name).at(0);
    h5::Handle set(H5Dopen2(group.get(), name.c_str(), H5P_DEFAULT), H5Dclose, "H5Dopen2 " + name);
    metric.unit = h5::text_attribute(set.get(), "unit");
    metric.description = h5::text_attribute(set.get(), "description");
    const std::string direction = h5::text_attribute(set.get(), "direction");
    metric.direction = direction == "min" ? Direction::kMin : direction == "max" ? Direction::kMax : Direction::kNone;
    metric.n = h5::int_attribute(set.get(), "n");
    metric.std = h5::number_attribute(set.get(), "std");
    metric.ci_low = h5::number_attribute(set.get(), "ci_low");
    metric.ci_high = h5::number_attribute(set.get(), "ci_high");
    metric.deterministic = is_deterministic(set.get());
    metrics.push_back(std::move(metric));
  }
  return metrics;
}

std::vector<Series> get_series(hid_t trial) {
  std::vector<Series> all;
  if (!h5::has(trial, "series")) return all;
  h5::Handle group = h5::open_group(trial, "series");
  for (const std::string& name : h5::link_names(group.get())) {
    h5::Handle inner = h5::open_group(group.get(), name);
    Series series;
    series.name = name;
    series.step = h5::get_integers(inner.get(), "step");
    series.value = h5::get_numbers(inner.get(), "value");
    if (h5::has(inner.get(), "time_s")) series.time_s = h5::get_numbers(inner.get(), "time_s");
    const h5::ArrayInfo info = h5::get_info(inner.get(), "value");
    series.unit = info.unit;
    series.description = info.description;
    series.deterministic = info.deterministic;
    all.push_back(std::move(series));
  }
  return all;
}

LayerArray get_layer_array(hid_t group, const std::string& name) {
  const h5::ArrayInfo info = h5::get_info(group, name);
  return {.name = name,
          .unit = info.unit,
          .description = info.description,
          .values = h5::get_numbers(group, name),
          .deterministic = info.deterministic};
}

Layers get_layers(hid_t trial) {
  Layers layers;
  if (!h5::has(trial, "layers")) return layers;
  h5::Handle group = h5::open_group(trial, "layers");
  for (const std::string& name : h5::link_names(group.get())) {
    if (name == "name") {
      layers.names = h5::get_texts(group.get(), name);
    } else if (name == "columns") {
      layers.columns = h5::get_texts(group.get(), name);
    } else if (name == "rows") {
      layers.rows = h5::get_texts(group.get(), name);
    } else if (name == "matrix") {
      h5::Handle matrix = h5::open_group(group.get(), name);
      for (const std::string& inner : h5::link_names(matrix.get())) {
        layers.matrix.push_back(get_layer_array(matrix.get(), inner));
      }
    } else {
      layers.metrics.push_back(get_layer_array(group.get(), name));
    }
  }
  return layers;
}

std::vector<Samples> get_samples(hid_t trial) {
  std::vector<Samples> all;
  if (!h5::has(trial, "samples")) return all;
  h5::Handle group = h5::open_group(trial, "samples");
  for (const std::string& name : h5::link_names(group.get())) {
    const h5::ArrayInfo info = h5::get_info(group.get(), name);
    all.push_back({.name = name,
                   .unit = info.unit,
                   .description = info.description,
                   .values = h5::get_numbers(group.get(), name),
                   .deterministic = info.deterministic});
  }
  return all;
}

void get_key_values(hid_t group, const std::string& prefix, KeyValues& values) {
  for (const std::string& name : h5::link_names(group)) {
    H5O_info_t info;
    h5::check(H5Oget_info_by_name2(group, name.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT), "H5Oget_info_by_name");
    if (info.type == H5O_TYPE_GROUP) {
      h5::Handle inner = h5::open_group(group, name);
      get_key_values(inner.get(), prefix + name + "/", values);
    } else {
      values.emplace_back(prefix + name, h5::get_value(group, name));
    }
  }
}

std::vector<Origin> get_origin(hid_t config) {
  std::vector<Origin> all;
  h5::Handle set(H5Dopen2(config, "origin", H5P_DEFAULT), H5Dclose, "H5Dopen2 origin");
  h5::Handle space(H5Dget_space(set.get()), H5Sclose, "H5Dget_space");
  const auto rows = static_cast<size_t>(h5::check(H5Sget_simple_extent_npoints(space.get()), "H5Sget_simple_extent"));
  h5::Handle type(H5Dget_type(set.get()), H5Tclose, "H5Dget_type");
  const size_t row_bytes = H5Tget_size(type.get());
  std::string bytes(rows * row_bytes, '\0');
  if (rows > 0) {
    h5::check(H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dread origin");
  }
  const size_t file_offset = H5Tget_member_offset(type.get(), 1), line_offset = H5Tget_member_offset(type.get(), 2);
  for (size_t i = 0; i < rows; ++i) {
    const char* row = bytes.data() + i * row_bytes;  // fixed texts end with at least one NUL
    Origin origin{.key = row, .file = row + file_offset, .line = 0};
    std::copy_n(row + line_offset, sizeof origin.line, reinterpret_cast<char*>(&origin.line));
    all.push_back(std::move(origin));
  }
  return all;
}

std::string show(double value) { return fmt::format("{:.17g}", value); }

void describe(std::string& out, const char* group, const LayerArray& array) {
  if (!array.deterministic) return;
  out += fmt::format("{}/{} [{}] {:?}:", group, array.name, array.unit, array.description);
  for (double value : array.values) out += " " + show(value);
  out += "\n";
}

}  // namespace

TrialRecord read_image(std::string_view image, const std::string& shown_name) {
  h5::Handle file = h5::open_image(image);
  h5::Handle root = h5::open_group(file.get(), "/");
  const int64_t version = h5::int_attribute(root.get(), "format_version");
  if (version > kFormatVersion) {
    throw Error(
        ExitCode::kVersion, "R-VERSION",
        fmt::format("{}: got format version {}, this program reads up to {}; use the aqlm-exp that wrote it ({})",
                    shown_name, version, kFormatVersion, h5::text_attribute(root.get(), "writer")));
  }
  TrialRecord record;
  record.created_utc = h5::text_attribute(root.get(), "created_utc");
  record.writer = h5::text_attribute(root.get(), "writer");
  h5::Handle trials = h5::open_group(root.get(), "trials");
  const std::vector<std::string> ids = h5::link_names(trials.get());
  if (ids.size() != 1) {
    throw StorageError(
        fmt::format("{}: got {} trials, need exactly one; this is not results/<id>.h5", shown_name, ids.size()),
        "R-SCHEMA");
  }
  h5::Handle trial = h5::open_group(trials.get(), ids.front());
  record.id = h5::text_attribute(trial.get(), "trial_id");
  record.status = h5::text_attribute(trial.get(), "status");
  record.name = h5::text_attribute(trial.get(), "name");
  record.attempt = h5::int_attribute(trial.get(), "attempt");
  {
    h5::Handle config = h5::open_group(trial.get(), "config");
    record.config_yaml = h5::get_text(config.get(), "yaml");
    record.config_identity = h5::get_text(config.get(), "identity");
    record.overrides = h5::get_texts(config.get(), "overrides");
    record.origin = get_origin(config.get());
  }
  {
    h5::Handle labels = h5::open_group(trial.get(), "labels");
    for (const std::string& name : h5::link_names(labels.get())) {
      record.labels.emplace_back(name, h5::get_text(labels.get(), name));
    }
  }
  record.metrics = get_metrics(trial.get());
  record.series = get_series(trial.get());
  record.layers = get_layers(trial.get());
  record.samples = get_samples(trial.get());
  h5::Handle provenance = h5::open_group(trial.get(), "provenance");
  get_key_values(provenance.get(), "", record.provenance);
  h5::Handle timing = h5::open_group(trial.get(), "timing");
  get_key_values(timing.get(), "", record.timing);
  const auto take = [](KeyValues& values, std::string_view key, auto& target) {
    const auto found = std::find_if(values.begin(), values.end(), [&](const auto& pair) { return pair.first == key; });
    if (found == values.end()) return;
    if (const auto* value = std::get_if<std::decay_t<decltype(target)>>(&found->second)) target = *value;
    values.erase(found);
  };
  take(record.provenance, "build_id", record.build_id);
  take(record.timing, "total_s", record.duration_s);
  return record;
}

std::string deterministic_text(const TrialRecord& record) {
  std::string out = fmt::format("id {}\nstatus {}\nname {}\nidentity {}\nyaml {}\n", record.id, record.status,
                                record.name, record.config_identity, record.config_yaml);
  for (const std::string& text : record.overrides) out += "override " + text + "\n";
  for (const Origin& origin : record.origin)
    out += fmt::format("origin {} {}:{}\n", origin.key, origin.file, origin.line);
  auto labels = record.labels;
  std::sort(labels.begin(), labels.end());
  for (const auto& [name, text] : labels) out += fmt::format("label {} {}\n", name, text);
  const auto by_name = [](auto items) {
    std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return items;
  };
  for (const Metric& metric : by_name(record.metrics)) {
    if (!metric.deterministic) continue;
    out += fmt::format("metric {} [{}] {} n {} std {} ci {} {} direction {}\n", metric.name, metric.unit,
                       show(metric.value), metric.n, show(metric.std), show(metric.ci_low), show(metric.ci_high),
                       static_cast<int>(metric.direction));
  }
  for (const Series& series : by_name(record.series)) {
    if (!series.deterministic) continue;
    out += fmt::format("series {} [{}]:", series.name, series.unit);
    for (size_t i = 0; i < series.step.size(); ++i) out += fmt::format(" {}:{}", series.step[i], show(series.value[i]));
    out += "\n";
  }
  out += fmt::format("layers {}\nrows {}\ncolumns {}\n", fmt::join(record.layers.names, ","),
                     fmt::join(record.layers.rows.empty() ? record.layers.names : record.layers.rows, ","),
                     fmt::join(record.layers.columns, ","));
  for (const LayerArray& array : by_name(record.layers.metrics)) describe(out, "layers", array);
  for (const LayerArray& array : by_name(record.layers.matrix)) describe(out, "matrix", array);
  for (const Samples& samples : by_name(record.samples)) {
    describe(out, "samples",
             {.name = samples.name,
              .unit = samples.unit,
              .description = samples.description,
              .values = samples.values,
              .deterministic = samples.deterministic});
  }
  return out;
}

}  // namespace aqlm_exp::results
