#include "analysis/html_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/number_text.h"
#include "analysis/page_assets.h"
#include "analysis/plot/canvas.h"
#include "analysis/provenance_table.h"
#include "analysis/report_table.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::analysis {
namespace {

using plot::escape_markup;

/// Colours that pages need beside those of pictures; each is at least 4.5:1 on its background.
constexpr const char* kPageColours =
    ":root{--soft:#f6f8fa;--code:#eceff2;--good:#00664a;--tie:#8a4b00;--warn:#a32a00}\n"
    "@media (prefers-color-scheme:dark){:root:not([data-theme=light]){--soft:#1b2027;--code:#262c35;--good:#4fd6ae;"
    "--tie:#f3b04d;--warn:#ff9d6e}}\n"
    ":root[data-theme=dark]{--soft:#1b2027;--code:#262c35;--good:#4fd6ae;--tie:#f3b04d;--warn:#ff9d6e}\n"
    "@media "
    "print{:root,:root[data-theme=dark]{--soft:#fff;--code:#f2f2f2;--good:#00664a;--tie:#8a4b00;--warn:#a32a00}}\n";

std::string e(std::string_view text) { return escape_markup(text); }

class Page {
 public:
  Page(const Report& report, const std::vector<GroupFigures>& figures) : report_(report), figures_(figures) {}

  std::string build() {
    const std::string style = plot::style() + kPageColours + std::string(kPageCss);
    const std::string script(kPageJs);
    head(style, script);
    top();
    navigation();
    out_ += "<main>\n";
    answers();
    for (size_t i = 0; i < report_.groups.size(); ++i) group(report_.groups[i], figures_[i]);
    failures();
    provenance();
    definitions();
    out_ += "</main>\n";
    out_ += fmt::format(
        "<footer>Written by {}. Everything here is also in report.json; every trial is a row of summary.csv, every "
        "layer "
        "a row of layers.csv.</footer>\n<script>{}</script>\n</body>\n</html>\n",
        e(report_.data->writer), script);
    return std::move(out_);
  }

 private:
  void head(const std::string& style, const std::string& script) {
    std::string sources;
    for (const Source& source : report_.data->sources) sources += (sources.empty() ? "" : ", ") + source.path;
    out_ = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; "
        "script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n"
        "<title>Quantisation report: {}</title>\n<style>{}</style>\n</head>\n<body>\n",
        base64_of_hex(sha256_hex(style)), base64_of_hex(sha256_hex(script)), e(sources), style);
    sources_ = sources;
  }

  void top() {
    const Dataset& data = *report_.data;
    out_ +=
        fmt::format("<header class=\"top\">\n<h1>Quantisation report: {}</h1>\n<ul class=\"status\">\n", e(sources_));
    out_ +=
        fmt::format("<li><b>{}</b> trials</li><li><b>{}</b> completed</li>", data.rows.size(), report_.num_completed);
    if (report_.failures.empty()) {
      out_ += "<li><b>0</b> failed</li>";
    } else {
      out_ +=
          fmt::format("<li><a class=\"bad\" href=\"#failures\">{} without a result</a></li>", report_.failures.size());
    }
    if (report_.num_planned > 0) out_ += fmt::format("<li class=\"bad\">{} still to be run</li>", report_.num_planned);
    for (const Source& source : data.sources) {
      out_ +=
          fmt::format("<li class=\"muted\">{} · {}</li>", e(source.config_file), e(source.created_utc.substr(0, 16)));
    }
    out_ += "\n</ul>\n";
    if (!report_.notes.empty()) {
      out_ += "<ul class=\"notes\">\n";
      for (const std::string& note : report_.notes) out_ += fmt::format("<li>{}</li>\n", e(note));
      out_ += "</ul>\n";
    }
    out_ += "</header>\n";
  }

