#include "framework/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "framework/base/error.h"
#include "framework/base/json_fields.h"

namespace aqlm_exp {
namespace {

using ::testing::HasSubstr;

struct Fault {
  std::string code;
  std::string message;
};

Fault fault_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_strict_json(text, "f.json", limits);
  } catch (const DataError& error) {
    return {error.code(), error.what()};
  }
  return {"none", ""};
}

TEST(StrictJson, AcceptsEveryKindOfValue) {
  const auto json =
      parse_strict_json(R"( {"a": [1, -2, 3.5, true, false, null, "x\u00e9"], "b": {"c": {}}} )", "f.json");
  EXPECT_EQ(json.dump(), "{\"a\":[1,-2,3.5,true,false,null,\"x\xC3\xA9\"],\"b\":{\"c\":{}}}");
  EXPECT_TRUE(json["a"][0].is_number_integer());
  EXPECT_TRUE(json["a"][2].is_number_float());
  EXPECT_TRUE(parse_strict_json("1.0", "f.json").is_number_float());
  EXPECT_EQ(parse_strict_json("18446744073709551615", "f.json").get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_strict_json("-9223372036854775808", "f.json").get<int64_t>(), INT64_MIN);
}

TEST(StrictJson, DuplicateKeyIsRefusedWithItsPlace) {
  const Fault fault = fault_of("{\"a\": 1,\n \"b\": {\"x\": 1, \"x\": 2}}");
  EXPECT_EQ(fault.code, "J-DUP");
  EXPECT_THAT(fault.message, HasSubstr("f.json:2:18: key \"x\""));
  EXPECT_EQ(fault_of(R"({"a": {"x": 1}, "b": {"x": 2}})").code, "none");
  EXPECT_EQ(fault_of(R"({"a": 1, "\u0061": 2})").code, "J-DUP");
}

TEST(StrictJson, DepthIsLimitedExactly) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_EQ(fault_of(nested(64)).code, "none");
  EXPECT_EQ(fault_of(nested(65)).code, "J-DEPTH");
  EXPECT_EQ(fault_of(std::string(10000000, '[')).code, "J-DEPTH");
  EXPECT_EQ(fault_of(nested(9), {.max_depth = 8}).code, "J-DEPTH");
}

TEST(StrictJson, IntegersBeyond64BitsAreErrorsUnlessAskedFor) {
  EXPECT_EQ(fault_of("{\"n\": 18446744073709551616}").code, "J-SYNTAX");
  EXPECT_EQ(fault_of("{\"n\": -9223372036854775809}").code, "J-SYNTAX");
  EXPECT_EQ(fault_of("1e400").code, "J-SYNTAX");
  EXPECT_EQ(fault_of("1000000000000000019884624838656", {.big_integers_as_double = true}).code, "none");
}

TEST(StrictJson, SyntaxFaultsCarryLineAndColumn) {
  for (const char* text : {"", "{", "{\"a\":1,}", "{'a':1}", "NaN", "{\"a\":NaN}", "Infinity", "{} {}", "{}x",
                           "// c\n{}", "[1,,2]", "\"\n\"", "01", "\"\\ud800\"", "\xEF\xBB\xBF{}"}) {
    EXPECT_EQ(fault_of(text).code, "J-SYNTAX") << text;
  }
  EXPECT_EQ(fault_of(std::string("{}\0x", 4)).code, "J-SYNTAX");
  EXPECT_EQ(fault_of("\"\xC3\x28\"").code, "J-UTF8");
  EXPECT_THAT(fault_of("{\n  \"a\": tru\n}").message, HasSubstr("f.json:2:1"));
}

TEST(StrictJson, SizeAndNumberOfValuesAreLimited) {
  EXPECT_EQ(fault_of("[1,2,3]", {.max_bytes = 6}).code, "J-LIMIT");
  EXPECT_EQ(fault_of("[1,2,3]", {.max_values = 3}).code, "J-LIMIT");
  EXPECT_EQ(fault_of("[1,2,3]", {.max_values = 4}).code, "none");
}

std::string field_fault(std::string_view text, const std::function<void(const JsonFields&)>& use) {
  const auto json = parse_strict_json(text, "f.json");
  try {
    use(JsonFields(json, "f.json", "", "J"));
  } catch (const DataError& error) {
    return error.code();
  }
  return "none";
}

TEST(JsonFields, ChecksTypeRangeAndPresence) {
  const auto integer = [](const JsonFields& in) { in.integer("n", 1, 10); };
  EXPECT_EQ(field_fault(R"({"n": 10})", integer), "none");
  EXPECT_EQ(field_fault(R"({"n": 11})", integer), "J-RANGE");
  EXPECT_EQ(field_fault(R"({"n": 18446744073709551615})", integer), "J-RANGE");
  EXPECT_EQ(field_fault(R"({"n": 1.0})", integer), "J-TYPE");
  EXPECT_EQ(field_fault(R"({"n": "1"})", integer), "J-TYPE");
  EXPECT_EQ(field_fault(R"({"n": true})", integer), "J-TYPE");
  EXPECT_EQ(field_fault(R"({"n": null})", integer), "J-MISSING");
  EXPECT_EQ(field_fault(R"({})", integer), "J-MISSING");
  EXPECT_EQ(field_fault("[]", integer), "J-TYPE");
  EXPECT_EQ(field_fault(R"({"n": 2})", [](const JsonFields& in) { in.number("n", 0, 1); }), "J-RANGE");
  EXPECT_EQ(field_fault(R"({"n": 1})", [](const JsonFields& in) { in.boolean("n"); }), "J-TYPE");
  EXPECT_EQ(field_fault(R"({"n": [1,2]})", [](const JsonFields& in) { in.array("n", 1); }), "J-RANGE");
}

}  // namespace
}  // namespace aqlm_exp
