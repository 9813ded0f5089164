"""report.html in Chromium: complete without scripts, and sorting, filtering, columns, hovering, keyboard, themes, narrow and
printed views. browser_test.py REPORT [SCREENSHOT_FOLDER]. Exit code 77: no Chromium here."""
import os
import pathlib
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import webdriver  # noqa: E402

ENTER, TAB, RIGHT, ESCAPE = "\ue007", "\ue004", "\ue014", "\ue00c"
TABLE = "#g0-trials"
failures = []


def check(condition, claim, detail=""):
    print(("ok    " if condition else "FAIL  ") + claim + (f": {detail}" if detail != "" and not condition else ""))
    if not condition:
        failures.append(claim)


def column(browser, name):
    """The visible cells of one column, top to bottom."""
    return browser.js("""
        const table = document.querySelector(arguments[0]);
        const i = [...table.tHead.rows[0].cells].findIndex(c => c.dataset.c === arguments[1]);
        return [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[i].dataset.v || r.cells[i].textContent);""", TABLE, name)


def numbers(cells):
    return [float(c) for c in cells if re.fullmatch(r"[-+.\de]+", c)]


def sorting(browser):
    before = column(browser, "kl")
    browser.click(f"{TABLE} th[data-c=kl] button")
    up = column(browser, "kl")
    check(numbers(up) == sorted(numbers(before)) and up != before, "a click sorts by KL")
    check(browser.js("return document.querySelector(arguments[0]).getAttribute('aria-sort')", f"{TABLE} th[data-c=kl]") == "ascending",
          "aria-sort says so")
    check("sort=kl" in browser.url(), "the fragment holds the order", browser.url())
    browser.click(f"{TABLE} th[data-c=kl] button")
    check(numbers(column(browser, "kl")) == sorted(numbers(before), reverse=True), "a second click turns it around")
    browser.click(f"{TABLE} th[data-c=kl] button")
    check(column(browser, "kl") == before, "a third one restores the ranking")


def filtering(browser):
    total = len(column(browser, "kl"))
    browser.type("input[type=search]", "aqlm kl<0.3")
    rows = column(browser, "configuration")
    check(0 < len(rows) < total and all("AQLM" in r for r in rows), "words and comparisons filter", rows)
    check(all(v < 0.3 for v in numbers(column(browser, "kl"))), "only rows that meet the comparison stay")
    check(browser.js("return document.querySelector('.tools [role=status]').textContent") == f"{len(rows)} of {total}", "the count is shown")
    check(browser.js("return document.querySelectorAll('.m.off').length") > 0, "marks of hidden rows fade in the pictures")
    url = browser.url()
    browser.open("about:blank")
    browser.open(url)
    check(column(browser, "configuration") == rows, "the address alone restores the view", url)
    browser.click(".tools button.plain")
    check(len(column(browser, "kl")) == total, "reset brings all rows back")


def columns(browser):
    hidden = "return document.querySelector(arguments[0]).hidden"
    check(browser.js(hidden, f"{TABLE} th[data-c=ppl]") is False, "perplexity is shown by default")
    check(browser.js("return [...document.querySelectorAll(arguments[0])].every(h => h.hidden)", f"{TABLE} th[data-extra]"), "extras are not")
    browser.js("document.querySelector('.columns').parentNode.open = true")
    index = browser.js("return [...document.querySelectorAll(arguments[0])].findIndex(c => c.dataset.c === 'ppl')", f"{TABLE} th")
    browser.js("document.querySelectorAll('.columns input')[arguments[0]].click()", index)
    check(browser.js(hidden, f"{TABLE} th[data-c=ppl]") is True, "a column can be hidden")
    check("cols=" in browser.url(), "the fragment holds the columns")
    browser.click(".tools button.plain")
    check(browser.js(hidden, f"{TABLE} th[data-c=ppl]") is False, "reset shows it again")


def hovering(browser):
    mark = "#g0-kl-bits-per-weight .m[data-k]"
    browser.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", mark)
    browser.hover(mark)
    check(browser.js("return !document.getElementById('tip').hidden") is True, "hovering shows the numbers of a mark")
    check("KL" in browser.js("return document.getElementById('tip').textContent"), "the tip names KL")
    key = browser.js("return document.querySelector(arguments[0]).dataset.k", mark)
    check(browser.js("return document.querySelector(arguments[0]).classList.contains('hot')", f"{TABLE} tr[data-k={key}]"),
          "its row is highlighted too")


def keyboard(browser):
    browser.js("document.querySelector('#g0-kl-bits-per-weight svg').focus()")
    browser.keys([RIGHT, RIGHT])
    check(browser.js("return !document.getElementById('tip').hidden") is True, "arrow keys walk through the marks")
    check(browser.js("return document.querySelector('[aria-live]').textContent") != "", "and each is announced")
    browser.keys([ESCAPE])
    check(browser.js("return document.getElementById('tip').hidden") is True, "escape closes the tip")
    browser.js("document.querySelector(arguments[0]).focus()", f"{TABLE} th[data-c=ppl] button")
    browser.keys([ENTER])
    check("sort=ppl" in browser.url(), "enter sorts")
    browser.click(".tools button.plain")
    browser.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    wanted = browser.js("return [...document.querySelectorAll('a[href],button,input,summary,svg[tabindex]')]"
                        ".filter(e => e.checkVisibility()).length")
    for _ in range(wanted + 5):
        browser.keys([TAB])
        reached.add(browser.js("""const all = [...document.querySelectorAll('a[href],button,input,summary,svg[tabindex]')];
                                  return all.indexOf(document.activeElement);"""))
    reached.discard(-1)
    check(len(reached) == wanted, "tab reaches every control", f"{len(reached)} of {wanted}")


