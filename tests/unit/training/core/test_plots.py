"""Figures can be drawn of any ranking, and show what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from training.core.drawing import to_svg
from training.core.evaluate import Bootstrap
from training.core.plots import calibration, deciles, discrimination, lift

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def world(customers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a third are ones, and probabilities that know something of them, with ties."""
    random = np.random.default_rng(seed)
    labels = (random.random(customers) < 1 / 3).astype(np.float64)
    labels[:2] = 0.0, 1.0
    return labels, np.round((labels + random.random(customers)) / 2, 2)


def heights(axes: Axes) -> np.ndarray:
    return np.array([bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)])


@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("customers", [100, 538, 900, 1470])
def test_tenths_in_which_nobody_or_everybody_left_can_be_drawn(customers: int, outcome: float) -> None:
    assert calibration(np.full(customers, outcome), np.linspace(0, 1, customers)).axes


def test_the_lift_by_tenth_is_the_frequency_beside_the_average() -> None:
    labels, scores = world(1000)
    bars, curve = lift(labels, {"model": scores, "never": np.full(1000, np.inf)}).axes
    multiples, frequencies = heights(bars), heights(deciles(labels, scores).axes[0])
    assert multiples == pytest.approx(frequencies / labels.mean())
    assert multiples.mean() == pytest.approx(1.0)
    model, never, _ = curve.get_lines()
    assert np.asarray(model.get_ydata())[-1] == pytest.approx(1.0)
    assert np.asarray(never.get_ydata()) == pytest.approx([1.0])


@given(st.integers(0, 200), st.integers(20, 200))
def test_the_gains_at_the_top_tenth_are_the_share_that_is_reported(seed: int, customers: int) -> None:
    labels, scores = world(customers, seed)
    gains = deciles(labels, scores).axes[1].get_lines()[0]
    drawn = np.interp(0.1, np.asarray(gains.get_xdata()), np.asarray(gains.get_ydata()))
    assert drawn == pytest.approx(Bootstrap(labels, resamples=2).ranking(scores)["top_decile_share"].estimate)


def test_infinite_scores_are_ranked_like_any_other() -> None:
    labels, scores = world(100)
    far = np.where(scores > 0.9, np.inf, scores)
    roc = discrimination(labels, {"model": far}).axes[0].get_lines()[0]
    assert np.isfinite(np.asarray(roc.get_xydata())).all()


def test_a_drawing_is_the_same_every_time_and_leaves_the_settings_of_others_alone() -> None:
    labels, scores = world(100)
    before = dict(mpl.rcParams)
    first, second = (to_svg(lift(labels, {"model": scores})) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "<metadata" not in first
    assert dict(mpl.rcParams) == before
