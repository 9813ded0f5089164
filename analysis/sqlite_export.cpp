#include "analysis/sqlite_export.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cmath>
#include <memory>

#include "analysis/flat_table.h"
#include "analysis/provenance_table.h"
#include "framework/base/error.h"
#include "framework/base/utf8.h"
#include "framework/results/storage.h"

namespace aqlm_exp::analysis {
namespace {

namespace fs = std::filesystem;

/// One new database; every call is checked.
class Database {
 public:
  explicit Database(const fs::path& path) : path_(path) {
    sqlite3* opened = nullptr;
    const int rc = sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    handle_.reset(opened);
    check(rc, "open");
  }
  void run(const std::string& sql) { check(sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr), sql); }
  void check(int rc, const std::string& what) {
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) return;
    throw StorageError(
        fmt::format("{}: SQLite cannot {}: {}; {}", path_.string(), what.substr(0, 80),
                    handle_ ? sqlite3_errmsg(handle_.get()) : "out of memory", results::free_space_text(path_)),
        "R-SQLITE");
  }
  sqlite3* get() { return handle_.get(); }
  void close() { check(sqlite3_close(handle_.release()), "close"); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close(handle); }
  };
  fs::path path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

std::string quoted(const std::string& name) {
  std::string out = "\"";
  for (char c : utf8_replace_invalid(name)) {
    if (c == '\0') continue;
    out += c;
    if (c == '"') out += '"';
  }
  return out + "\"";
}

/// INSERT for one table, used row after row.
class Insert {
 public:
  Insert(Database& database, const std::string& table, size_t num_columns) : database_(database) {
    std::string sql = "INSERT INTO " + quoted(table) + " VALUES (";
    for (size_t i = 0; i < num_columns; ++i) sql += i == 0 ? "?" : ",?";
    sqlite3_stmt* statement = nullptr;
    database.check(sqlite3_prepare_v2(database.get(), (sql + ")").c_str(), -1, &statement, nullptr),
                   "insert into " + table);
    statement_.reset(statement);
  }
  Insert& add(const std::string& text) {
    const std::string valid = utf8_replace_invalid(text);
    database_.check(
        sqlite3_bind_text(statement_.get(), ++at_, valid.data(), static_cast<int>(valid.size()), SQLITE_TRANSIENT),
        "bind");
    return *this;
  }
  Insert& add(double number) {
    database_.check(std::isnan(number) ? sqlite3_bind_null(statement_.get(), ++at_)
                                       : sqlite3_bind_double(statement_.get(), ++at_, number),
                    "bind");
    return *this;
  }
  Insert& add(int64_t number) {
    database_.check(sqlite3_bind_int64(statement_.get(), ++at_, number), "bind");
    return *this;
  }
  void row() {
    database_.check(sqlite3_step(statement_.get()), "insert");
    database_.check(sqlite3_reset(statement_.get()), "insert");
    at_ = 0;
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int at_ = 0;
};

void put_flat(Database& database, const std::string& name, const FlatTable& table, Insert& fields) {
  std::string sql = "CREATE TABLE " + quoted(name) + " (";
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const FlatColumn& column = table.columns[i];
    sql += fmt::format("{}{} {}", i == 0 ? "" : ", ", quoted(column.name), column.number ? "REAL" : "TEXT");
    fields.add(name).add(column.name).add(column.unit).add(column.description).row();
  }
  database.run(sql + ")");
  Insert insert(database, name, table.columns.size());
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (table.columns[i].number) {
        insert.add(row[i].number);
      } else {
        insert.add(row[i].text);
      }
    }
    insert.row();
  }
}

void write(const Report& report, const fs::path& path) {
  Database database(path);
  database.run("BEGIN");
  database.run("CREATE TABLE fields (\"table\" TEXT, name TEXT, unit TEXT, description TEXT)");
  {
    Insert fields(database, "fields", 4);
    put_flat(database, "trials", trial_table(report), fields);
    put_flat(database, "layers", layer_table(report), fields);
    database.run(
        "CREATE TABLE metrics (name TEXT PRIMARY KEY, unit TEXT, description TEXT, direction TEXT, deterministic "
        "INTEGER)");
    Insert metrics(database, "metrics", 5);
    for (const MetricInfo& info : report.metrics) {
      const char* direction = info.direction == results::Direction::kMin   ? "min"
                              : info.direction == results::Direction::kMax ? "max"
                                                                           : "none";
      metrics.add(info.name)
          .add(info.unit)
          .add(info.description)
          .add(std::string(direction))
          .add(static_cast<int64_t>(info.deterministic))
          .row();
    }
    database.run("CREATE TABLE samples (trial_id TEXT, name TEXT, i INTEGER, value REAL)");
    database.run("CREATE TABLE provenance (trial_id TEXT, key TEXT, value TEXT)");
    Insert samples(database, "samples", 4), provenance(database, "provenance", 3);
    for (const TrialRow& row : report.data->rows) {
      if (!row.completed()) continue;
      for (const results::Samples& list : row.record->samples) {
        for (size_t i = 0; i < list.values.size(); ++i) {
          samples.add(row.id).add(list.name).add(static_cast<int64_t>(i)).add(list.values[i]).row();
        }
      }
      for (const auto& [key, value] : row.record->provenance)
        provenance.add(row.id).add(key).add(value_text(value)).row();
    }
  }
  database.run("CREATE INDEX samples_trial ON samples (trial_id, name)");
  database.run("COMMIT");
  database.close();
}

}  // namespace

void export_sqlite(const Report& report, const fs::path& path) {
  const fs::path temporary = (path.has_parent_path() ? path.parent_path() : fs::path(".")) / results::temporary_name();
  try {
    write(report, temporary);
    std::error_code error;
    fs::rename(temporary, path, error);
    if (error) throw StorageError(fmt::format("{}: {}", path.string(), error.message()), "R-IO");
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    fs::remove(temporary.string() + "-journal", ignored);
    throw;
  }
}

}  // namespace aqlm_exp::analysis