def contrast(browser, theme):
    """The smallest contrast of any visible text outside of pictures."""
    worst = browser.js(r"""
        const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
        const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
                           return .2126 * r + .7152 * g + .0722 * b; };
        const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                                if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
        let worst = [99, ''];
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
          const e = walk.currentNode.parentElement;
          if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || ['SCRIPT', 'STYLE'].includes(e.tagName)) continue;
          const style = getComputedStyle(e), svg = e.closest('svg');
          const front = lum(parse(svg ? style.fill : style.color)), back = lum(ground(svg ? svg.parentElement : e));
          const ratio = (Math.max(front, back) + .05) / (Math.min(front, back) + .05);
          if (ratio < worst[0]) worst = [ratio, e.textContent.slice(0, 40)];
        }
        return worst;""")
    check(worst[0] >= 4.5, f"every text has a contrast of 4.5 or more ({theme}: {worst[0]:.2f})", worst)


def labels(browser):
    """Texts inside pictures must not cover one another."""
    bad = browser.js(r"""
        const bad = [];
        for (const svg of document.querySelectorAll('svg.plot')) {
          const boxes = [...svg.querySelectorAll('text:not([transform])')].map(t => [t.getBoundingClientRect(), t.textContent]);
          for (let i = 0; i < boxes.length; ++i) for (let j = 0; j < i; ++j) {
            const a = boxes[i][0], b = boxes[j][0];
            const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (x > 2 && y > 0.35 * Math.min(a.height, b.height)) bad.push(svg.closest('figure').id + ': ' + boxes[i][1] + ' / ' + boxes[j][1]);
          }
        }
        return bad;""")
    check(bad == [], "no label covers another", bad[:5])


def structure(browser):
    check(browser.js("return document.documentElement.lang") == "en", "the language is set")
    levels = browser.js("return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    check(levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])), "headings are in order")
    unnamed = browser.js("return [...document.querySelectorAll('button,input,svg.plot')].filter(e => !(e.getAttribute('aria-label') || "
                         "e.textContent.trim() || e.labels && e.labels.length)).length")
    check(unnamed == 0, "every control and picture has a name", unnamed)
    figures = browser.js("return [...document.querySelectorAll('figure')].filter(f => !f.querySelector('details table tbody tr')).map(f => f.id)")
    check(figures == [], "every picture has its data table", figures)
    hostile = browser.js("return document.querySelectorAll('table b, article b').length")
    check(hostile == 0, "names from outside stay text", hostile)


def without_scripts(report, folder):
    browser = webdriver.Browser()
    try:
        browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
        browser.size(1280, 800)
        browser.open(report)
        tree = browser.cdp("DOMSnapshot.captureSnapshot", computedStyles=[])["strings"]
        text = "\n".join(part for part in tree if "function" not in part)  # without the source of the script itself
        check("Which method is best at each bit budget" in text and "AQLM 2x7 g8" in text, "complete without scripts")
        check("Reset" not in text, "no control that needs a script is shown without one")
    finally:
        browser.close()


def main():
    if webdriver.find_tools() is None:
        print("skipped: need chromium and chromedriver (Debian: chromium chromium-driver)")
        return 77
    report = pathlib.Path(sys.argv[1]).resolve().as_uri()
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    browser = webdriver.Browser()
    try:
        browser.size(1280, 800)
        browser.open(report)
        browser.requests()  # of the start page
        browser.open("about:blank")
        browser.open(report)
        first = browser.js("return document.querySelector('#answer .cards').getBoundingClientRect().top < innerHeight / 2 && "
                           "[...document.querySelectorAll('.card .who')].every(e => e.getBoundingClientRect().bottom < innerHeight)")
        check(first is True, "the first screen names the best of every budget")
        structure(browser)
        labels(browser)
        contrast(browser, "light")
        sorting(browser)
        filtering(browser)
        columns(browser)
        hovering(browser)
        keyboard(browser)
        browser.dark(True)
        check(browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)", "dark as the system asks")
        contrast(browser, "dark")
        if folder:
            browser.js("window.scrollTo(0, 0)")
            browser.screenshot(folder / "dark-1280.png")
        browser.click(".theme")
        check(browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "light by choice")
        check("theme=light" in browser.url(), "the fragment holds the theme")
        browser.dark(False)
        if folder:
            browser.js("window.scrollTo(0, 0)")
            browser.screenshot(folder / "light-1280.png")
            browser.screenshot(folder / "light-1280-whole.png", whole=True)
        browser.size(400, 800)
        check(browser.js("return document.documentElement.scrollWidth <= innerWidth") is True, "400 pixels: nothing sticks out sideways")
        labels(browser)
        if folder:
            browser.screenshot(folder / "light-400.png")
            browser.screenshot(folder / "light-400-whole.png", whole=True)
        pdf = browser.pdf()
        check(pdf[:5] == b"%PDF-" and len(pdf) > 10000, "prints")
        if folder:
            (folder / "report.pdf").write_bytes(pdf)
        console = browser.console()
        check(console == [], "no message on the console", console)
        outside = [u for u in browser.requests() if not u.startswith(("file:", "data:", "about:", "chrome:"))]
        check(outside == [], "no request to the network", outside)
    finally:
        browser.close()
    without_scripts(report, folder)
    print(f"{len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
