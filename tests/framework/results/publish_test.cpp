#include "framework/results/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "framework/results/sidecar.h"
#include "framework/results/text_check.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::results {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Publish, ReadsBackWhatWasWritten) {
  TempDir dir;
  const TrialRecord record = sample_record();
  const Published published = publish(record, dir.path());
  EXPECT_FALSE(published.already_there);
  const TrialRecord read = read_published(dir.path(), record.id);
  EXPECT_EQ(deterministic_text(read), deterministic_text(record));
  EXPECT_EQ(read.created_utc, record.created_utc);
  EXPECT_EQ(read.writer, record.writer);
  EXPECT_EQ(read.build_id, record.build_id);
  EXPECT_EQ(read.duration_s, record.duration_s);
  EXPECT_EQ(read.series.at(0).time_s, record.series.at(0).time_s);
  EXPECT_FALSE(read.find_metric("decode_tokens_per_s")->deterministic);
  EXPECT_EQ(read.find_metric("decode_tokens_per_s")->value, 101.0);
  EXPECT_TRUE(std::isnan(read.find_metric("not_a_number")->value));
  EXPECT_THAT(read.provenance, testing::UnorderedElementsAreArray(record.provenance));
  EXPECT_THAT(read.timing, testing::UnorderedElementsAreArray(record.timing));
}

TEST(Publish, LeavesTwoFilesAndNoTemporary) {
  TempDir dir;
  const TrialRecord record = sample_record();
  publish(record, dir.path());
  EXPECT_THAT(names_in(dir.path()), testing::ElementsAre(id16(record.id) + ".h5", id16(record.id) + ".json"));
}

TEST(Publish, MakesTheFolder) {
  const TempDir dir;
  publish(sample_record(), dir.path() / "a" / "results");
  EXPECT_EQ(read_published(dir.path() / "a" / "results", sample_record().id).metrics.size(),
            sample_record().metrics.size());
}

TEST(Publish, SameRecordGivesSameBytes) {
  EXPECT_EQ(record_image(sample_record()), record_image(sample_record()));
  EXPECT_NE(record_image(sample_record("a")), record_image(sample_record("b")));
}

TEST(Publish, NeverReplacesAResult) {
  TempDir dir;
  TrialRecord record = sample_record();
  const Published first = publish(record, dir.path());
  const std::string sidecar = read_file(sidecar_path(dir.path(), record.id));
  record.metrics[0].value = 1.0;
  EXPECT_TRUE(publish(record, dir.path()).already_there);
  EXPECT_EQ(sha256_hex(read_file(first.file)), first.sha256);
  EXPECT_EQ(read_file(sidecar_path(dir.path(), record.id)), sidecar);
  EXPECT_EQ(names_in(dir.path()).size(), 2u);
}

TEST(Publish, CompressesLargeArraysAndReadsThemBack) {
  TempDir dir;
  TrialRecord record = sample_record();
  std::vector<double> values(100'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i % 10);
  record.samples = {{.name = "large", .unit = "", .description = "", .values = values}};
  const Published published = publish(record, dir.path());
  EXPECT_LT(published.size_bytes, 200'000u);  // 800,000 bytes of doubles
  EXPECT_EQ(read_published(dir.path(), record.id).samples.at(0).values, values);
}

TEST(Publish, RefusesBrokenRecords) {
  TrialRecord record = sample_record();
  record.id = "short";
  EXPECT_THROW(record_image(record), InternalError);
  record = sample_record();
  record.metrics[0].name = "Perplexity!";
  EXPECT_THROW(record_image(record), InternalError);
  record = sample_record();
  record.layers.matrix[0].values.pop_back();
  EXPECT_THROW(record_image(record), InternalError);
  record = sample_record();
  record.metrics.push_back(record.metrics[0]);
  EXPECT_THROW(record_image(record), InternalError);
  record = sample_record();
  record.config_yaml = "\xFF";
  EXPECT_THROW(record_image(record), InternalError);
}

TEST(Publish, AnyChangedByteOfTheResultIsFound) {
  TempDir dir;
  const TrialRecord record = sample_record();
  const fs::path file = publish(record, dir.path()).file;
  const std::string good = read_file(file);
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    std::string bad = good;
    switch (i % 3) {
      case 0:
        bad[rng.below(bad.size())] ^= static_cast<char>(1 << rng.below(8));
        break;
      case 1:
        bad.resize(rng.below(bad.size()));
        break;
      default: {
        const size_t page = rng.below(bad.size() / 512) * 512;
        std::fill_n(bad.begin() + static_cast<long>(page), 512, '\0');
        if (bad == good) continue;
      }
    }
    std::ofstream(file, std::ios::binary) << bad;
    EXPECT_THROW(read_published(dir.path(), record.id), StorageError) << "mutation " << i;
  }
}

TEST(Publish, AnyChangedByteOfTheSidecarIsFound) {
  Sidecar sidecar{.id = std::string(64, 'a'), .name = "n", .status = "failed", .failure_class = "numerical"};
  sidecar.log_tail = {"line 1", "line \xFF"};
  const std::string good = sidecar_text(sidecar);
  EXPECT_EQ(parse_sidecar(good, "s").failure_class, "numerical");
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] ^= static_cast<char>(1 << bit);
      EXPECT_THROW(parse_sidecar(bad, "s"), StorageError) << "byte " << at << " bit " << bit;
    }
    EXPECT_THROW(parse_sidecar(good.substr(0, at), "s"), StorageError);
  }
  EXPECT_THROW(parse_sidecar(std::string(1'000'000, '[') + "\n", "s"), StorageError);
}

TEST(Sidecar, AFailureDoesNotReplaceAResult) {
  TempDir dir;
  const TrialRecord record = sample_record();
  Sidecar failure{.id = record.id, .name = "n", .status = "failed", .failure_class = "crashed"};
  publish_failure(failure, dir.path());
  publish(record, dir.path());  // a result replaces a failure
  EXPECT_EQ(read_published(dir.path(), record.id).id, record.id);
  publish_failure(failure, dir.path());
  EXPECT_EQ(read_published(dir.path(), record.id).id, record.id);
}

TEST(CleanText, ReplacesOnlyWhatIsIllFormed) {
  EXPECT_EQ(clean_text("aé漢😀"), "aé漢😀");
  EXPECT_EQ(clean_text(std::string_view("a\0b", 3)),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(clean_text("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong NUL
  EXPECT_FALSE(is_clean_text("\xED\xA0\x80"));                    // surrogate
  EXPECT_FALSE(is_clean_text("\xF4\x90\x80\x80"));                // above U+10FFFF
  EXPECT_FALSE(is_clean_text("\xE6\xBC"));                        // cut short
}

}  // namespace
}  // namespace aqlm_exp::results