  void navigation() {
    out_ += "<nav aria-label=\"Sections\"><ul>\n<li><a href=\"#answer\">Best</a></li>\n";
    for (const Group& group : report_.groups) {
      const std::string suffix = report_.groups.size() > 1 ? " " + group.id.substr(1) : "";
      for (const auto& [id, title] :
           {std::pair{"differences", "Ties"}, std::pair{"quality", "Bits"}, std::pair{"cost", "Speed and memory"},
            std::pair{"table", "Table"}, std::pair{"layers", "Layers"}, std::pair{"effects", "Keys"},
            std::pair{"curves", "Curves"}, std::pair{"kernels", "Kernels"}}) {
        out_ += fmt::format("<li><a href=\"#{}-{}\">{}{}</a></li>\n", group.id, id, title, suffix);
      }
    }
    if (!report_.failures.empty()) out_ += "<li><a href=\"#failures\">Failures</a></li>\n";
    out_ +=
        "<li><a href=\"#provenance\">Provenance</a></li>\n<li><a "
        "href=\"#definitions\">Definitions</a></li>\n</ul></nav>\n";
  }

  void answers() {
    out_ += "<section id=\"answer\">\n<h2>Which method is best at each bit budget</h2>\n";
    if (report_.groups.empty()) out_ += "<p>No trial has a result yet.</p>\n";
    for (const Group& group : report_.groups) {
      out_ += fmt::format("<p class=\"muted group\"><b>{}</b> · {}</p>\n<div class=\"cards\">\n", e(group.title()),
                          e(group.subtitle()));
      for (const Budget& budget : group.budgets) card(group, budget);
      if (group.budgets.empty()) out_ += "<p>Only the unquantised model has a result here.</p>\n";
      out_ += "</div>\n";
    }
    out_ += "</section>\n";
  }

  void card(const Group& group, const Budget& budget) {
    const Headline text = headline(report_, group, budget);
    const std::string kind = text.badge == "clear" || text.badge == "tie" ? text.badge : "open";
    out_ += fmt::format("<article class=\"card\">\n<h3>{} <span class=\"badge {}\">{}</span></h3>\n", e(budget.title),
                        kind, e(text.badge == "clear" ? "clear winner" : text.badge));
    if (!text.best.empty()) out_ += fmt::format("<p class=\"who\">{}</p>\n<ul>\n", e(text.best));
    for (const std::string& line : {text.measure, text.perplexity, text.bits}) {
      if (!line.empty()) out_ += fmt::format("<li>{}</li>\n", e(line));
    }
    if (!text.best.empty()) out_ += "</ul>\n";
    out_ += fmt::format("<p class=\"why\">{}</p>\n", e(text.reason));
    if (!text.command.empty()) {
      out_ += fmt::format("<div class=\"cmd\"><pre><code>{}</code></pre></div>\n", e(text.command));
    }
    out_ += "</article>\n";
  }

  std::string suffix(const Group& group) const {
    return report_.groups.size() > 1 ? fmt::format(" · {} ({})", group.title(), group.id.substr(1)) : std::string();
  }

  void group(const Group& group, const GroupFigures& figures) {
    section(group, "differences", figures.differences);
    section(group, "quality", figures.quality);
    section(group, "cost", figures.cost);
    table(group);
    section(group, "layers", figures.layers);
    section(group, "effects", figures.effects);
    section(group, "curves", figures.curves);
    section(group, "kernels", figures.kernels);
  }

  void section(const Group& group, const char* id, const FigureSection& section) {
    out_ += fmt::format("<section id=\"{}-{}\">\n<h2>{}{}</h2>\n", group.id, id, e(section.title), e(suffix(group)));
    if (!section.intro.empty()) out_ += fmt::format("<p>{}</p>\n", e(section.intro));
    if (!section.figures.empty()) {
      static constexpr const char* widths[] = {"", " third", " small"};
      out_ += fmt::format("<div class=\"figures{}\">\n", widths[static_cast<size_t>(section.width)]);
      for (const plot::Figure& figure : section.figures) draw(figure);
      out_ += "</div>\n";
    }
    if (!section.missing.empty()) out_ += fmt::format("<p class=\"muted\">{}</p>\n", e(section.missing));
    out_ += "</section>\n";
  }

