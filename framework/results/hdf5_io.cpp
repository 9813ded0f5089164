#include "framework/results/hdf5_io.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::results::h5 {
namespace {

std::atomic<bool> g_untrusted{false};

/// The core driver takes two open files of one name for the same file.
std::string fresh_name() {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("in-memory-{}", counter++);
}

constexpr hsize_t kCompressAbove = 64 * 1024;  // bytes
constexpr unsigned kDeflateLevel = 4;

herr_t append_error(unsigned, const H5E_error2_t* entry, void* target) {
  auto& text = *static_cast<std::string*>(target);
  if (text.size() > 400) return 0;
  std::string reason = entry->desc != nullptr ? entry->desc : "?";
  reason = reason.substr(0, reason.find(", buf = "));  // addresses help nobody
  for (char& c : reason) c = c == '\n' ? ' ' : c;
  text += fmt::format("; {}: {}", entry->func_name, reason);
  return 0;
}

Handle scalar_space() { return Handle(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate"); }

Handle simple_space(const std::vector<hsize_t>& shape) {
  return Handle(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, "H5Screate_simple");
}

Handle access_list() {
  Handle list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "H5Pcreate");
  check(H5Pset_libver_bounds(list.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), "H5Pset_libver_bounds");
  return list;
}

Handle dataset_list(const std::vector<hsize_t>& shape, hsize_t element_bytes) {
  Handle list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "H5Pcreate");
  check(H5Pset_obj_track_times(list.get(), false), "H5Pset_obj_track_times");  // same contents, same bytes
  hsize_t elements = 1;
  for (hsize_t extent : shape) elements *= extent;
  if (!shape.empty() && elements * element_bytes > kCompressAbove) {
    std::vector<hsize_t> chunk = shape;  // whole rows, up to about 1 MiB
    const hsize_t row_bytes = elements / shape[0] * element_bytes;
    chunk[0] = std::min(shape[0], std::max<hsize_t>(1, (1u << 20) / std::max<hsize_t>(1, row_bytes)));
    check(H5Pset_chunk(list.get(), static_cast<int>(chunk.size()), chunk.data()), "H5Pset_chunk");
    check(H5Pset_shuffle(list.get()), "H5Pset_shuffle");
    check(H5Pset_deflate(list.get(), kDeflateLevel), "H5Pset_deflate");
    check(H5Pset_fletcher32(list.get()), "H5Pset_fletcher32");
  }
  return list;
}

Handle make_dataset(hid_t parent, const std::string& name, hid_t type, const Handle& space,
                    const std::vector<hsize_t>& shape) {
  Handle list = dataset_list(shape, H5Tget_size(type));
  Handle set(H5Dcreate2(parent, name.c_str(), type, space.get(), H5P_DEFAULT, list.get(), H5P_DEFAULT), H5Dclose,
             "H5Dcreate2 " + name);
  list.close("H5Pclose");
  return set;
}

void put_info(hid_t object, const ArrayInfo& info) {
  put_attribute(object, "unit", info.unit);
  put_attribute(object, "description", info.description);
  put_attribute(object, "dims", info.dims);
  if (!info.deterministic) put_attribute_int32(object, "deterministic", 0);
}

void write_attribute(hid_t object, const std::string& name, hid_t type, const void* value) {
  Handle space = scalar_space();
  Handle attribute(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                   "H5Acreate2 " + name);
  check(H5Awrite(attribute.get(), type, value), "H5Awrite " + name);
  attribute.close("H5Aclose " + name);
  space.close("H5Sclose");
}

template <typename T>
void put_plain_array(hid_t parent, const std::string& name, hid_t type, const std::vector<T>& values,
                     const std::vector<hsize_t>& shape, const ArrayInfo& info) {
  hsize_t elements = 1;
  for (hsize_t extent : shape) elements *= extent;
  if (elements != values.size()) {
    throw InternalError(fmt::format("[results] {}: got {} values for a shape of {}", name, values.size(), elements));
  }
  Handle space = simple_space(shape);
  Handle set = make_dataset(parent, name, type, space, shape);
  if (!values.empty()) {
    check(H5Dwrite(set.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "H5Dwrite " + name);
  }
  put_info(set.get(), info);
  set.close("H5Dclose " + name);
  space.close("H5Sclose");
}

hsize_t num_elements(const Handle& set) {
  Handle space(H5Dget_space(set.get()), H5Sclose, "H5Dget_space");
  return static_cast<hsize_t>(check(H5Sget_simple_extent_npoints(space.get()), "H5Sget_simple_extent_npoints"));
}

Handle open_dataset(hid_t parent, const std::string& name) {
  return Handle(H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose, "H5Dopen2 " + name);
}

/// Frees what the library allocated for variable-length strings.
class TextBuffer {
 public:
  explicit TextBuffer(hsize_t size) : pointers_(size, nullptr) {}
  TextBuffer(const TextBuffer&) = delete;
  TextBuffer& operator=(const TextBuffer&) = delete;
  ~TextBuffer() {
    for (char* text : pointers_) {
      if (text != nullptr) H5free_memory(text);
    }
  }
  char** data() { return pointers_.data(); }
  std::vector<std::string> copy() const {
    std::vector<std::string> texts;
    for (const char* text : pointers_) texts.emplace_back(text != nullptr ? text : "");
    return texts;
  }

 private:
  std::vector<char*> pointers_;
};

}  // namespace

void start() {
  static const bool done = [] {
    H5dont_atexit();
    if (H5open() < 0) throw InternalError("[results] the HDF5 library does not start; reinstall libhdf5");
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return true;
  }();
  static_cast<void>(done);
}

void fail(std::string_view what) {
  std::string text = fmt::format("[results] HDF5 refused {}", what);
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, append_error, &text);
  g_untrusted = true;
  throw StorageError(text, "R-HDF5");
}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(closer_, other.closer_);
  return *this;
}

