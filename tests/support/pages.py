"""What holds for every page of the suite: well-formed, self-contained, and sound for those who listen to it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCTYPE = "<!doctype html>\n"
LOADING = {"script", "link", "iframe", "object", "embed", "img", "image", "base", "form"}
SVG = "{http://www.w3.org/2000/svg}"


def parsed(page: str) -> ET.Element:
    """The page's root; fails unless every element is closed and every value escaped."""
    assert page.startswith(DOCTYPE)
    return ET.fromstring(page.removeprefix(DOCTYPE))


def flaws(page: str) -> list[str]:
    """What is wrong with a page, in words; nothing where it is as it should be."""
    root = parsed(page)
    return [*_outward(page, root), *_broken_ids(root), *_headings(root), *_unnamed(root)]


def words(root: ET.Element) -> str:
    """All that a reader reads, with one space between words."""
    body = root.find("body")
    assert body is not None
    return " ".join(" ".join(body.itertext()).split())


def _outward(page: str, root: ET.Element) -> Iterator[str]:
    for one in root.iter():
        name = one.tag.rpartition("}")[2].lower()
        if name in LOADING:
            yield f"<{name}> loads or runs something"
        for key, value in one.attrib.items():
            if key.rpartition("}")[2] in {"href", "src"} and not value.startswith("#"):
                yield f"{key}={value} leads out of the page"
            if key.lower().startswith("on"):
                yield f"{key} runs something"
    if re.search(r"@import|url\((?!#)", page):
        yield "a style loads something"


def _broken_ids(root: ET.Element) -> Iterator[str]:
    ids = Counter(one.attrib["id"] for one in root.iter() if "id" in one.attrib)
    yield from (f"id {name} stands {count} times" for name, count in ids.items() if count > 1)
    for one in root.iter():
        for key, value in one.attrib.items():
            if key.rpartition("}")[2] == "href" and value.removeprefix("#") not in ids:
                yield f"{value} leads nowhere"


def _headings(root: ET.Element) -> Iterator[str]:
    levels = [int(one.tag[1]) for one in root.iter() if re.fullmatch("h[1-6]", one.tag)]
    if levels.count(1) != 1 or levels[0] != 1:
        yield "the page does not begin with its one first heading"
    yield from (f"h{low} is followed by h{high}" for low, high in pairwise(levels) if high > low + 1)


def _unnamed(root: ET.Element) -> Iterator[str]:
    for one in root.iter():
        if one.tag == "th" and ("scope" not in one.attrib or not "".join(one.itertext()).strip()):
            yield "a header cell without scope or words"
        if one.tag == "figure":
            drawn = one.find(f"{SVG}svg")
            if drawn is None or drawn.get("role") != "img" or not drawn.get("aria-label"):
                yield "a drawing without a name"
        if one.tag == "tr" and not any(cell.tag == "th" for cell in one):
            yield "a row without a header"
