#include "framework/config/identity.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <ctime>
#include <limits>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/config/canonical.h"
#include "framework/config/reader.h"
#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

namespace fs = std::filesystem;

TEST(CanonicalNumber, PrintsAsEcmaScript) {
  // Values and spellings of RFC 8785, appendix B.
  EXPECT_EQ(canonical_number(0.0), "0");
  EXPECT_EQ(canonical_number(-0.0), "0");
  EXPECT_EQ(canonical_number(std::numeric_limits<double>::denorm_min()), "5e-324");
  EXPECT_EQ(canonical_number(-std::numeric_limits<double>::denorm_min()), "-5e-324");
  EXPECT_EQ(canonical_number(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
  EXPECT_EQ(canonical_number(9007199254740992), "9007199254740992");
  EXPECT_EQ(canonical_number(295147905179352830000.0), "295147905179352830000");
  EXPECT_EQ(canonical_number(9.999999999999997e22), "9.999999999999997e+22");
  EXPECT_EQ(canonical_number(1e23), "1e+23");
  EXPECT_EQ(canonical_number(999999999999999900000.0), "999999999999999900000");
  EXPECT_EQ(canonical_number(1e21), "1e+21");
  EXPECT_EQ(canonical_number(9.999999999999997e-7), "9.999999999999997e-7");
  EXPECT_EQ(canonical_number(0.000001), "0.000001");
  EXPECT_EQ(canonical_number(333333333.3333332), "333333333.3333332");
  EXPECT_EQ(canonical_number(-0.0000033333333333333333), "-0.0000033333333333333333");
  EXPECT_EQ(canonical_number(1424953923781206.2), "1424953923781206.2");
}

TEST(CanonicalJson, SortsKeysByByteAndLeavesNoBlanks) {
  EXPECT_EQ(canonical_json(yaml("{b: [1, 2.50, null], a: {z: true, é: x, Z: ''}}")),
            "{\"a\":{\"Z\":\"\",\"z\":true,\"é\":\"x\"},\"b\":[1,2.5,null]}");
}

TEST(CanonicalJson, EscapesOnlyWhatJsonNeeds) {
  EXPECT_EQ(canonical_json(Node::string("\"\\/\b\f\n\r\t\x01 \x7f ü")), "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001 \x7f ü\"");
}

TEST(CanonicalJson, NonFiniteNumbersAreTaggedAndNoStringLooksLikeThem) {
  EXPECT_EQ(canonical_json(yaml("[.inf, -.inf, .nan]")), "[\"!!float .inf\",\"!!float -.inf\",\"!!float .nan\"]");
  EXPECT_EQ(canonical_json(Node::string("!!float .inf")), "\"!!!float .inf\"");
}

TEST(CanonicalJson, OneAndOnePointZeroAreOneSpelling) {
  EXPECT_EQ(canonical_json(Node::number(1.0)), canonical_json(Node::integer(1)));
}

/// Configurations with their hashes, made by an independent implementation of the canonical form in Python (repr() for
/// digits, hashlib.sha256 for the hash) when format version 1 was fixed. A red test means that every stored result
/// would lose its name: raise kIdentityVersion knowingly, or undo the change.
struct Golden {
  const char* config;
  const char* input;  // fingerprint of model.path, or ""
  int64_t repeat;
  const char* text;
  const char* id;
};
const Golden kGolden[] = {
#include "tests/framework/config/identity_golden.inc"
};

IdentityParts parts_of(const Golden& golden) {
  IdentityParts parts;
  parts.components["method"] = "aqlm@1";
  parts.config = yaml(golden.config);
  if (*golden.input != '\0') parts.inputs["model.path"] = golden.input;
  parts.repeat = golden.repeat;
  return parts;
}

TEST(Identity, GoldenVectors) {
  EXPECT_EQ(std::size(kGolden), 20u);
  for (const Golden& golden : kGolden) {
    const IdentityParts parts = parts_of(golden);
    EXPECT_EQ(identity_text(parts), golden.text);
    EXPECT_EQ(trial_id(parts), golden.id) << golden.config;
  }
}

TEST(Identity, EveryPartChangesIt) {
  IdentityParts parts;
  parts.config = yaml("{a: 1}");
  std::vector<std::string> ids = {trial_id(parts)};
  parts.repeat = 1;
  ids.push_back(trial_id(parts));
  parts.inputs["model.path"] = std::string(64, '0');
  ids.push_back(trial_id(parts));
  parts.components["method"] = "rtn@1";
  ids.push_back(trial_id(parts));
  parts.config = yaml("{a: 2}");
  ids.push_back(trial_id(parts));
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(ids[i], ids[j]);
  }
}

TEST(Identity, CoercionMakesOneTrialOfEqualSpellings) {
  const Object schema = describe([](Reader& in) {
    in.number("lr", {.fallback = 0.1});
    in.integer("workers", {.fallback = 1, .identity = false});
    in.path("model", {.input = true});
    in.path("log", {.fallback = "x", .input = false});
  });
  const auto id = [&](const std::string& text) {
    std::vector<Problem> problems;
    IdentityParts parts;
    parts.config = identity_part(check(yaml(text), schema, problems), schema);
    EXPECT_TRUE(problems.empty()) << problems_to_text(problems);
    return trial_id(parts);
  };
  const std::string reference = id("{lr: 1, model: a}");
  EXPECT_EQ(id("{lr: 1.0, model: a}"), reference);
  EXPECT_EQ(id("{model: b, lr: 1}"), reference) << "names of inputs do not count, their contents do";
  EXPECT_EQ(id("{lr: 1, model: a, workers: 8, log: elsewhere}"), reference);
  EXPECT_NE(id("{lr: 2, model: a}"), reference);
}

class FingerprintsTest : public ::testing::Test {
 protected:
  /// A file that was last written an hour ago.
  fs::path old_file(const std::string& name, const std::string& bytes) const {
    const fs::path file = folder_.path() / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    const struct timespec times[2] = {{std::time(nullptr) - 3600, 0}, {std::time(nullptr) - 3600, 0}};
    utimensat(AT_FDCWD, file.c_str(), times, 0);
    return file;
  }
  ScratchFolder folder_;
};

TEST_F(FingerprintsTest, FileIsTheHashOfItsBytes) {
  Fingerprints fingerprints("");
  EXPECT_EQ(fingerprints.of(old_file("a.txt", "abc")), sha256_hex("abc"));
}

TEST_F(FingerprintsTest, FolderOfWeightsCountsNamesSizesAndBytesOfWhatALoaderReads) {
  old_file("m/config.json", "{}");
  old_file("m/model-00001-of-00002.safetensors", "x");
  old_file("m/model-00002-of-00002.safetensors", "yy");
  const auto fingerprint = [&] { return Fingerprints("").of(folder_.path() / "m"); };
  const std::string first = fingerprint();
  EXPECT_EQ(first,
            sha256_hex("[[\"config.json\",2,\"" + sha256_hex("{}") + "\"],[\"model-00001-of-00002.safetensors\",1,\"" +
                       sha256_hex("x") + "\"],[\"model-00002-of-00002.safetensors\",2,\"" + sha256_hex("yy") + "\"]]"));
  old_file("m/README.md", "words");
  EXPECT_EQ(fingerprint(), first) << "a note beside the weights changes nothing";
  old_file("m/model-00002-of-00002.safetensors", "yz");
  EXPECT_NE(fingerprint(), first);
}

TEST_F(FingerprintsTest, MissingPathSaysWhatPathsAreRelativeTo) {
  try {
    Fingerprints("").of(folder_.path() / "nope");
    FAIL();
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("relative to that file"));
  }
  fs::create_directories(folder_.path() / "empty");
  EXPECT_THROW(Fingerprints("").of(folder_.path() / "empty"), DataError);
}

