#include "framework/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/json_fields.h"
#include "framework/base/strict_json.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::checkpoint {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kPrefixBytes = 8;
constexpr uint64_t kMaxExactInteger = 1ULL << 53;

/// A name fit for one line of a message, whatever it holds.
std::string printable(std::string_view name) {
  std::string text;
  for (char c : name.substr(0, utf8_valid_prefix(name.substr(0, 120)))) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return name.size() > 120 ? text + "..." : text;
}

class HeaderReader {
 public:
  HeaderReader(std::string_view where, uint64_t data_size) : where_(where), data_size_(data_size) {}

  void check_name(const std::string& name) const {
    if (name.size() > kMaxTensorNameBytes) {
      fail("T-LIMIT", name, fmt::format("name of {} bytes, need at most {}", name.size(), kMaxTensorNameBytes));
    }
    const bool control = std::any_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7F;
    });
    if (name.empty() || control || name.find("/../") != std::string::npos || name.rfind("../", 0) == 0) {
      fail("T-NAME", name, "is empty, or holds a control character or a path step \"../\"");
    }
  }

  TensorInfo tensor(const std::string& name, const Json& value) const {
    check_name(name);
    if (!value.is_object()) fail("T-HEADER-JSON", name, fmt::format("got {}, need an object", json_excerpt(value)));
    for (const auto& [key, unused] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        fail("T-HEADER-JSON", name,
             fmt::format("unknown field \"{}\"; known: dtype, shape, data_offsets", printable(key)));
      }
    }
    TensorInfo info;
    info.name = name;
    info.dtype = dtype(name, member(name, value, "dtype", "T-DTYPE"));
    const uint64_t bits = shape(name, member(name, value, "shape", "T-SHAPE"), info);
    const auto [begin, end] = offsets(name, member(name, value, "data_offsets", "T-OFFSET"));
    if (bits % 8 != 0) {
      fail("T-SIZE", name,
           fmt::format("{} elements of {} bits do not fill whole bytes", info.num_elements(), dtype_bits(info.dtype)));
    }
    if (end - begin != bits / 8) {
      fail("T-SIZE", name,
           fmt::format("data_offsets span {} bytes, {} {} needs {}", end - begin, dtype_name(info.dtype),
                       shape_text(info.shape), bits / 8));
    }
    info.offset = begin;
    info.size_bytes = end - begin;
    return info;
  }

  /// Tensors sorted by offset must cover the data block exactly: no gap, overlap or rest that another reader could use.
  void check_tiling(const std::vector<TensorInfo>& tensors) const {
    std::vector<const TensorInfo*> order;
    order.reserve(tensors.size());
    for (const TensorInfo& info : tensors) order.push_back(&info);
    std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
      return std::pair(a->offset, a->size_bytes) < std::pair(b->offset, b->size_bytes);
    });
    uint64_t covered = 0;
    for (const TensorInfo* info : order) {
      if (info->offset != covered) {
        fail("T-TILING", info->name,
             fmt::format("starts at byte {} of the data, but the tensors before it end at {} ({})", info->offset,
                         covered, info->offset > covered ? "a gap" : "an overlap"));
      }
      covered += info->size_bytes;
    }
    if (covered != data_size_) {
      throw DataError(fmt::format("{}: tensors cover {} bytes of data, the file holds {}", where_, covered, data_size_),
                      "T-TILING");
    }
  }

 private:
  [[noreturn]] void fail(const std::string& code, std::string_view name, const std::string& message) const {
    throw DataError(fmt::format("{}: tensor \"{}\": {}", where_, printable(name), message), code);
  }

  const Json& member(const std::string& name, const Json& value, const char* key, const char* code) const {
    const auto place = value.find(key);
    if (place == value.end()) fail(code, name, fmt::format("has no {}", key));
    return *place;
  }

  Dtype dtype(const std::string& name, const Json& value) const {
    const std::optional<Dtype> found = value.is_string() ? dtype_of(value.get_ref<const std::string&>()) : std::nullopt;
    if (!found) fail("T-DTYPE", name, fmt::format("unknown dtype {}", json_excerpt(value)));
    return *found;
  }

  /// Fills info.shape and returns the size in bits.
  uint64_t shape(const std::string& name, const Json& value, TensorInfo& info) const {
    if (!value.is_array()) fail("T-SHAPE", name, fmt::format("shape: got {}, need an array", json_excerpt(value)));
    if (value.size() > kMaxDimensions) {
      fail("T-SHAPE", name, fmt::format("{} dimensions, need at most {}", value.size(), kMaxDimensions));
    }
    for (const Json& entry : value) {
      if (!entry.is_number_unsigned() || entry.get<uint64_t>() > kMaxExactInteger) {
        fail("T-SHAPE", name, fmt::format("dimension {}, need an integer from 0 to 2^53", json_excerpt(entry)));
      }
      info.shape.push_back(entry.get<int64_t>());
    }
    // Multiplied left to right and checked at each step: a zero at the end does not excuse an overflow before it.
    uint64_t elements = 1;
    uint64_t bits = 0;
    bool overflow = false;
    for (int64_t dimension : info.shape) {
      overflow |= __builtin_mul_overflow(elements, static_cast<uint64_t>(dimension), &elements);
    }
    overflow |= elements > static_cast<uint64_t>(INT64_MAX);
    overflow |= __builtin_mul_overflow(elements, static_cast<uint64_t>(dtype_bits(info.dtype)), &bits);
    if (overflow) fail("T-OVERFLOW", name, fmt::format("size of {} overflows 64 bits", shape_text(info.shape)));
    return bits;
  }

  std::pair<uint64_t, uint64_t> offsets(const std::string& name, const Json& value) const {
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() || !value[1].is_number_unsigned()) {
      fail("T-OFFSET", name, "data_offsets: need two integers >= 0");
    }
    const auto begin = value[0].get<uint64_t>();
    const auto end = value[1].get<uint64_t>();
    if (begin > end) fail("T-OFFSET", name, fmt::format("data_offsets [{}, {}] run backwards", begin, end));
    if (end > data_size_) {
      fail("T-OFFSET", name, fmt::format("data_offsets end at {}, the file holds {} bytes of data", end, data_size_));
    }
    return {begin, end};
  }

  std::string_view where_;
  uint64_t data_size_;
};

}  // namespace

