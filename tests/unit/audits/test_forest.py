"""The drawing: figures at their places, whatever they are."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from audits.forest import LEFT, RIGHT, Row, Scale, deviations, rates
from audits.statistics import Tolerance
from model_registry.evidence import Interval

FOUR_FIFTHS = Tolerance(0.8, 1.0, 1.25, ratio=True)
ROWS = {"age": [Row("18-24", Interval(1.1, 0.9, 1.3)), Row("65+", Interval(0.5, 0.4, 0.6), bad=True)]}
SVG = "{http://www.w3.org/2000/svg}"


def test_a_ratio_and_one_over_it_lie_as_far_from_one() -> None:
    scale = Scale(0.5, 2.0, ratio=True)
    assert scale.at(1.0) - scale.at(0.8) == pytest.approx(scale.at(1.25) - scale.at(1.0))
    assert (scale.at(0.5), scale.at(2.0)) == (LEFT, RIGHT)


def test_what_lies_beyond_the_scale_lies_at_its_edge() -> None:
    scale = Scale(-0.2, 0.2, ratio=False)
    assert (scale.at(-5.0), scale.at(math.inf)) == (LEFT, RIGHT)
    assert Scale(0.1, 10.0, ratio=True).at(0.0) == LEFT


def test_every_row_is_a_line_a_dot_and_its_figure() -> None:
    drawn = ET.fromstring(deviations(ROWS, FOUR_FIFTHS))
    assert len(drawn.findall(f"{SVG}circle")) == 2
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"age", "18-24", "65+", "1.10 [0.90, 1.30]"} <= set(texts)
    assert sum("--bad" in str(dot.get("style")) for dot in drawn.iter(f"{SVG}circle")) == 1


def test_the_tolerated_band_is_shaded_from_limit_to_limit() -> None:
    drawn = ET.fromstring(deviations(ROWS, FOUR_FIFTHS))
    (band,) = drawn.findall(f"{SVG}rect")
    scale = Scale(0.4, 1.3, ratio=True)
    assert float(band.attrib["x"]) == pytest.approx(scale.at(0.8), abs=0.1)
    assert float(band.attrib["width"]) == pytest.approx(scale.at(1.25) - scale.at(0.8), abs=0.2)


def test_ratios_without_an_end_are_drawn_to_the_edge() -> None:
    drawn = deviations({"": [Row("x", Interval(3.0, 0.0, math.inf))]}, FOUR_FIFTHS)
    ET.fromstring(drawn)
    assert "nan" not in drawn


def test_rates_lie_beside_everybodys() -> None:
    drawn = ET.fromstring(rates({"age": [Row("65+", Interval(0.1, 0.05, 0.2))]}, 0.25))
    told = [" ".join(str(text.text).split()) for text in drawn.iter(f"{SVG}text")]
    assert "10 % [5.0 %, 20 %]" in told
    dashed = [line for line in drawn.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert float(dashed[0].attrib["x1"]) == pytest.approx(RIGHT)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (-0.35, 0.42), (0.0, 1.0), (0.0, 0.03)])
def test_there_are_a_handful_of_ticks(low: float, high: float) -> None:
    assert 1 <= len(Scale(low, high, ratio=False).ticks) <= 7
