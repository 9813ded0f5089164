#include "analysis/latex_report.h"

#include <fmt/format.h>

#include <cmath>

#include "analysis/number_text.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::analysis {
namespace {

namespace metric = results::metric;

std::string number(const std::string& name, double value) {
  if (std::isnan(value)) return "--";
  std::string text = metric_text(name, value);
  const std::string minus = "−";
  if (text.rfind(minus, 0) == 0) text = "$-$" + text.substr(minus.size());
  return text;
}

enum class Mark { kNone, kBold, kUnderlined };

std::string marked(const std::string& text, Mark mark) {
  if (text == "--" || mark == Mark::kNone) return text;
  return (mark == Mark::kBold ? "\\textbf{" : "\\underline{") + text + "}";
}

class Table {
 public:
  Table(const Report& report, const Group& group) : report_(report), group_(group) {
    for (const char* name : {"ppl", "kl", "top1_agreement", "decode_tokens_per_s", "model_mib", "quantise_s"}) {
      if (report.find_metric(name) != nullptr) metrics_.push_back(report.find_metric(name));
    }
  }

  std::string build() {
    out_ = "\\begin{table}\n\\centering\n\\small\n";
    out_ += fmt::format(
        "\\caption{{{}: {}. Bits per weight are audited over the quantised linears (codes, codebooks, scales, "
        "zero points), nominal bits count codes alone. Bold: best of its budget and all that cannot be told "
        "from it (paired over windows, 95\\,\\% over each budget); underlined: the next.}}\n",
        latex_text(group_.title()), latex_text("perplexity by " + group_.convention + ", " + group_.hardware));
    out_ += fmt::format("\\label{{tab:{}}}\n\\begin{{tabular}}{{l", group_.id);
    out_ += std::string(metrics_.size() + 2, 'r') + "}\n\\toprule\nMethod & Bits & Nominal";
    for (const MetricInfo* info : metrics_) {
      out_ += " & " + latex_text(info->title) +
              (info->name == "kl" || info->name == "ppl"
                   ? (info->direction == results::Direction::kMin ? " $\\downarrow$" : "")
                   : "");
    }
    out_ += " \\\\\n";
    std::string units = " & ";
    units += "bits & bits";
    for (const MetricInfo* info : metrics_) units += " & " + latex_text(info->unit);
    out_ += units + " \\\\\n";
    if (group_.baseline) {
      out_ += "\\midrule\n";
      row(group_.entries[*group_.baseline], Mark::kNone, "");
    }
    for (const Budget& budget : group_.budgets) {
      out_ += "\\midrule\n";
      out_ +=
          fmt::format("\\multicolumn{{{}}}{{l}}{{\\emph{{{}}}}} \\\\\n", metrics_.size() + 3, latex_text(budget.title));
      bool underlined = false;
      for (const Standing& standing : budget.standings) {
        Mark mark = Mark::kNone;
        if (standing.verdict == Verdict::kBest || standing.verdict == Verdict::kTie) mark = Mark::kBold;
        if (standing.verdict == Verdict::kWorse && !underlined) {
          mark = Mark::kUnderlined;
          underlined = true;
        }
        row(group_.entries[standing.entry], mark, budget.metric);
      }
    }
    out_ += "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
    return std::move(out_);
  }

 private:
  void row(const Entry& entry, Mark mark, const std::string& ranked_by) {
    out_ += latex_text(entry.title);
    out_ += " & " + number(metric::kBitsPerWeight, entry.value(metric::kBitsPerWeight));
    out_ += " & " + number("nominal_bits", entry.nominal_bits);
    for (const MetricInfo* info : metrics_) {
      const bool empty = entry.baseline && info->name == metric::kQuantiseS;
      const std::string text = empty ? "--" : number(info->name, entry.value(info->name));
      out_ += " & " + marked(text, info->name == ranked_by ? mark : Mark::kNone);
    }
    out_ += " \\\\\n";
  }

  const Report& report_;
  const Group& group_;
  std::vector<const MetricInfo*> metrics_;
  std::string out_;
};

}  // namespace

std::string latex_text(std::string_view text) {
  const std::string valid = utf8_replace_invalid(text);
  std::string out;
  for (size_t at = 0; at < valid.size();) {
    const CodePoint point = utf8_decode(valid, at);
    const char32_t c = point.value;
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      case '|':
        out += "\\textbar{}";
        break;
      case '"':
        out += "\\textquotedbl{}";
        break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        out += '\\';
        out += static_cast<char>(c);
        break;
      case 0x2264:
        out += "$\\leq$";
        break;
      case 0x2265:
        out += "$\\geq$";
        break;
      case 0x2212:
        out += "$-$";
        break;
      case 0x00D7:
        out += "$\\times$";
        break;
      case 0x00B7:
        out += "$\\cdot$";
        break;
      case 0x2013:
        out += "--";
        break;
      default:
        if (c >= 0x20 && c < 0x7F) {
          out += static_cast<char>(c);
        } else if (c >= 0xC0 && c <= 0x17E && c != 0xD7 && c != 0xF7) {
          out += valid.substr(at, point.size_bytes);  // Latin letters: inputenc knows them
        } else {
          out += c == '\n' || c == '\t' ? " " : "?";
        }
    }
    at += point.size_bytes;
  }
  return out;
}

std::string latex_table(const Report& report) {
  std::string out = "% Written by " + latex_text(report.data->writer) +
                    ". \\usepackage[T1]{fontenc} and \\usepackage{booktabs} go into the preamble.\n";
  for (const Group& group : report.groups) out += Table(report, group).build() + "\n";
  return out;
}

}  // namespace aqlm_exp::analysis
