"""Names: the nearest character, none twice, kept while they are not untrue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.clustering.names import NEAR_ENOUGH, PERSONAS, freshness, personas

if TYPE_CHECKING:
    from collections.abc import Sequence

PROFILES = arrays(np.float64, st.tuples(st.integers(3, 8), st.just(3)), elements=st.floats(0.0, 5.0))
BY_NAME = {persona.name: persona for persona in PERSONAS}


def names(profiles: Sequence[Sequence[float]], former: dict[int, str] | None = None) -> list[str]:
    return [persona.name for persona in personas(np.array(profiles), former or {})]


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_typical_segment_has_its_name(name: str) -> None:
    assert names([BY_NAME[name].typical]) == [name]


@given(PROFILES, st.dictionaries(st.integers(0, 2), st.sampled_from(list(BY_NAME)), max_size=3))
def test_no_two_segments_have_one_name(profiles: np.ndarray, former: dict[int, str]) -> None:
    told = [persona.name for persona in personas(profiles, {place: name for name, place in _turned(former).items()})]
    assert len(set(told)) == len(profiles)


def test_a_name_stays_while_it_is_not_untrue() -> None:
    loyal, regular = (np.array(BY_NAME[name].typical) for name in ("Loyal", "Regulars"))
    between = tuple(0.4 * loyal + 0.6 * regular)
    assert names([between]) == ["Regulars"]
    assert names([between], {0: "Loyal"}) == ["Loyal"]


def test_a_name_that_has_become_untrue_is_lost() -> None:
    assert names([BY_NAME["Lapsed"].typical], {0: "Champions"}) == ["Lapsed"]


def test_a_kept_name_is_not_given_to_another() -> None:
    best = BY_NAME["Champions"].typical
    nearly = tuple(figure - 0.9 * NEAR_ENOUGH for figure in best)
    assert names([best, nearly], {1: "Champions"})[1] == "Champions"
    assert names([best, nearly], {1: "Champions"})[0] != "Champions"


def test_names_of_another_vocabulary_are_forgotten() -> None:
    assert names([BY_NAME["Loyal"].typical], {0: "Segment A"}) == ["Loyal"]


def test_freshness_falls_with_silence() -> None:
    assert freshness(np.array([-1.0, 0.0, 1.0, 4.0])).tolist() == [5.0, 5.0, 2.5, 1.0]


def test_every_persona_says_who_and_what_to_do() -> None:
    assert len(BY_NAME) == len(PERSONAS)
    assert all(persona.who.endswith(".") and persona.advice.endswith(".") for persona in PERSONAS)


def _turned(former: dict[int, str]) -> dict[str, int]:
    """A champion gives every name once."""
    return {name: place for place, name in former.items()}
