// Colours: Okabe and Ito's palette, which people with any common colour blindness tell apart. Yellow is left out (1.3:1
// on white); black turns light on dark pages.
#include <fmt/format.h>

#include "analysis/plot/canvas.h"

namespace aqlm_exp::plot {
namespace {

constexpr const char* kLight =
    "--bg:#fff;--fg:#1b1f24;--muted:#57606a;--grid:#e4e7eb;--axis:#6e7781;--dom:#767c84;--halo:#fff;"
    "--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#cc79a7;--s4:#e69f00;--s5:#56b4e9;--s6:#1b1f24";
constexpr const char* kDark =
    "--bg:#14171c;--fg:#e8eaed;--muted:#a4adb8;--grid:#2b3038;--axis:#8b949e;--dom:#8f96a0;--halo:#14171c;"
    "--s0:#4aa3e0;--s1:#f0803c;--s2:#2fc199;--s3:#e09ac1;--s4:#f0b429;--s5:#8bcdf5;--s6:#e8eaed";

constexpr const char* kClasses = R"(
svg.plot{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:12.5px}
.plot text{fill:var(--fg);stroke:none}
.plot .tm{fill:var(--muted)}
.plot .th{font-weight:600}
.plot .tl{font-size:11.5px;paint-order:stroke;stroke:var(--halo);stroke-width:3px;stroke-linejoin:round}
.plot .tg{fill:var(--muted);font-size:11.5px;paint-order:stroke;stroke:var(--halo);stroke-width:3px;stroke-linejoin:round}
.plot .grid{stroke:var(--grid);stroke-width:1}
.plot .axis{stroke:var(--axis);stroke-width:1}
.plot .base{stroke:var(--fg);stroke-width:1.2;stroke-dasharray:6 4}
.plot .zero{stroke:var(--fg);stroke-width:1}
.plot .front{fill:none;stroke:var(--fg);stroke-width:1.4;stroke-opacity:.55}
.plot .lead{stroke:var(--muted);stroke-width:.7}
.plot .frame{fill:none;stroke:var(--axis);stroke-width:1}
.plot .cell{stroke:none;shape-rendering:crispEdges}
.plot .none{fill:none;stroke:var(--grid);stroke-width:1}
.plot .m{stroke:var(--bg);stroke-width:1}
.plot .ln{fill:none;stroke-width:1.6}
.plot .w{stroke-width:1.3}
.plot .dom{fill:var(--bg);stroke:var(--dom);stroke-width:1.3}
.plot .w.dom{stroke-opacity:.6}
.plot .s0{fill:var(--s0)}.plot .s1{fill:var(--s1)}.plot .s2{fill:var(--s2)}.plot .s3{fill:var(--s3)}
.plot .s4{fill:var(--s4)}.plot .s5{fill:var(--s5)}.plot .s6{fill:var(--s6)}
.plot .ln.s0,.plot .w.s0{fill:none;stroke:var(--s0)}.plot .ln.s1,.plot .w.s1{fill:none;stroke:var(--s1)}
.plot .ln.s2,.plot .w.s2{fill:none;stroke:var(--s2)}.plot .ln.s3,.plot .w.s3{fill:none;stroke:var(--s3)}
.plot .ln.s4,.plot .w.s4{fill:none;stroke:var(--s4)}.plot .ln.s5,.plot .w.s5{fill:none;stroke:var(--s5)}
.plot .ln.s6,.plot .w.s6{fill:none;stroke:var(--s6)}
.plot .hot{stroke:var(--fg);stroke-width:2.5}
.plot .off{opacity:.12}
)";

}  // namespace

std::string style() {
  return fmt::format(
      ":root{{{0}}}\n@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{1}}}}}\n"
      ":root[data-theme=dark]{{{1}}}\n@media print{{:root,:root[data-theme=dark]{{{0}}}}}{2}",
      kLight, kDark, kClasses);
}

std::string svg_document(const Figure& figure) {
  // The element as inlined, with a title, the style sheet and a background put behind its start tag.
  const size_t end = figure.svg.find('>');
  if (end == std::string::npos) return figure.svg;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}>\n<title>{}</title>\n<style>\n{}</style>\n"
      "<rect fill=\"var(--bg)\" width=\"{}\" height=\"{}\"/>{}",
      figure.svg.substr(0, end), escape_markup(figure.title), escape_markup(style()), coordinate(figure.width),
      coordinate(figure.height), figure.svg.substr(end + 1));
}

}  // namespace aqlm_exp::plot
