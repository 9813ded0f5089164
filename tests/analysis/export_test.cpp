#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>

#include "analysis/pivot.h"
#include "analysis/sqlite_export.h"
#include "framework/base/error.h"
#include "tests/analysis/sample_sweep.h"

namespace aqlm_exp::analysis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const PivotCell& cell_of(const PivotTable& table, const std::string& row, const std::string& col) {
  const auto i = std::find(table.rows.begin(), table.rows.end(), row) - table.rows.begin();
  const auto j = std::find(table.cols.begin(), table.cols.end(), col) - table.cols.begin();
  return table.cells.at(static_cast<size_t>(i)).at(static_cast<size_t>(j));
}

TEST(Pivot, PutsEachTrialWhereItBelongs) {
  const Dataset data = sample_sweep();
  const Report report = build_report(data);
  const auto tables = pivot(report, parse_pivot({"rows=method", "cols=quant.nbits", "value=bits_per_weight"}));
  ASSERT_EQ(tables.size(), 1u);
  EXPECT_THAT(tables[0].cols, ElementsAre("2", "3", "4", "16"));
  EXPECT_EQ(cell_of(tables[0], "gptq", "3").value, 3.15);
  EXPECT_EQ(cell_of(tables[0], "rtn", "2").value, 2.14);
  EXPECT_EQ(cell_of(tables[0], "rtn", "3").num_trials, 0u);
}

TEST(Pivot, AggregatesRepeats) {
  const Dataset data =
      sample_dataset({{.bits = 2.0, .seed = 0}, {.bits = 2.5, .name = "b"}, {.bits = 2.6, .name = "c"}});
  const Report report = build_report(data);
  const auto value = [&](const char* how) {
    const auto tables = pivot(report, parse_pivot({"rows=method", "value=bits_per_weight", std::string("agg=") + how}));
    return tables.at(0).cells.at(0).at(0).value;
  };
  EXPECT_EQ(value("median"), 2.5);
  EXPECT_EQ(value("min"), 2.0);
  EXPECT_EQ(value("max"), 2.6);
  EXPECT_EQ(value("count"), 3);
  EXPECT_NEAR(value("mean"), 7.1 / 3, 1e-12);
}

TEST(Pivot, NeverMixesHardware) {
  const Dataset data = sample_dataset({{.hardware = "cpu-a"}, {.hardware = "cpu-b"}});
  const Report report = build_report(data);
  EXPECT_EQ(pivot(report, parse_pivot({"rows=method", "value=ppl"})).size(), 2u);
  EXPECT_EQ(pivot(report, parse_pivot({"rows=method", "cols=hardware", "value=ppl"})).size(), 1u);
  EXPECT_EQ(pivot(report, parse_pivot({"rows=method", "value=ppl"}), {.allow_mixed_hardware = true}).size(), 1u);
}

TEST(Pivot, SaysWhatIsWrong) {
  const Dataset data = sample_sweep();
  const Report report = build_report(data);
  EXPECT_THROW(parse_pivot({"rows=method"}), UsageError);
  EXPECT_THROW(parse_pivot({"rows=method", "value=ppl", "agg=mode"}), UsageError);
  EXPECT_THROW(parse_pivot({"row=method"}), UsageError);
  EXPECT_THROW(pivot(report, parse_pivot({"rows=nothing.like.it", "value=ppl"})), UsageError);
  EXPECT_THROW(pivot(report, parse_pivot({"rows=method", "value=name"})), UsageError);
  EXPECT_THAT(
      pivot_csv(pivot(report, parse_pivot({"rows=method", "value=ppl"})), parse_pivot({"rows=method", "value=ppl"})),
      HasSubstr("median_ppl,trials\r\n"));
}

class SqliteExport : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("aqlm-exp-sqlite-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> query(const std::string& sql) {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open((folder_ / "a.sqlite").c_str(), &database), SQLITE_OK);
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    std::vector<std::string> rows;
    while (sqlite3_step(statement) == SQLITE_ROW) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
      rows.emplace_back(text != nullptr ? text : "NULL");
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return rows;
  }

  std::filesystem::path folder_;
};

TEST_F(SqliteExport, HoldsTrialsLayersSamplesAndTypes) {
  Dataset data = sample_sweep();
  data.rows.push_back(sample_failure("a \"reason\"; DROP TABLE trials"));
  export_sqlite(build_report(data), folder_ / "a.sqlite");
  export_sqlite(build_report(data), folder_ / "a.sqlite");  // again, over the first
  EXPECT_THAT(query("SELECT count(*) FROM trials"), ElementsAre("9"));
  EXPECT_THAT(query("SELECT DISTINCT typeof(bits_per_weight) FROM trials WHERE status='completed'"),
              ElementsAre("real"));
  EXPECT_THAT(query("SELECT typeof(kl) FROM trials WHERE status='failed'"), ElementsAre("null"));
  EXPECT_THAT(query("SELECT failure_message FROM trials WHERE status='failed'"),
              ElementsAre("a \"reason\"; DROP TABLE trials"));
  EXPECT_THAT(query("SELECT configuration FROM trials WHERE standing='best' ORDER BY bits_per_weight LIMIT 1"),
              ElementsAre("AQLM 2x7 g8"));
  EXPECT_THAT(query("SELECT count(*) FROM layers"), ElementsAre("28"));
  EXPECT_THAT(query("SELECT count(*) FROM samples WHERE name='window_kl'"), ElementsAre("84"));
  EXPECT_THAT(query("SELECT unit FROM fields WHERE \"table\"='trials' AND name='kl'"), ElementsAre("nats/token"));
  EXPECT_THAT(query("PRAGMA integrity_check"), ElementsAre("ok"));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 1u) << "no temporaries stay";
}

TEST_F(SqliteExport, AFolderThatIsNotThereIsAStorageError) {
  EXPECT_THROW(export_sqlite(build_report(sample_sweep()), folder_ / "no/such/a.sqlite"), StorageError);
}

}  // namespace
}  // namespace aqlm_exp::analysis