int64_t TensorInfo::num_elements() const {
  int64_t count = 1;
  for (int64_t dimension : shape) count *= dimension;
  return count;
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view where) {
  if (file.size() < kPrefixBytes) {
    throw DataError(fmt::format("{}: got {} bytes, a safetensors file has at least 8", where, file.size()),
                    "T-HEADER-SHORT");
  }
  uint64_t length = 0;
  for (size_t i = kPrefixBytes; i-- > 0;) length = length << 8 | static_cast<uint64_t>(file[i]);
  if (length > kMaxHeaderBytes) {
    throw DataError(fmt::format("{}: header of {} bytes, need at most {}; is this a safetensors file?", where, length,
                                kMaxHeaderBytes),
                    "T-HEADER-LARGE");
  }
  if (length > file.size() - kPrefixBytes) {
    throw DataError(
        fmt::format("{}: header of {} bytes, but only {} follow; the file is cut off or not a safetensors file", where,
                    length, file.size() - kPrefixBytes),
        "T-HEADER-LENGTH");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kPrefixBytes, length);
  const std::string header_where = fmt::format("{}: header", where);
  if (text.empty() || text.front() != '{') {
    throw DataError(fmt::format("{}:1:1: need \"{{\" as the first byte", header_where), "T-HEADER-JSON");
  }
  const JsonLimits limits{.max_bytes = kMaxHeaderBytes, .max_depth = 8, .max_values = 16 * kMaxTensors};
  const JsonCodes codes{.syntax = "T-HEADER-JSON",
                        .utf8 = "T-HEADER-UTF8",
                        .duplicate = "T-DUPLICATE",
                        .depth = "T-HEADER-JSON",
                        .limit = "T-LIMIT"};
  const Json json = parse_strict_json(text, header_where, limits, codes);
  if (json.size() > kMaxTensors + 1) {
    throw DataError(fmt::format("{}: {} tensors, need at most {}", where, json.size(), kMaxTensors), "T-LIMIT");
  }
  SafetensorsHeader header;
  const uint64_t data_start = kPrefixBytes + length;
  const HeaderReader reader(where, file.size() - data_start);
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.tensors.push_back(reader.tensor(name, value));
      continue;
    }
    if (!value.is_object()) throw DataError(fmt::format("{}: __metadata__: need an object", where), "T-METADATA");
    for (const auto& [key, entry] : value.items()) {
      if (!entry.is_string()) {
        throw DataError(
            fmt::format("{}: __metadata__.{}: got {}, need a string", where, printable(key), json_excerpt(entry)),
            "T-METADATA");
      }
      header.metadata[key] = entry.get<std::string>();
    }
  }
  reader.check_tiling(header.tensors);
  for (TensorInfo& info : header.tensors) info.offset += data_start;
  return header;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       std::map<std::string, std::string> metadata) {
  metadata.emplace("format", "pt");
  nlohmann::ordered_json json;
  json["__metadata__"] = metadata;
  std::vector<uint64_t> sizes;
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const auto fail = [&](const std::string& message) {
      throw DataError(fmt::format("{}: tensor \"{}\": {}", path.string(), printable(tensor.name), message));
    };
    HeaderReader(path.string(), 0).check_name(tensor.name);
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) fail("name already taken");
    uint64_t bits = static_cast<uint64_t>(dtype_bits(tensor.dtype));
    for (int64_t dimension : tensor.shape) {
      if (dimension < 0 || __builtin_mul_overflow(bits, static_cast<uint64_t>(dimension), &bits)) {
        fail(fmt::format("shape {} is negative or overflows", shape_text(tensor.shape)));
      }
    }
    if (bits % 8 != 0) fail("elements do not fill whole bytes");
    sizes.push_back(bits / 8);
    json[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {offset, offset + sizes.back()}}};
    offset += sizes.back();
  }
  std::string header = json.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::array<std::byte, kPrefixBytes> prefix{};
  for (size_t i = 0; i < kPrefixBytes; ++i) prefix[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xFF);
  write_file_atomically(path, [&](const ByteSink& sink) {
    sink(prefix);
    sink(std::as_bytes(std::span(header.data(), header.size())));
    for (size_t i = 0; i < tensors.size(); ++i) {
      uint64_t written = 0;
      tensors[i].write([&](std::span<const std::byte> bytes) {
        written += bytes.size();
        sink(bytes);
      });
      if (written != sizes[i]) {
        throw DataError(fmt::format("{}: tensor \"{}\": its writer gave {} bytes, shape {} of {} needs {}",
                                    path.string(), printable(tensors[i].name), written, shape_text(tensors[i].shape),
                                    dtype_name(tensors[i].dtype), sizes[i]));
      }
    }
  });
}

}  // namespace aqlm_exp::checkpoint
