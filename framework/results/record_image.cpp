// TrialRecord → HDF5 bytes; the layout is docs/results-format.md, format version 1.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "framework/base/error.h"
#include "framework/results/hdf5_io.h"
#include "framework/results/publish.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::results {
namespace {

void require_name(std::string_view kind, std::string_view name) {
  if (!is_plain_name(name)) {
    throw InternalError(fmt::format("[results] {} \"{}\": need a name of [a-z0-9_] only", kind, clean_text(name)));
  }
}

void require_text(std::string_view where, std::string_view text) {
  if (!is_clean_text(text)) {
    throw InternalError(
        fmt::format("[results] {}: got text that is not UTF-8 or holds NUL; clean_text() mends it", where));
  }
}

void require_size(const std::string& where, size_t got, size_t need) {
  if (got != need) throw InternalError(fmt::format("[results] {}: got {} values, need {}", where, got, need));
}

/// Names become links of one HDF5 group, where a second one of a name cannot stand.
template <typename Items, typename NameOf>
void require_distinct(std::string_view kind, const Items& items, NameOf name_of) {
  std::set<std::string> seen;
  for (const auto& item : items) {
    if (!seen.insert(name_of(item)).second) {
      throw InternalError(fmt::format("[results] {} \"{}\": got it twice, need each name once", kind, name_of(item)));
    }
  }
}

const char* direction_name(Direction direction) {
  return direction == Direction::kMin ? "min" : direction == Direction::kMax ? "max" : "none";
}

void put_config(hid_t trial, const TrialRecord& record) {
  h5::Handle group = h5::create_group(trial, "config");
  require_text("config/yaml", record.config_yaml);
  require_text("config/identity", record.config_identity);
  h5::put_text(group.get(), "yaml", record.config_yaml);
  h5::put_text(group.get(), "identity", record.config_identity);
  for (const std::string& text : record.overrides) require_text("config/overrides", text);
  h5::put_texts(group.get(), "overrides", record.overrides,
                {.unit = "", .description = "swept keys of this trial", .dims = "override"});

  size_t key_length = 1, file_length = 1;  // the longest + 1 for NUL
  for (const Origin& origin : record.origin) {
    require_text("config/origin", origin.key);
    require_text("config/origin", origin.file);
    key_length = std::max(key_length, origin.key.size() + 1);
    file_length = std::max(file_length, origin.file.size() + 1);
  }
  const size_t row_bytes = key_length + file_length + sizeof(int64_t);
  std::string rows(row_bytes * record.origin.size(), '\0');
  for (size_t i = 0; i < record.origin.size(); ++i) {
    char* row = rows.data() + i * row_bytes;
    const Origin& origin = record.origin[i];
    origin.key.copy(row, origin.key.size());
    origin.file.copy(row + key_length, origin.file.size());
    std::copy_n(reinterpret_cast<const char*>(&origin.line), sizeof origin.line, row + key_length + file_length);
  }
  h5::Handle key_type = h5::fixed_text_type(key_length), file_type = h5::fixed_text_type(file_length);
  h5::Handle table = h5::put_table(group.get(), "origin",
                                   {{"key", key_type.get(), 0},
                                    {"file", file_type.get(), key_length},
                                    {"line", H5T_NATIVE_INT64, key_length + file_length}},
                                   row_bytes, rows, record.origin.size());
  h5::put_attribute(table.get(), "unit", "");
  h5::put_attribute(table.get(), "description", "where each key of the configuration was set");
  h5::put_attribute(table.get(), "dims", "key");
  table.close("H5Dclose origin");
  group.close("H5Gclose config");
}

void put_metrics(hid_t trial, const TrialRecord& record) {
  h5::Handle group = h5::create_group(trial, "metrics");
  for (const Metric& metric : record.metrics) {
    require_name("metric", metric.name);
    require_text(metric.name, metric.unit);
    require_text(metric.name, metric.description);
    h5::Handle set = h5::put_number(group.get(), metric.name, metric.value);
    h5::put_attribute(set.get(), "unit", metric.unit);
    h5::put_attribute(set.get(), "description", metric.description);
    h5::put_attribute(set.get(), "direction", direction_name(metric.direction));
    h5::put_attribute(set.get(), "n", metric.n);
    h5::put_attribute(set.get(), "std", metric.std);
    h5::put_attribute(set.get(), "ci_low", metric.ci_low);
    h5::put_attribute(set.get(), "ci_high", metric.ci_high);
    if (!metric.deterministic) h5::put_attribute_int32(set.get(), "deterministic", 0);
    set.close("H5Dclose " + metric.name);
  }
  group.close("H5Gclose metrics");
}

void put_series(hid_t trial, const TrialRecord& record) {
  if (record.series.empty()) return;
  h5::Handle all = h5::create_group(trial, "series");
  for (const Series& series : record.series) {
    require_name("series", series.name);
    require_text(series.name, series.unit);
    require_text(series.name, series.description);
    require_size("series/" + series.name + "/value", series.value.size(), series.step.size());
    h5::Handle group = h5::create_group(all.get(), series.name);
    h5::put_array(
        group.get(), "step", series.step, {series.step.size()},
        {.unit = "", .description = "step of each value", .dims = "step", .deterministic = series.deterministic});
    h5::put_array(group.get(), "value", series.value, {series.value.size()},
                  {.unit = series.unit,
                   .description = series.description,
                   .dims = "step",
                   .deterministic = series.deterministic});
    if (!series.time_s.empty()) {
      require_size("series/" + series.name + "/time_s", series.time_s.size(), series.step.size());
      h5::put_array(
          group.get(), "time_s", series.time_s, {series.time_s.size()},
          {.unit = "s", .description = "since the start of the trial", .dims = "step", .deterministic = false});
    }
    group.close("H5Gclose " + series.name);
  }
  all.close("H5Gclose series");
}

void put_layers(hid_t trial, const Layers& layers) {
  if (layers.names.empty() && layers.columns.empty()) return;
  const auto put = [&](hid_t parent, const LayerArray& array, const std::vector<hsize_t>& shape, const char* dims) {
    require_name("layer metric", array.name);
    require_text(array.name, array.unit);
    require_text(array.name, array.description);
    size_t need = 1;
    for (hsize_t extent : shape) need *= extent;
    require_size("layers/" + array.name, array.values.size(), need);
    h5::put_array(
        parent, array.name, array.values, shape,
        {.unit = array.unit, .description = array.description, .dims = dims, .deterministic = array.deterministic});
  };
  h5::Handle group = h5::create_group(trial, "layers");
  for (const std::string& name : layers.names) require_text("layers/name", name);
  h5::put_texts(group.get(), "name", layers.names, {.unit = "", .description = "layer of each row", .dims = "layer"});
  for (const LayerArray& array : layers.metrics) put(group.get(), array, {layers.names.size()}, "layer");
  if (!layers.columns.empty()) {
    for (const std::string& name : layers.columns) require_text("layers/columns", name);
    h5::put_texts(group.get(), "columns", layers.columns,
                  {.unit = "", .description = "projection of each column of matrix/*", .dims = "column"});
    const std::vector<std::string>& rows = layers.rows.empty() ? layers.names : layers.rows;
    for (const std::string& name : rows) require_text("layers/rows", name);
    h5::put_texts(group.get(), "rows", rows,
                  {.unit = "", .description = "block of each row of matrix/*", .dims = "row"});
    h5::Handle matrix = h5::create_group(group.get(), "matrix");
    for (const LayerArray& array : layers.matrix) {
      put(matrix.get(), array, {rows.size(), layers.columns.size()}, "row,column");
    }
    matrix.close("H5Gclose matrix");
  }
  group.close("H5Gclose layers");
}

void put_samples(hid_t trial, const TrialRecord& record) {
  if (record.samples.empty()) return;
  h5::Handle group = h5::create_group(trial, "samples");
  for (const Samples& samples : record.samples) {
    require_name("samples", samples.name);
    require_text(samples.name, samples.unit);
    require_text(samples.name, samples.description);
    h5::put_array(group.get(), samples.name, samples.values, {samples.values.size()},
                  {.unit = samples.unit,
                   .description = samples.description,
                   .dims = "repeat",
                   .deterministic = samples.deterministic});
  }
  group.close("H5Gclose samples");
}

void put_key_values(hid_t trial, const char* name, const KeyValues& values) {
  require_distinct(name, values, [](const auto& pair) { return pair.first; });
  h5::Handle group = h5::create_group(trial, name);
  for (const auto& [key, value] : values) {
    hid_t parent = group.get();
    std::vector<h5::Handle> inner;
    std::string_view rest = key;
    for (size_t slash; (slash = rest.find('/')) != std::string_view::npos; rest.remove_prefix(slash + 1)) {
      const std::string part(rest.substr(0, slash));
      require_name(name, part);
      inner.push_back(h5::has(parent, part) ? h5::open_group(parent, part) : h5::create_group(parent, part));
      parent = inner.back().get();
    }
    const std::string leaf(rest);
    require_name(name, leaf);
    if (const auto* text = std::get_if<std::string>(&value)) {
      require_text(key, *text);
      h5::put_text(parent, leaf, *text);
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
      h5::put_integer(parent, leaf, *integer);
    } else {
      h5::put_number(parent, leaf, std::get<double>(value)).close("H5Dclose " + key);
    }
  }
  group.close(std::string("H5Gclose ") + name);
}

void put_labels(hid_t trial, const TrialRecord& record) {
  h5::Handle group = h5::create_group(trial, "labels");
  for (const auto& [name, text] : record.labels) {
    require_name("label", name);
    require_text(name, text);
    h5::put_text(group.get(), name, text);
  }
  group.close("H5Gclose labels");
}

}  // namespace

