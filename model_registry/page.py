"""A self-contained HTML page: it loads nothing, runs nothing, and is as readable on a phone as on paper.

A page is built of elements. Text is escaped where it enters one, `Html` is markup and stays as it is, so a value of
the data cannot become markup by being forgotten. The output is well-formed XML too, and tests hold it to that.
"""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_registry.evidence import Interval

INK = "#22313f"
ACCENT = "#1f6f8b"
PALETTE = (ACCENT, "#c97b4a", "#8a8f98", "#7b6ca8")
"""The colours of pages and figures. Ink turns light where the reader's screen is dark; the others stand on both."""

NOTHING = "n/a"
MOST_DECIMALS = 4
GROUPED = 1000
"""From here on whole numbers are enough."""

SMALL_SHARE = 0.1

_COLOURS = f"""
:root {{ color-scheme: light dark; --paper: #fdfdfc; --ink: {INK}; --soft: #5b6774; --line: #dfe3e7; --wash: #f2f4f5;
  --accent: {ACCENT}; --bad: #a3342c; --fine: #2c6e49; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #161b20; --ink: #dde3e8; --soft: #9aa6b2; --line: #323b44;
  --wash: #1f262d; --accent: #5fb3cf; --bad: #ef8d82; --fine: #7cc79a; }} }}
@media print {{ :root {{ --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #f4f4f4;
  --accent: {ACCENT}; --bad: #a3342c; --fine: #2c6e49; }} }}
"""

