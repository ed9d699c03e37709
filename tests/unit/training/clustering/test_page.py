"""The persona page, as its readers see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.pages import flaws, parsed, words
from tests.support.segments import GROUPS, HORIZON, dataset
from training.clustering.centroids import fit_centroids
from training.clustering.fifths import Fifths
from training.clustering.model import SegmentModel
from training.clustering.names import PERSONAS
from training.clustering.page import personas_page
from training.clustering.portraits import Gallery, last_snapshot, portray
from training.clustering.space import Space

DATA = dataset(each=60)
BEFORE, AFTER = DATA.train.at(last_snapshot(DATA.train)), DATA.test
SPACE = Space.of(DATA.train.columns.numeric, HORIZON)
CENTROIDS = fit_centroids(SPACE.coordinates(DATA.train.columns.numeric), len(GROUPS), starts=5, seed=1)
MODEL = SegmentModel(SPACE, CENTROIDS, (7, 2, 9, 4), Fifths.of(BEFORE.columns.numeric))
GALLERY = portray(MODEL, PERSONAS[:4], BEFORE, AFTER)


def shown(gallery: Gallery, story: tuple[str, ...] = (), currency: str = "EUR") -> str:
    page = personas_page(gallery, story, horizon_days=HORIZON, currency=currency)
    assert flaws(page) == []
    return words(parsed(page))


def test_every_segment_has_its_name_its_number_and_what_to_do() -> None:
    text = shown(GALLERY)
    for number, persona, portrait in zip(GALLERY.ids, GALLERY.personas, GALLERY.portraits, strict=True):
        assert f"{persona.name} ({number})" in text
        assert persona.who in text
        assert persona.advice in text
        assert f"{portrait.customers:,}" in text
    assert "Spent so far, EUR" in text


def test_what_changed_is_told_and_escaped() -> None:
    assert "What changed" not in shown(GALLERY)
    assert "Segment 5 <old> has ended." in shown(GALLERY, ("Segment 5 <old> has ended.",))


def test_a_currency_that_nobody_named_is_not_made_up() -> None:
    assert "Spent so far," not in shown(GALLERY, currency="")


@pytest.mark.parametrize("place", [0, 3])
def test_a_segment_that_nobody_is_in_has_its_place_all_the_same(place: int) -> None:
    numeric = AFTER.columns.numeric.copy()
    inside = MODEL.segments(numeric) == place
    numeric[inside] = numeric[np.flatnonzero(~inside)[0]]
    emptied = replace(AFTER, columns=replace(AFTER.columns, numeric=numeric))
    text = shown(portray(MODEL, PERSONAS[:4], BEFORE, emptied))
    assert "nan" not in text.lower().replace("finance", "")
    assert "n/a" in text


def test_debts_and_gifts_are_not_compared_by_multiples() -> None:
    numeric = AFTER.columns.numeric.copy()
    numeric[:, 2] = -5.0
    owed = replace(AFTER, columns=replace(AFTER.columns, numeric=numeric))
    assert "times as much" not in shown(portray(MODEL, PERSONAS[:4], BEFORE, owed))