const Metric* TrialRecord::find_metric(std::string_view metric_name) const {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == metric_name; });
  return found == metrics.end() ? nullptr : &*found;
}

std::string_view TrialRecord::find_label(std::string_view label_name) const {
  for (const auto& [name_of, text] : labels) {
    if (name_of == label_name) return text;
  }
  return {};
}

std::string id16(std::string_view id) { return std::string(id.substr(0, 16)); }

std::string record_image(const TrialRecord& record) {
  const bool hex = record.id.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (record.id.size() != 64 || !hex) {
    throw InternalError(fmt::format("[results] trial id \"{}\": need 64 hexadecimal digits", clean_text(record.id)));
  }
  for (const auto* text : {&record.name, &record.status, &record.created_utc, &record.writer, &record.build_id}) {
    require_text("trial attribute", *text);
  }
  const auto by_name = [](const auto& item) { return item.name; };
  require_distinct("label", record.labels, [](const auto& pair) { return pair.first; });
  require_distinct("metric", record.metrics, by_name);
  require_distinct("series", record.series, by_name);
  require_distinct("samples", record.samples, by_name);
  require_distinct("layer metric", record.layers.metrics, by_name);
  require_distinct("layer matrix", record.layers.matrix, by_name);
  h5::Handle file = h5::create_in_memory();
  {
    h5::Handle root = h5::open_group(file.get(), "/");
    h5::put_attribute(root.get(), "format", "aqlm-exp-trial");
    h5::put_attribute_int32(root.get(), "format_version", kFormatVersion);
    h5::put_attribute_int32(root.get(), "format_minor", kFormatMinor);
    h5::put_attribute(root.get(), "created_utc", record.created_utc);
    h5::put_attribute(root.get(), "writer", record.writer);
    h5::Handle trials = h5::create_group(root.get(), "trials");
    h5::Handle trial = h5::create_group(trials.get(), id16(record.id));
    h5::put_attribute(trial.get(), "trial_id", record.id);
    h5::put_attribute(trial.get(), "status", record.status);
    h5::put_attribute(trial.get(), "name", record.name);
    h5::put_attribute(trial.get(), "attempt", record.attempt);
    h5::put_attribute_int32(trial.get(), "format_version", kFormatVersion);
    put_config(trial.get(), record);
    put_labels(trial.get(), record);
    put_metrics(trial.get(), record);
    put_series(trial.get(), record);
    put_layers(trial.get(), record.layers);
    put_samples(trial.get(), record);
    KeyValues provenance = record.provenance;
    provenance.emplace_back("build_id", record.build_id);
    put_key_values(trial.get(), "provenance", provenance);
    KeyValues timing = record.timing;
    timing.emplace_back("total_s", record.duration_s);
    put_key_values(trial.get(), "timing", timing);
    trial.close("H5Gclose trial");
    trials.close("H5Gclose trials");
    root.close("H5Gclose /");
  }
  std::string image = h5::take_image(std::move(file));
  if (image.size() > kMaxResultBytes) {
    throw InternalError(
        fmt::format("[results] trial {}: the record takes {} bytes, need at most {}; large arrays go to a "
                    "file of their own, named and hashed in provenance/",
                    id16(record.id), image.size(), kMaxResultBytes));
  }
  return image;
}

}  // namespace aqlm_exp::results
