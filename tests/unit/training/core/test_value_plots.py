"""Figures of amounts are drawn whatever the amounts."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from training.core.amounts import Foreseen
from training.core.drawing import to_svg
from training.core.value_plots import coverage, gains, levels

RANDOM = np.random.default_rng(0)
EXPECTED = RANDOM.gamma(0.5, 100.0, 300) + 0.01
SPENT = EXPECTED * RANDOM.gamma(1.0, 1.0, 300)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        pytest.param(SPENT, EXPECTED, id="ordinary"),
        pytest.param(np.where(np.arange(300) < 30, SPENT, 0.0), EXPECTED, id="nearly all nothing"),
        pytest.param(np.full(300, 9.99), np.full(300, 9.99), id="all the same"),
        pytest.param(SPENT[:35], EXPECTED[:35], id="few"),
    ],
)
def test_they_are_well_formed_and_the_same_every_time(amounts: np.ndarray, expected: np.ndarray) -> None:
    foreseen = Foreseen(expected, 0.1 * expected, 5.0 * expected)
    pages = []
    for _ in range(2):
        figures = (
            levels(amounts, expected, "USD"),
            gains(amounts, {"model": expected, "nobody knows": np.zeros(len(amounts))}),
            coverage(amounts, foreseen, 0.8, "USD"),
        )
        pages.append([to_svg(figure) for figure in figures])
    assert pages[0] == pages[1]
    for svg in pages[0]:
        assert ET.fromstring(svg).tag.endswith("svg")


def test_where_all_lie_within_there_is_still_an_axis() -> None:
    axes = coverage(SPENT, Foreseen(EXPECTED, np.zeros(300), np.full(300, 1e9)), 1.0, "USD").axes
    assert axes[0].get_ylim()[1] > 0
