from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from model_registry.bundle import read_bundle
from model_registry.release import bundle_folder
from model_registry.servable import SLICE_ROWS, Servable
from services.core.errors import CANCELLED, EXPIRED, Refusal
from services.core.pace import Pace
from services.core.scorer import Scorer
from services.core.stages import UNTIMED
from tests.support.bundles import random_columns, release_bundle
from tests.support.scores import bits

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from model_registry.columns import Columns, Scores
    from services.core.manager import ModelManager, Served

SLICES = 5
MANY = random_columns(SLICES * SLICE_ROWS, seed=4)


class SlowServable:
    """Scores as the bundle does, and lets time pass for its caller with each slice."""

    def __init__(self, servable: Servable, caller: Caller) -> None:
        self._servable = servable
        self._caller = caller
        self.schema = servable.schema
        self.slices: list[int] = []

    def score_slice(self, columns: Columns) -> Scores:
        self.slices.append(len(columns))
        self._caller.slices_left -= 1
        return self._servable.score_slice(columns)


class Caller:
    """The part of a call's context that scoring looks at: who calls goes after so many slices."""

    def __init__(self, slices_left: int, remaining: float | None = None) -> None:
        self.slices_left = slices_left
        self.remaining = remaining

    def is_active(self) -> bool:
        return self.slices_left > 0

    def time_remaining(self) -> float | None:
        return self.remaining


@pytest.fixture
def servable(tmp_path: Path) -> Servable:
    release = release_bundle(tmp_path, "1")
    return Servable(read_bundle(bundle_folder(tmp_path, "churn", release.digest)))


def score(servable: Servable, caller: Caller, pace: Pace | None = None) -> tuple[SlowServable, Scores | Refusal]:
    slow = SlowServable(servable, caller)
    served = SimpleNamespace(servable=slow, pace=pace or Pace(), metrics=SimpleNamespace(count=lambda *_: None))
    scorer = Scorer(cast("ModelManager", None))
    try:
        answer: Any = scorer.score(cast("Served", served), MANY, cast("grpc.ServicerContext", caller), UNTIMED)
    except Refusal as refusal:
        answer = refusal
    return slow, answer


def test_in_slices_a_table_gets_the_bits_that_it_gets_at_once(servable: Servable) -> None:
    _, scores = score(servable, Caller(slices_left=1000))
    assert not isinstance(scores, Refusal)
    whole = servable.score(MANY)
    for name, values in whole.values.items():
        assert bits(scores.values[name]).tobytes() == bits(values).tobytes()


@pytest.mark.parametrize("slices", range(SLICES))
def test_it_stops_at_the_slice_after_the_caller_has_gone(servable: Servable, slices: int) -> None:
    slow, refusal = score(servable, Caller(slices_left=slices))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is CANCELLED
    assert len(slow.slices) == slices


def test_what_cannot_end_in_time_is_not_begun(servable: Servable) -> None:
    pace = Pace()
    pace.observe(1000, 1.0)
    slow, refusal = score(servable, Caller(slices_left=1000, remaining=len(MANY) / 1000 * 0.9), pace)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is EXPIRED
    assert slow.slices == []


def test_every_slice_tells_how_long_the_next_will_take(servable: Servable) -> None:
    pace = Pace()
    score(servable, Caller(slices_left=1000), pace)
    with pytest.raises(Refusal):
        pace.check(len(MANY), cast("grpc.ServicerContext", Caller(1, remaining=1e-9)))
