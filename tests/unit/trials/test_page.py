from __future__ import annotations

import pytest

from tests.trials.harness import at_least, at_most, told
from tests.trials.page import refresh, section, table

RESULTS = [
    told("requests", 1000),
    at_most("p99", 12.5, 10, "ms", "as busy as it gets"),
    at_most("until it comes back", float("inf"), 5, "s"),
]


def test_a_section_says_what_was_measured_and_what_was_reached() -> None:
    assert section(RESULTS, "how").splitlines() == [
        "how",
        "",
        "| figure | value | bar | reached | note |",
        "|---|---|---|---|---|",
        "| requests | 1,000 |  |  |  |",
        "| p99 | 12.5 ms | <= 10 | **no** | as busy as it gets |",
        "| until it comes back | never | <= 5 | **no** |  |",
    ]
    assert table("memory", RESULTS, 3.0).count("MISS") == 2


def test_what_could_not_be_measured_reaches_no_bar() -> None:
    assert not at_most("p99", float("nan"), 1).passed
    assert not at_least("p99", float("nan"), 1).passed


def test_a_section_takes_the_place_of_the_one_before() -> None:
    page = "before\n<!-- kills -->\nold\n<!-- /kills -->\nafter\n"
    once = refresh(page, "kills", "new")
    assert once == "before\n<!-- kills -->\n\nnew\n\n<!-- /kills -->\nafter\n"
    assert refresh(once, "kills", "new") == once


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="kills"):
        refresh("before <!-- /kills --> <!-- kills -->", "kills", "new")
