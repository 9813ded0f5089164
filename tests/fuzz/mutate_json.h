// Structure-aware mutation of inputs that are JSON, alone or inside a safetensors container, or followed by NUL and a
// text: byte noise rarely gets past a JSON parser.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "framework/base/rng.h"

namespace aqlm_exp::fuzz {

using Json = nlohmann::json;

inline void collect(Json& value, std::vector<Json*>& nodes) {
  nodes.push_back(&value);
  if (value.is_structured()) {
    for (auto& child : value) collect(child, nodes);
  }
}

inline Json interesting(Rng& rng) {
  static const std::vector<Json> kValues = {nullptr,
                                            true,
                                            false,
                                            0,
                                            1,
                                            -1,
                                            2,
                                            7,
                                            8,
                                            9,
                                            255,
                                            256,
                                            65535,
                                            2147483647,
                                            4294967295U,
                                            4294967296,
                                            9007199254740993,
                                            INT64_MAX,
                                            INT64_MIN,
                                            UINT64_MAX,
                                            0.0,
                                            -0.0,
                                            0.5,
                                            1e-300,
                                            1e300,
                                            "",
                                            "a",
                                            "../x",
                                            "/dev/zero",
                                            std::string(1, '\0'),
                                            "\n",
                                            "\xE2\x96\x81",
                                            "<0x41>",
                                            "<0x-1>",
                                            " ",
                                            "(a+)+$",
                                            "\\p{L}+|\\s",
                                            "F32",
                                            "BF16",
                                            "F4",
                                            "U8",
                                            "default",
                                            "yarn",
                                            "llama3",
                                            "Sequence",
                                            "Split",
                                            "ByteLevel",
                                            "Metaspace",
                                            "Replace",
                                            "NFKC",
                                            "Unigram",
                                            "BPE",
                                            Json::array(),
                                            Json::object(),
                                            Json::array({0, 0}),
                                            Json::array({0, UINT64_MAX}),
                                            std::string(5000, 'x')};
  return kValues[rng.below(kValues.size())];
}

/// One to three changes of the tree. Duplicate keys are made in the text, since the tree cannot hold them.
inline std::string mutate_json(const std::string& text, Rng& rng) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return text;
  for (uint64_t changes = 1 + rng.below(3); changes > 0; --changes) {
    std::vector<Json*> nodes;
    collect(json, nodes);
    Json& node = *nodes[rng.below(nodes.size())];
    switch (rng.below(8)) {
      case 0:
        node = interesting(rng);
        break;
      case 1:
        node = Json(*nodes[rng.below(nodes.size())]);
        break;
      case 2:
        if (node.is_object() && !node.empty())
          node.erase(std::next(node.begin(), static_cast<std::ptrdiff_t>(rng.below(node.size()))));
        if (node.is_array() && !node.empty()) node.erase(rng.below(node.size()));
        break;
      case 3:
        if (node.is_array()) node.push_back(node.empty() ? interesting(rng) : Json(node[rng.below(node.size())]));
        if (node.is_object()) node["k" + std::to_string(rng.below(4))] = interesting(rng);
        break;
      case 4:
        if (node.is_number_integer()) node = static_cast<int64_t>(node.get<uint64_t>() + rng.below(5) - 2);
        break;
      case 5:
        if (node.is_object() && node.size() > 1) {  // exchange two members
          auto a = std::next(node.begin(), static_cast<std::ptrdiff_t>(rng.below(node.size())));
          auto b = std::next(node.begin(), static_cast<std::ptrdiff_t>(rng.below(node.size())));
          if (a != b) std::swap(*a, *b);
        }
        break;
      case 6:
        node = Json::array({node});
        break;
      default:
        if (node.is_string()) {
          std::string value = node.get<std::string>();
          value.insert(rng.below(value.size() + 1), 1, static_cast<char>(32 + rng.below(95)));
          if (Json(value).dump(-1, ' ', false, Json::error_handler_t::replace) ==
              Json(value).dump(-1, ' ', false, Json::error_handler_t::ignore))
            node = value;
        }
        break;
    }
  }
  std::string out = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (rng.below(16) == 0) {  // a key twice
    const size_t comma = out.find(',');
    const size_t open = out.find('{');
    if (open != std::string::npos && comma != std::string::npos && open < comma)
      out.insert(open + 1, out.substr(open + 1, comma - open));
  }
  return out;
}

/// Finds the JSON inside an input of any of the targets, mutates it, and puts prefix and rest around it again.
inline std::string mutate_input(const std::string& input, Rng& rng) {
  if (input.size() > 8 && input[0] != '{' && input[8] == '{') {
    uint64_t length = 0;
    for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(input[i]);
    if (length <= input.size() - 8) {
      const std::string header = mutate_json(input.substr(8, length), rng);
      std::string out;
      for (size_t i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
      return out + header + input.substr(8 + length);
    }
  }
  const size_t nul = input.find('\0');
  const std::string json = input.substr(0, nul);
  const std::string rest = nul == std::string::npos ? "" : input.substr(nul);
  return mutate_json(json, rng) + rest;
}

}  // namespace aqlm_exp::fuzz