Handle::~Handle() {
  if (id_ < 0 || g_untrusted) return;
  if (closer_(id_) < 0) {
    g_untrusted = true;
    log_warning("[results] HDF5 could not close a handle");
  }
}

void Handle::close(std::string_view what) {
  if (id_ < 0) return;
  check(closer_(std::exchange(id_, -1)), what);
}

Handle create_in_memory() {
  start();
  Handle list = access_list();
  check(H5Pset_fapl_core(list.get(), /*increment=*/1 << 16, /*backing_store=*/false), "H5Pset_fapl_core");
  return Handle(H5Fcreate(fresh_name().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, list.get()), H5Fclose,
                "H5Fcreate in memory");
}

Handle create_on_disk(const std::string& path) {
  start();
  Handle list = access_list();
  return Handle(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, list.get()), H5Fclose, "H5Fcreate " + path);
}

std::string take_image(Handle file) {
  check(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "H5Fflush");
  const ssize_t size = check(H5Fget_file_image(file.get(), nullptr, 0), "H5Fget_file_image");
  std::string bytes(static_cast<size_t>(size), '\0');
  check(H5Fget_file_image(file.get(), bytes.data(), bytes.size()), "H5Fget_file_image");
  file.close("H5Fclose in memory");
  return bytes;
}

Handle open_image(std::string_view bytes) {
  start();
  Handle list = access_list();
  check(H5Pset_fapl_core(list.get(), 1 << 16, false), "H5Pset_fapl_core");
  check(H5Pset_file_image(list.get(), const_cast<char*>(bytes.data()), bytes.size()), "H5Pset_file_image");
  return Handle(H5Fopen(fresh_name().c_str(), H5F_ACC_RDONLY, list.get()), H5Fclose, "H5Fopen in memory");
}

Handle create_group(hid_t parent, const std::string& name) {
  return Handle(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
                "H5Gcreate2 " + name);
}

Handle open_group(hid_t parent, const std::string& name) {
  return Handle(H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose, "H5Gopen2 " + name);
}

bool has(hid_t parent, const std::string& name) {
  return check(H5Lexists(parent, name.c_str(), H5P_DEFAULT), "H5Lexists " + name) > 0;
}

std::vector<std::string> link_names(hid_t group) {
  std::vector<std::string> names;
  check(H5Literate(
            group, H5_INDEX_NAME, H5_ITER_INC, nullptr,
            [](hid_t, const char* name, const H5L_info_t*, void* target) -> herr_t {
              static_cast<std::vector<std::string>*>(target)->emplace_back(name);
              return 0;
            },
            &names),
        "H5Literate");
  return names;
}

Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "H5Tcopy");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "H5Tset_size");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset");
  return type;
}

Handle fixed_text_type(size_t length) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "H5Tcopy");
  check(H5Tset_size(type.get(), length), "H5Tset_size");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset");
  return type;
}

void put_attribute(hid_t object, const std::string& name, std::string_view text) {
  const std::string copy(text);
  const char* pointer = copy.c_str();
  Handle type = text_type();
  write_attribute(object, name, type.get(), &pointer);
  type.close("H5Tclose");
}

void put_attribute(hid_t object, const std::string& name, int64_t value) {
  write_attribute(object, name, H5T_NATIVE_INT64, &value);
}

void put_attribute_int32(hid_t object, const std::string& name, int32_t value) {
  write_attribute(object, name, H5T_NATIVE_INT32, &value);
}

void put_attribute(hid_t object, const std::string& name, double value) {
  write_attribute(object, name, H5T_NATIVE_DOUBLE, &value);
}

std::string text_attribute(hid_t object, const std::string& name) {
  Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, "H5Aopen " + name);
  Handle type = text_type();
  TextBuffer buffer(1);
  check(H5Aread(attribute.get(), type.get(), buffer.data()), "H5Aread " + name);
  return buffer.copy().front();
}

int64_t int_attribute(hid_t object, const std::string& name) {
  Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, "H5Aopen " + name);
  int64_t value = 0;
  check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), "H5Aread " + name);
  return value;
}