  void draw(const plot::Figure& figure) {
    out_ += fmt::format("<figure id=\"{}\">\n<h3>{}</h3>\n{}<figcaption>{}</figcaption>\n", figure.id, e(figure.title),
                        figure.svg, e(figure.caption));
    out_ += "<details><summary>Data</summary>\n<div class=\"scroll\"><table>\n<thead><tr>";
    for (const auto& column : figure.data.columns) {
      out_ += fmt::format("<th scope=\"col\"{}>{}</th>", column.number ? " class=\"n\"" : "", e(column.title));
    }
    out_ += "</tr></thead>\n<tbody>\n";
    for (const auto& row : figure.data.rows) {
      out_ += "<tr>";
      for (size_t i = 0; i < row.size(); ++i) {
        out_ += fmt::format("<td{}>{}</td>", figure.data.columns[i].number ? " class=\"n\"" : "", e(row[i]));
      }
      out_ += "</tr>\n";
    }
    out_ += "</tbody></table></div></details>\n</figure>\n";
  }

  void table(const Group& group) {
    const MainTable table = main_table(report_, group);
    out_ += fmt::format(
        "<section id=\"{0}-table\">\n<h2>All configurations{1}</h2>\n<p>Ranked within each bit budget by {2}. "
        "<code>aqlm-exp repro OUT TRIAL</code> prints the command that gives a row again.</p>\n"
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of configurations\"><table "
        "class=\"trials\" "
        "id=\"{0}-trials\">\n<caption class=\"vh\">All configurations</caption>\n<thead><tr>",
        group.id, e(suffix(group)), quality_metric(group) == results::metric::kKl ? "KL divergence" : "perplexity");
    for (const TableColumn& column : table.columns) {
      out_ += fmt::format("<th scope=\"col\" data-c=\"{}\"{}{} title=\"{}\">{}{}</th>", column.id,
                          column.number ? " class=\"n\"" : "", column.shown ? "" : " data-extra=\"\"",
                          e(column.description), e(column.title),
                          column.unit.empty() ? "" : "<small>" + e(column.unit) + "</small>");
    }
    out_ += "</tr></thead>\n<tbody>\n";
    std::string budget;
    for (const TableRow& row : table.rows) {
      std::string css = row.verdict == "best" || row.verdict == "tie" ? row.verdict : "";
      if (row.budget != budget) css += css.empty() ? "first" : " first";
      budget = row.budget;
      out_ += fmt::format("<tr data-k=\"{}\"{}>", group.entries[row.entry].key,
                          css.empty() ? "" : " class=\"" + css + "\"");
      for (size_t i = 0; i < row.cells.size(); ++i) {
        const TableCell& cell = row.cells[i];
        out_ += "<td";
        if (table.columns[i].number) out_ += " class=\"n\"";
        if (std::isfinite(cell.value)) out_ += fmt::format(" data-v=\"{:.9g}\"", cell.value);
        out_ += ">" + e(cell.text) + "</td>";
      }
      out_ += "</tr>\n";
    }
    out_ += "</tbody></table></div>\n</section>\n";
  }

