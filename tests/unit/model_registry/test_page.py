"""The page's frame: what enters as text leaves as text, and figures are as fine as they are known."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.evidence import Interval
from model_registry.page import (
    INK,
    Html,
    bar,
    bullets,
    code,
    element,
    estimate,
    figure,
    grouped_table,
    heading,
    interval,
    joined,
    limit,
    number,
    page,
    paragraph,
    percent,
    section,
    sections,
    span,
    stacked,
    subsection,
    table,
    term,
    tiles,
    verdict,
)
from tests.support.pages import flaws, parsed, words

NASTY = "<script>alert(\"x\")</script> & 'y'"
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><defs><path id="m"/></defs>'
    f'<use xlink:href="#m" style="stroke: {INK}; fill: #c97b4a"/><g clip-path="url(#m)"/></svg>'
)


def test_a_page_of_everything_is_sound() -> None:
    whole = page(
        NASTY,
        heading(NASTY),
        sections(
            {
                "One & all": joined(
                    paragraph(NASTY, code(NASTY), soft=True),
                    tiles({NASTY: NASTY}),
                    subsection(NASTY, bullets([NASTY, code(NASTY)])),
                    grouped_table(NASTY, [NASTY, NASTY], {NASTY: [[NASTY, bar(0.5)]], "": [[NASTY, NASTY]]}),
                ),
                "Two": joined(
                    figure(DRAWING, NASTY, "first"), figure(DRAWING, NASTY, "second"), verdict(NASTY, passed=False)
                ),
                "Empty": "",
            }
        ),
    )
    assert flaws(whole) == []
    assert "<script" not in whole
    root = parsed(whole)
    assert NASTY in words(root)
    assert [link.text for link in root.iter("a")] == ["One & all", "Two"]


@given(st.text())
def test_any_text_comes_through_as_text(text: str) -> None:
    written = ET.fromstring(element("p", text, title=f"x{text}"))
    sayable = "".join(character for character in text if character.isprintable())
    read = "".join(character for character in written.text or "" if character.isprintable() and character != "\ufffd")
    assert read == sayable.replace("\ufffd", "")
    assert (written.get("title") or "").startswith("x")
    assert len(written) == 0


def test_markup_stays_and_what_is_made_of_it_by_hand_does_not() -> None:
    assert joined(code("a"), "<b>") == "<code>a</code>&lt;b&gt;"
    assert joined(f"{code('a')}") == "&lt;code&gt;a&lt;/code&gt;"
    assert element("p", Html("<b>x</b>"), class_="soft", aria_label="y", title="") == (
        '<p class="soft" aria-label="y"><b>x</b></p>'
    )


def test_what_is_empty_leaves_nothing_behind() -> None:
    empty = [section("x", ""), subsection("x", ""), bullets([]), table("x", ["y"], []), tiles({}), sections({"x": ""})]
    assert empty == [""] * 6


def test_two_drawings_share_no_id_and_follow_the_reader_s_ink() -> None:
    first, second = (figure(DRAWING, "It goes up.", name) for name in ("one", "two"))
    assert 'id="one-m"' in first
    assert 'href="#one-m"' in first
    assert "url(#two-m)" in second
    assert "stroke: currentColor; fill: #c97b4a" in first
    assert 'role="img" aria-label="It goes up."' in first


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0001, "0.000"),
        (0.12345678, "0.123"),
        (7.0, "7"),
        (12.3456, "12.35"),
        (1234.5678, "1,235"),
        (-1234567.0, "-1,234,567"),
        (float("nan"), "n/a"),
    ],
)
def test_numbers_carry_no_noise(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ((0.8491889, 0.8273963, 0.8686438), "0.849 [0.827, 0.869]"),
        ((0.0017, -0.0026, 0.0063), "0.0017 [-0.0026, 0.0063]"),
        ((3.4551495, 3.0262471, 3.9414497), "3.46 [3.03, 3.94]"),
        ((12345.678, 11888.1, 12902.9), "12,346 [11,888, 12,903]"),
        ((0.0, 0.0, 0.0), "0.0000 [0.0000, 0.0000]"),
    ],
)
def test_an_interval_is_as_fine_as_it_lets_its_estimate_be_known(
    figures: tuple[float, float, float], text: str
) -> None:
    shown = Interval(*figures)
    assert interval(shown) == text
    assert estimate(shown) == text.partition(" ")[0]
    assert " ".join(ET.fromstring(f"<p>{stacked(shown)}</p>").itertext()).replace("  ", " ") == text


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_an_interval_with_a_width_has_two_ends_that_differ(low: float, width: float) -> None:
    told = interval(Interval(low + width / 2, low, low + width))
    ends = told.partition("[")[2].rstrip("]").split(", ")
    assert ends[0] != ends[1]


def test_shares_limits_ranges_and_terms() -> None:
    shares = [percent(share).replace("\u00a0", " ") for share in (0.0, 0.0712, 0.3456, 1.0)]
    assert shares == ["0 %", "7.1 %", "35 %", "100 %"]
    assert [limit(value) for value in (0.0, -0.01, 0.85, 1000.0)] == ["0", "-0.01", "0.85", "1,000"]
    assert [span(0.0, 90.0), span(0.0003, 90.2), span(0.1234, 0.5678)] == ["0 to 90", "0 to 90", "0.12 to 0.57"]
    assert term("lift: over chance") == 'lift<span class="soft">: over chance</span>'
    assert term("lift") == "lift"
