// Checked HDF5, for this room only: handles that close and report, and writers and readers of our few shapes of data.
//
// HDF5 1.10 can lose data with every call but H5Dclose reporting success, so each return value is checked. After the
// first failure the library's state is not trusted: open handles are leaked, never closed, and the library's own exit
// handler is off.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/results/record.h"

namespace aqlm_exp::results::h5 {

/// Silences HDF5's own error printing and its exit handler. Called by everything below; cheap.
void start();

/// @throws StorageError with HDF5's error stack in the message; marks the library as not to be trusted.
[[noreturn]] void fail(std::string_view what);

template <typename T>  // hid_t, herr_t, htri_t, ssize_t: negative is failure
T check(T value, std::string_view what) {
  if (value < 0) fail(what);
  return value;
}

/// An open identifier.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Closer closer, std::string_view what) : id_(check(id, what)), closer_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
  Handle& operator=(Handle&& other) noexcept;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();  ///< closes what is still open; failures are logged
  hid_t get() const { return id_; }
  void close(std::string_view what);  ///< @throws StorageError

 private:
  hid_t id_ = -1;
  Closer closer_ = nullptr;
};

/// A new file in memory: format bounds EARLIEST..V18, so that every reader in use understands it.
Handle create_in_memory();
/// A new file on disk with the same bounds (for the merged view, which may not fit in memory).
Handle create_on_disk(const std::string& path);
/// Flushes and takes the bytes of a file in memory, then closes it.
std::string take_image(Handle file);
/// Opens bytes that were checked before. `bytes` must outlive the handle.
Handle open_image(std::string_view bytes);

Handle create_group(hid_t parent, const std::string& name);
Handle open_group(hid_t parent, const std::string& name);
bool has(hid_t parent, const std::string& name);
std::vector<std::string> link_names(hid_t group);  ///< in order of names

Handle text_type();                     ///< variable-length UTF-8
Handle fixed_text_type(size_t length);  ///< fixed-length UTF-8, padded with NUL

void put_attribute(hid_t object, const std::string& name, std::string_view text);
void put_attribute(hid_t object, const std::string& name, int64_t value);
void put_attribute_int32(hid_t object, const std::string& name, int32_t value);
void put_attribute(hid_t object, const std::string& name, double value);
std::string text_attribute(hid_t object, const std::string& name);
int64_t int_attribute(hid_t object, const std::string& name);
double number_attribute(hid_t object, const std::string& name);

/// What an array means, as attributes beside it.
struct ArrayInfo {
  std::string unit, description, dims;
  bool deterministic = true;
};

void put_text(hid_t parent, const std::string& name, std::string_view text);
void put_texts(hid_t parent, const std::string& name, const std::vector<std::string>& texts, const ArrayInfo& info);
/// Row-major. Above 64 KiB: shuffle, deflate and fletcher32.
void put_array(hid_t parent, const std::string& name, const std::vector<double>& values,
               const std::vector<hsize_t>& shape, const ArrayInfo& info);
void put_array(hid_t parent, const std::string& name, const std::vector<int64_t>& values,
               const std::vector<hsize_t>& shape, const ArrayInfo& info);
/// float64 scalar; the dataset stays open for further attributes.
Handle put_number(hid_t parent, const std::string& name, double value);
void put_integer(hid_t parent, const std::string& name, int64_t value);

struct Column {
  std::string name;
  hid_t type = -1;  ///< type in the file and in `rows`
  size_t offset = 0;
};
/// A table of compound rows laid out as `columns` say.
Handle put_table(hid_t parent, const std::string& name, const std::vector<Column>& columns, size_t row_bytes,
                 const std::string& rows, hsize_t num_rows);

std::string get_text(hid_t parent, const std::string& name);
std::vector<std::string> get_texts(hid_t parent, const std::string& name);
std::vector<double> get_numbers(hid_t parent, const std::string& name);
std::vector<int64_t> get_integers(hid_t parent, const std::string& name);
/// A scalar string, integer or float.
Value get_value(hid_t parent, const std::string& name);
ArrayInfo get_info(hid_t parent, const std::string& name);

}  // namespace aqlm_exp::results::h5