_STYLE = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .8rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .5rem; }
section { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
p, li, figcaption { max-width: 44rem; }
p, ul { margin: 0 0 .9rem; }
ul { padding-left: 1.2rem; }
li { margin-bottom: .35rem; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
code { font: .87em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 2rem 0 0; font-size: .9rem; }
.soft, figcaption { color: var(--soft); }
p.soft, figcaption { font-size: .9rem; }
.pass { color: var(--fine); }
.fail { color: var(--bad); font-weight: 600; }
.steps { display: flex; gap: .4rem; list-style: none; padding: 0; margin: 1.6rem 0 1rem; max-width: 30rem; }
.steps li { flex: 1; margin: 0; padding: .35rem .2rem; text-align: center; border-radius: .4rem;
  background: var(--wash); color: var(--soft); }
.steps li[aria-current] { color: var(--ink); font-weight: 600; outline: 2px solid var(--accent); }
dl { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.4rem 0 0; }
dl div { display: flex; flex-direction: column; justify-content: space-between; flex: 1 1 11rem;
  background: var(--wash); border-radius: .5rem; padding: .9rem 1rem; }
dt { color: var(--soft); font-size: .85rem; line-height: 1.4; }
dd { margin: .2rem 0 0; font-size: 1.5rem; line-height: 1.3; }
.table { overflow-x: auto; margin: 0 0 1.2rem; }
table { border-collapse: collapse; min-width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1.2rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 11rem; }
tbody th code { white-space: nowrap; }
tbody th[scope=rowgroup] { font-weight: 600; padding-top: 1.2rem; }
.limits { display: block; white-space: nowrap; color: var(--soft); font-size: .9em; }
td:has(.bar) { width: 55%; }
.bar { display: inline-block; height: .65rem; min-width: 1px; background: var(--accent); border-radius: .15rem; }
figure { margin: 1.6rem 0; }
figure svg { display: block; max-width: 100%; height: auto; }
figure svg text { fill: currentColor; }
figcaption { margin-top: .4rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  .steps { gap: .25rem; font-size: .85rem; }
  figure { overflow-x: auto; }
  figure svg { max-width: none; width: 40rem; }
}
@media print {
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  section { margin-top: 1.6rem; padding-top: 1rem; }
  figure, tr, dl div { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .table { overflow: visible; }
}
"""

_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What no document may hold, be it escaped."""

_OWN_ID = re.compile(r'(\bid="|url\(#|href="#)')


class Html(str):
    """Markup. Any other text is escaped where it enters an element."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Html:
    """`<name …>content</name>`. An attribute's `_` stands for `-`, and one at its end for nothing: `class_`."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"' for key, value in attributes.items() if value
    )
    return Html(f"<{name}{told}>{joined(*content)}</{name}>")


def joined(*content: str) -> Html:
    """Pieces beside each other."""
    return Html("".join(piece if isinstance(piece, Html) else _escaped(piece) for piece in content))


def page(title: str, *content: str) -> str:
    """The whole document; `content` begins with the heading."""
    head = joined(
        Html('<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'),
        element("title", title),
        element("style", Html(_COLOURS + _STYLE)),
    )
    body = element("body", element("main", *content))
    return f"<!doctype html>\n{element('html', element('head', head), body, lang='en')}\n"


def heading(title: str) -> Html:
    """The page's one first-level heading."""
    return element("h1", title)


def section(title: str, *content: str) -> Html:
    """A part of the page under a heading; nothing where it has no content."""
    return element("section", element("h2", title), *content, id=_place(title)) if any(content) else Html()


def sections(parts: Mapping[str, str]) -> Html:
    """The parts that have content, under a list of links to them."""
    there = {title: content for title, content in parts.items() if content}
    if not there:
        return Html()
    links = [element("a", title, href=f"#{_place(title)}") for title in there]
    return joined(element("nav", *links, aria_label="On this page"), *(section(*part) for part in there.items()))


def subsection(title: str, *content: str) -> Html:
    """A part of a section; nothing where it has no content."""
    return joined(element("h3", title), *content) if any(content) else Html()


def paragraph(*content: str, soft: bool = False) -> Html:
    """Nothing where it has no content; `soft` is for what may be passed over."""
    return element("p", *content, class_="soft" if soft else "") if any(content) else Html()


def code(text: str) -> Html:
    """A name as it stands in files and calls."""
    return element("code", text)


def strong(*content: str) -> Html:
    return element("strong", *content)


def bullets(items: Iterable[str]) -> Html:
    """A list; nothing where there is no item."""
    entries = [element("li", item) for item in items]
    return element("ul", *entries) if entries else Html()


def term(text: str) -> Html:
    """A name with its explanation, as in `lift: over chance`: the explanation steps back."""
    name, colon, explanation = text.partition(":")
    return joined(name, element("span", colon, explanation, class_="soft")) if colon else joined(name)


def verdict(text: str, *, passed: bool) -> Html:
    """A word in the colour of its meaning."""
    return element("span", text, class_="pass" if passed else "fail")


def table(label: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table that scrolls by itself where it is too wide; nothing where there is no row.

    `label` says to those who do not see it what it is. The first cell of a row names it.
    """
    return grouped_table(label, header, {"": rows})


def grouped_table(label: str, header: Sequence[str], groups: Mapping[str, Iterable[Sequence[str]]]) -> Html:
    """Like `table`, in groups of rows under their names; a group without a name has no line of its own."""
    bodies = [_table_body(name, list(rows), len(header)) for name, rows in groups.items()]
    if not any(bodies):
        return Html()
    head = element("thead", element("tr", *(element("th", cell, scope="col") for cell in header)))
    # A region that scrolls must be reachable by keyboard.
    return element(
        "div", element("table", head, *bodies), class_="table", role="region", aria_label=label, tabindex="0"
    )


def tiles(facts: Mapping[str, str]) -> Html:
    """The few figures to remember, each over its name; nothing where there is none."""
    entries = [element("div", element("dt", name), element("dd", figure)) for name, figure in facts.items()]
    return element("dl", *entries) if entries else Html()


def figure(svg: str, caption: str, name: str) -> Html:
    """A drawing with its caption. `name` tells it from the page's other figures: ids are of the whole page."""
    own = _OWN_ID.sub(rf"\g<1>{name}-", svg).replace(INK, "currentColor")
    named = own.replace("<svg", f'<svg role="img" aria-label="{_escaped(caption)}"', 1)
    return element("figure", Html(named), element("figcaption", caption))


def bar(share: float) -> Html:
    """A bar of this share (0 to 1) of its cell."""
    return element("span", class_="bar", style=f"width:{100 * share:.1f}%")


def number(value: float, decimals: int | None = None) -> str:
    """A number with thousands separators and, unless told, as many decimals as its size makes readable."""
    if math.isnan(value):
        return NOTHING
    if decimals is None:
        decimals = 0 if abs(value) >= GROUPED or float(value).is_integer() else 3 if abs(value) < 1 else 2
    return f"{value:z,.{decimals}f}"


def estimate(shown: Interval) -> str:
    """The estimate alone, as fine as its interval lets it be known."""
    return number(shown.estimate, fineness(shown.high - shown.low))


def interval(shown: Interval) -> str:
    """An estimate with its interval, as fine as the interval lets it be known."""
    decimals = fineness(shown.high - shown.low)
    return f"{estimate(shown)} [{number(shown.low, decimals)}, {number(shown.high, decimals)}]"


def stacked(shown: Interval) -> Html:
    """`interval` for the cell of a table: the estimate, and below it its interval."""
    limits = interval(shown).partition(" ")[2]
    return joined(estimate(shown), " ", element("span", limits, class_="limits"))


def span(low: float, high: float) -> str:
    """A range; whole numbers stay whole."""
    decimals = 0 if float(low).is_integer() and float(high).is_integer() else fineness(high - low)
    return f"{number(low, decimals)} to {number(high, decimals)}"


def limit(value: float) -> str:
    """A number that somebody chose, as round as it was chosen."""
    return number(value, MOST_DECIMALS).rstrip("0").rstrip(".")


def fineness(width: float) -> int:
    """Decimals that show two digits of an interval's width: more would be noise."""
    decimals = 0
    while decimals < MOST_DECIMALS and width * 10**decimals < 10:  # noqa: PLR2004 - two digits
        decimals += 1
    return decimals


def percent(share: float) -> str:
    """A share in percent, with a decimal where it is small."""
    decimals = 0 if abs(share) >= SMALL_SHARE or not share else 1
    return f"{100 * share:.{decimals}f}\u00a0%"


def _escaped(text: str) -> str:
    return escape(_UNSAYABLE.sub("\ufffd", text))


def _place(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _table_body(name: str, rows: Sequence[Sequence[str]], columns: int) -> Html:
    if not rows:
        return Html()
    title = element("tr", element("th", name, scope="rowgroup", colspan=str(columns))) if name else Html()
    return element("tbody", title, *map(_table_row, rows))


def _table_row(cells: Sequence[str]) -> Html:
    first, *others = cells
    return element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in others))