TEST_F(FingerprintsTest, CacheSavesReadingAndNoticesEachChange) {
  const fs::path cache = folder_.path() / "cache/fingerprints.txt";
  const fs::path file = old_file("w.safetensors", "one");
  // ctime is now; wait until it is old enough to be trusted.
  const struct timespec pause = {3, 200000000};
  nanosleep(&pause, nullptr);
  Fingerprints first(cache);
  first.of(file);
  first.save();
  EXPECT_EQ(first.num_hashed(), 1);
  Fingerprints second(cache);
  EXPECT_EQ(second.of(file), sha256_hex("one"));
  EXPECT_EQ(second.num_hashed(), 0);
  EXPECT_EQ(second.num_cached(), 1);
  old_file("w.safetensors", "two");  // same size and mtime; ctime differs
  Fingerprints third(cache);
  EXPECT_EQ(third.of(file), sha256_hex("two"));
  Fingerprints verifying(cache);
  verifying.set_verify(true);
  verifying.of(file);
  EXPECT_EQ(verifying.num_hashed(), 1);
}

TEST_F(FingerprintsTest, FreshFilesAreNotRemembered) {
  const fs::path cache = folder_.path() / "fingerprints.txt";
  std::ofstream(folder_.path() / "new.txt") << "x";
  Fingerprints fingerprints(cache);
  fingerprints.of(folder_.path() / "new.txt");
  fingerprints.save();
  EXPECT_FALSE(fs::exists(cache));
}

TEST_F(FingerprintsTest, DamagedCacheIsIgnored) {
  const fs::path cache = folder_.path() / "fingerprints.txt";
  std::ofstream(cache) << "aqlm-exp fingerprints 1\ngarbage\n1 2 3 short\n";
  Fingerprints fingerprints(cache);
  EXPECT_EQ(fingerprints.of(old_file("a", "abc")), sha256_hex("abc"));
}

}  // namespace
}  // namespace aqlm_exp::config
