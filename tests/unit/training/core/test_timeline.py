"""The drawing of the dates: no training label reaches past the test snapshot, on paper as in the data."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tests.support.cards import churn, cltv, clustering
from tests.support.learning import DATES
from tests.support.pages import SVG
from training.core.timeline import WIDTH, Span, drawing, spans

DAYS = st.dates(dt.date(1990, 1, 1), dt.date(2060, 1, 1))


def test_the_snapshots_of_a_dataset_are_its_lines() -> None:
    lines = spans(churn().dataset)
    assert [(line.name, line.snapshot.isoformat()) for line in lines] == [
        *(("training", date) for date in DATES[:-1]),
        ("test", DATES[-1]),
    ]
    assert all(line.close <= lines[-1].snapshot for line in lines[:-1])


def test_customers_split_within_a_snapshot_share_its_days() -> None:
    first, second = spans(cltv().dataset)
    assert (first.name, second.name) == ("training", "test")
    assert (first.snapshot, first.close) == (second.snapshot, second.close)


def test_without_a_time_axis_there_is_nothing_to_draw() -> None:
    assert spans(clustering().dataset) == ()


@given(st.lists(DAYS, min_size=1, max_size=5), st.integers(0, 365))
def test_everything_lies_on_the_paper(days: list[dt.date], horizon: int) -> None:
    lines = tuple(Span("training", day, dt.timedelta(days=horizon), "#000") for day in days)
    root = ET.fromstring(drawing(lines))
    height = float(root.attrib["viewBox"].split()[3])
    bars = list(root.iter(f"{SVG}rect"))
    assert len(bars) == len(days)
    for bar in bars:
        left, width = float(bar.attrib["x"]), float(bar.attrib["width"])
        assert left >= 0
        assert 0 <= width <= WIDTH - left
        assert 0 <= float(bar.attrib["y"]) < height
    labels = [one.text for one in root.iter(f"{SVG}text") if one.get("text-anchor") == "middle"]
    assert len(labels) <= 9