double number_attribute(hid_t object, const std::string& name) {
  Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, "H5Aopen " + name);
  double value = 0;
  check(H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value), "H5Aread " + name);
  return value;
}

void put_text(hid_t parent, const std::string& name, std::string_view text) {
  const std::string copy(text);
  const char* pointer = copy.c_str();
  Handle type = text_type();
  Handle space = scalar_space();
  Handle set = make_dataset(parent, name, type.get(), space, {});
  check(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, &pointer), "H5Dwrite " + name);
  set.close("H5Dclose " + name);
}

void put_texts(hid_t parent, const std::string& name, const std::vector<std::string>& texts, const ArrayInfo& info) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  Handle type = text_type();
  Handle space = simple_space({texts.size()});
  Handle set = make_dataset(parent, name, type.get(), space, {});  // never compressed: elements are pointers
  if (!texts.empty()) {
    check(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), "H5Dwrite " + name);
  }
  put_info(set.get(), info);
  set.close("H5Dclose " + name);
}

void put_array(hid_t parent, const std::string& name, const std::vector<double>& values,
               const std::vector<hsize_t>& shape, const ArrayInfo& info) {
  put_plain_array(parent, name, H5T_NATIVE_DOUBLE, values, shape, info);
}

void put_array(hid_t parent, const std::string& name, const std::vector<int64_t>& values,
               const std::vector<hsize_t>& shape, const ArrayInfo& info) {
  put_plain_array(parent, name, H5T_NATIVE_INT64, values, shape, info);
}

Handle put_number(hid_t parent, const std::string& name, double value) {
  Handle space = scalar_space();
  Handle set = make_dataset(parent, name, H5T_NATIVE_DOUBLE, space, {});
  check(H5Dwrite(set.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value), "H5Dwrite " + name);
  return set;
}

void put_integer(hid_t parent, const std::string& name, int64_t value) {
  Handle space = scalar_space();
  Handle set = make_dataset(parent, name, H5T_NATIVE_INT64, space, {});
  check(H5Dwrite(set.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value), "H5Dwrite " + name);
  set.close("H5Dclose " + name);
}

Handle put_table(hid_t parent, const std::string& name, const std::vector<Column>& columns, size_t row_bytes,
                 const std::string& rows, hsize_t num_rows) {
  if (rows.size() != row_bytes * num_rows) {
    throw InternalError(
        fmt::format("[results] {}: {} bytes for {} rows of {}", name, rows.size(), num_rows, row_bytes));
  }
  Handle type(H5Tcreate(H5T_COMPOUND, row_bytes), H5Tclose, "H5Tcreate");
  for (const Column& column : columns) {
    check(H5Tinsert(type.get(), column.name.c_str(), column.offset, column.type), "H5Tinsert " + column.name);
  }
  Handle space = simple_space({num_rows});
  Handle set = make_dataset(parent, name, type.get(), space, {num_rows});
  if (num_rows > 0) {
    check(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, rows.data()), "H5Dwrite " + name);
  }
  type.close("H5Tclose");
  return set;
}

std::vector<std::string> get_texts(hid_t parent, const std::string& name) {
  Handle set = open_dataset(parent, name);
  Handle type = text_type();
  TextBuffer buffer(num_elements(set));
  check(H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer.data()), "H5Dread " + name);
  return buffer.copy();
}

std::string get_text(hid_t parent, const std::string& name) { return get_texts(parent, name).at(0); }

std::vector<double> get_numbers(hid_t parent, const std::string& name) {
  Handle set = open_dataset(parent, name);
  std::vector<double> values(num_elements(set));
  check(H5Dread(set.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "H5Dread " + name);
  return values;
}

std::vector<int64_t> get_integers(hid_t parent, const std::string& name) {
  Handle set = open_dataset(parent, name);
  std::vector<int64_t> values(num_elements(set));
  check(H5Dread(set.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "H5Dread " + name);
  return values;
}

Value get_value(hid_t parent, const std::string& name) {
  Handle set = open_dataset(parent, name);
  Handle type(H5Dget_type(set.get()), H5Tclose, "H5Dget_type");
  switch (check(H5Tget_class(type.get()), "H5Tget_class")) {
    case H5T_STRING:
      return get_text(parent, name);
    case H5T_INTEGER:
      return get_integers(parent, name).at(0);
    default:
      return get_numbers(parent, name).at(0);
  }
}

ArrayInfo get_info(hid_t parent, const std::string& name) {
  Handle set = open_dataset(parent, name);
  ArrayInfo info;
  info.unit = text_attribute(set.get(), "unit");
  info.description = text_attribute(set.get(), "description");
  if (check(H5Aexists(set.get(), "dims"), "H5Aexists") > 0) info.dims = text_attribute(set.get(), "dims");
  info.deterministic = check(H5Aexists(set.get(), "deterministic"), "H5Aexists") == 0;
  return info;
}

}  // namespace aqlm_exp::results::h5
