#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "analysis/csv_report.h"
#include "analysis/html_report.h"
#include "analysis/json_report.h"
#include "analysis/latex_report.h"
#include "analysis/markdown_report.h"
#include "analysis/number_text.h"
#include "analysis/plot/canvas.h"
#include "tests/analysis/sample_sweep.h"

namespace aqlm_exp::analysis {
namespace {

using testing::HasSubstr;
using testing::Not;

const char* const kHostile[] = {"</script><img src=x onerror=alert(1)>",
                                "=HYPERLINK(\"http://evil\")",
                                "\" onmouseover=\"x",
                                "]]>&lt;\x01\xFF",
                                "@SUM(1)\n-2+3",
                                "a|b`c`*d*_e_[f](javascript:x)",
                                "\\input{/etc/passwd}$x$%"};

Dataset hostile_dataset() {
  std::vector<SampleTrial> trials = {{.method = "none", .setting = "unquantised", .bits = 16, .kl = 0}};
  double kl = 0.3;
  for (const char* text : kHostile)
    trials.push_back({.method = "aqlm", .setting = text, .kl = kl += 0.1, .name = text});
  trials.push_back({.method = kHostile[0], .setting = "s", .kl = 2});
  Dataset data = sample_dataset(trials);
  data.rows.push_back(sample_failure(kHostile[0]));
  data.rows.back().name = kHostile[1];
  data.rows.back().log_tail = {kHostile[0]};
  data.sources[0].path = kHostile[0];
  data.sources[0].command = kHostile[0];
  data.notes = {kHostile[0]};
  return data;
}

std::vector<GroupFigures> draw_all(const Report& report) {
  std::vector<GroupFigures> figures;
  for (const Group& group : report.groups) figures.push_back(draw_group(report, group));
  return figures;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(HtmlReport, HostileTextsStayText) {
  const Dataset data = hostile_dataset();
  const Report report = build_report(data);
  const std::string html = html_report(report, draw_all(report));
  EXPECT_EQ(count(html, "<script>"), 1u);
  EXPECT_EQ(count(html, "</script>"), 1u);
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr("\" onmouseover")));
  EXPECT_THAT(html, HasSubstr("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("\x01")));
}

TEST(HtmlReport, AsksForNothingFromOutside) {
  const Dataset data = sample_sweep();
  const Report report = build_report(data);
  std::string html = html_report(report, draw_all(report));
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
  EXPECT_THAT(html, Not(HasSubstr("unsafe-inline")));
  for (size_t at; (at = html.find("http://www.w3.org/2000/svg")) != std::string::npos;) html.erase(at, 26);
  EXPECT_THAT(html, Not(HasSubstr("http://")));
  EXPECT_THAT(html, Not(HasSubstr("https://")));
  EXPECT_THAT(html, Not(HasSubstr(" style=\""))) << "the policy would refuse it";
}

TEST(HtmlReport, HeadingsAreInOrder) {
  Dataset data = sample_sweep();
  data.rows.push_back(sample_failure());
  const Report report = build_report(data);
  const std::string html = html_report(report, draw_all(report));
  int last = 0;
  for (size_t at = html.find("<h"); at != std::string::npos; at = html.find("<h", at + 1)) {
    if (html[at + 2] < '1' || html[at + 2] > '6') continue;
    const int level = html[at + 2] - '0';
    EXPECT_LE(level, last + 1) << html.substr(at, 60);
    last = level;
  }
  EXPECT_EQ(count(html, "<h1"), 1u);
  EXPECT_THAT(html, HasSubstr("<html lang=\"en\">"));
}

TEST(HtmlReport, FailuresAreListedWithReasonAndLog) {
  Dataset data = sample_sweep();
  data.rows.push_back(sample_failure());
  const Report report = build_report(data);
  const std::string html = html_report(report, draw_all(report));
  EXPECT_THAT(html, HasSubstr("not positive definite"));
  EXPECT_THAT(html, HasSubstr("last line"));
  EXPECT_THAT(html, HasSubstr("failed: numerical (exit 24)"));
}

TEST(Base64OfHex, MatchesOpenssl) {
  // printf '' | openssl dgst -sha256 -binary | base64
  EXPECT_EQ(base64_of_hex(sha256_hex("")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  EXPECT_EQ(base64_of_hex("00"), "AA==");
  EXPECT_EQ(base64_of_hex("ffff"), "//8=");
}

TEST(CsvText, GuardsFormulasAndQuotes) {
  EXPECT_EQ(csv_text("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
  EXPECT_EQ(csv_text("-3"), "'-3") << "texts only: numbers do not pass through here";
  EXPECT_EQ(csv_text("@x"), "'@x");
  EXPECT_EQ(csv_text("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_text("a\nb"), "\"a\nb\"");
  EXPECT_EQ(csv_text("plain"), "plain");
}

TEST(SummaryCsv, NumbersAreExactAndNeverGuarded) {
  Dataset data = sample_sweep();
  for (results::Metric& metric : data.rows[1].record->metrics) {
    if (metric.name == "decode_tokens_per_s") metric.value = -1.0 / 3;
  }
  const std::string csv = summary_csv(build_report(data));
  EXPECT_THAT(csv, HasSubstr(",-0.33333333333333331,"));
  EXPECT_EQ(csv.rfind("trial_id,", 0), 0u);
  EXPECT_THAT(csv, HasSubstr("kl [nats/token]"));
  EXPECT_EQ(count(csv, "\r\n"), data.rows.size() + 1);
}

TEST(SummaryCsv, HostileNamesAreGuarded) {
  const std::string csv = summary_csv(build_report(hostile_dataset()));
  EXPECT_THAT(csv, Not(HasSubstr(",=HYPERLINK")));
  EXPECT_THAT(csv, Not(HasSubstr(",\"=HYPERLINK")));
  EXPECT_THAT(csv, HasSubstr("'=HYPERLINK"));
}

TEST(LayersCsv, OneRowALayer) {
  const Dataset data = sample_sweep();
  const std::string csv = layers_csv(build_report(data));
  EXPECT_EQ(count(csv, "\r\n"), 7u * 4 + 1);
}

TEST(LatexText, EscapesEverySpecial) {
  EXPECT_EQ(latex_text("a_b & 50% $x$ #1 {z} ~ ^ \\"),
            "a\\_b \\& 50\\% \\$x\\$ \\#1 \\{z\\} \\textasciitilde{} \\textasciicircum{} \\textbackslash{}");
  EXPECT_EQ(latex_text("≤ 2.25"), "$\\leq$ 2.25");
  EXPECT_EQ(latex_text("漢\n"), "? ");
}

TEST(LatexTable, BestAndTiesAreBoldTheNextIsUnderlined) {
  const Dataset data = sample_sweep();
  const std::string tex = latex_table(build_report(data));
  EXPECT_EQ(count(tex, "\\textbf{"), 4u) << "one at two bits, two that tie at three, one at four";
  EXPECT_EQ(count(tex, "\\underline{"), 2u);
  EXPECT_THAT(tex, HasSubstr("\\toprule"));
}

TEST(MarkdownText, CannotBreakOutOfATable) {
  const std::string text = markdown_text("a|b\nc<script>[x](y)`z`");
  EXPECT_EQ(text, "a\\|b c&lt;script&gt;\\[x\\](y)\\`z\\`");
}

TEST(JsonReport, IsJsonAlsoForHostileTexts) {
  const Dataset data = hostile_dataset();
  const auto json = nlohmann::json::parse(json_report(build_report(data)));
  EXPECT_EQ(json["format"], "aqlm-exp-report");
  EXPECT_EQ(json["trials"].size(), data.rows.size());
  EXPECT_EQ(json["trials"].back()["failure"]["class"], "numerical");
  EXPECT_EQ(json["groups"][0]["budgets"][0]["standings"][0]["verdict"], "best");
}

TEST(EscapeMarkup, CoversTheSpecials) {
  EXPECT_EQ(plot::escape_markup("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
  EXPECT_EQ(plot::escape_markup("a\x01z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(plot::escape_markup("\u202Eabc"),
            "\xEF\xBF\xBD"
            "abc");
}

TEST(NumberText, ReadsLikeATable) {
  EXPECT_EQ(significant(0.53604, 4), "0.5360");
  EXPECT_EQ(significant(4218.31, 4), "4218");
  EXPECT_EQ(significant(-0.5, 2), "−0.50");
  EXPECT_EQ(significant(0), "0");
  EXPECT_EQ(interval_text(0.4792, 0.412, 0.546, true), "+0.479 [+0.412, +0.546]");
  EXPECT_EQ(interval_text(0.4792, -1.2, 2.16, false), "0.5 [−1.2, 2.2]");
  EXPECT_EQ(metric_text("top1_agreement", 0.583), "58.3");
  EXPECT_EQ(exact(0.1), "0.10000000000000001");
  EXPECT_EQ(exact(std::nan("")), "");
}

}  // namespace
}  // namespace aqlm_exp::analysis