  void failures() {
    if (report_.failures.empty()) return;
    out_ +=
        "<section id=\"failures\">\n<h2>Trials without a result</h2>\n<div class=\"scroll\"><table>\n"
        "<thead><tr><th scope=\"col\">trial</th><th scope=\"col\">configuration</th><th scope=\"col\">what "
        "happened</th>"
        "<th scope=\"col\">reason</th></tr></thead>\n<tbody>\n";
    for (size_t index : report_.failures) {
      const TrialRow& row = report_.data->rows[index];
      std::string what = row.status;
      if (!row.failure_class.empty() && row.failure_class != row.status) what += ": " + row.failure_class;
      if (row.signal != 0)
        what += fmt::format(" (signal {})", row.signal);
      else if (row.exit_code >= 0)
        what += fmt::format(" (exit {})", row.exit_code);
      out_ += fmt::format("<tr><td>{}</td><td class=\"wrap\">{}</td><td>{}</td><td class=\"wrap\">{}",
                          e(row.id.substr(0, 12)), e(row.name), e(what), e(row.message));
      if (!row.log_tail.empty()) {
        out_ += "<details><summary>Last lines of its log</summary><pre>";
        for (const std::string& line : row.log_tail) out_ += e(line) + "\n";
        out_ += "</pre></details>";
      }
      out_ += "</td></tr>\n";
    }
    out_ += "</tbody></table></div>\n</section>\n";
  }

  void provenance() {
    out_ += "<section id=\"provenance\">\n<h2>Where these numbers come from</h2>\n<dl>\n";
    for (const Source& source : report_.data->sources) {
      out_ += fmt::format("<dt>{}</dt><dd>{} trials of <code>{}</code>, planned {} by build {}</dd>\n", e(source.path),
                          source.num_trials, e(source.command), e(source.created_utc), e(source.build_id));
    }
    for (const ProvenanceField& field : provenance_fields(*report_.data)) {
      out_ += fmt::format("<dt>{}</dt><dd>", e(field.key));
      for (size_t i = 0; i < field.values.size(); ++i) {
        out_ += fmt::format("{}{}", i == 0 ? "" : "; ", e(field.values[i].first));
        if (field.values.size() > 1 || field.num_missing > 0) {
          out_ += fmt::format(" <small>({} trials)</small>", field.values[i].second);
        }
      }
      if (field.num_more > 0) out_ += fmt::format("; {} more values", field.num_more);
      out_ += "</dd>\n";
    }
    out_ += "</dl>\n</section>\n";
  }

  void definitions() {
    out_ += "<section id=\"definitions\">\n<h2>What each number means</h2>\n<dl>\n";
    for (const MetricInfo& info : report_.metrics) {
      out_ += fmt::format("<dt>{} <small>{}</small></dt><dd>{}{}{}</dd>\n", e(info.title), e(info.name),
                          e(info.description.empty() ? std::string("no description stored") : info.description),
                          info.unit.empty() ? "" : e(" [" + info.unit + "]"),
                          info.deterministic ? "" : "; measured, differs from run to run");
    }
    for (const auto& [name, text] : report_definitions(*report_.data)) {
      out_ += fmt::format("<dt>{}</dt><dd>{}</dd>\n", e(name), e(text));
    }
    out_ += "</dl>\n</section>\n";
  }

  const Report& report_;
  const std::vector<GroupFigures>& figures_;
  std::string out_, sources_;
};

}  // namespace

GroupFigures draw_group(const Report& report, const Group& group) {
  return {.differences = difference_figures(report, group),
          .quality = quality_figures(report, group),
          .cost = cost_figures(report, group),
          .layers = layer_figures(report, group),
          .effects = effect_figures(report, group),
          .curves = curve_figures(report, group),
          .kernels = kernel_figures(report, group)};
}

std::string html_report(const Report& report, const std::vector<GroupFigures>& figures) {
  return Page(report, figures).build();
}

std::string base64_of_hex(const std::string& hex) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint32_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint32_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = bytes.size() - i;
    const uint32_t triple = bytes[i] << 16 | (left > 1 ? bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
    out += kDigits[triple >> 18];
    out += kDigits[triple >> 12 & 63];
    out += left > 1 ? kDigits[triple >> 6 & 63] : '=';
    out += left > 2 ? kDigits[triple & 63] : '=';
  }
  return out;
}

}  // namespace aqlm_exp::analysis
