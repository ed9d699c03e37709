"""The drift of a run's scores: the figures of a drift audit of the same customers."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from audits.drift import audit_drift
from model_registry.distributions import count_numbers
from model_registry.schema import Schema, Status
from services.batch.summary import drifts_of
from tests.support.bundles import SCHEMA
from tests.support.drift import frozen_model, people, table_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from services.batch.scorers import Scorer

SERVABLE = frozen_model(people(2000, seed=0))


@dataclass(frozen=True)
class Described:
    """A model of which nothing is asked but what it tells of itself."""

    schema: Schema
    name: str = "churn"
    version: str = "3"
    digest: str = "d" * 64

    def opened(self) -> AbstractContextManager[Scorer]:
        raise AssertionError("it was to be described, not opened")


@pytest.mark.parametrize("shift", [0.0, 30.0])
@pytest.mark.parametrize("rows", [200, 1500])
def test_a_run_says_of_scores_what_a_drift_audit_says(rows: int, shift: float) -> None:
    columns = people(rows, seed=1)
    columns.numeric[:, 0] = (columns.numeric[:, 0] + shift).clip(max=90.0)
    report = audit_drift(SERVABLE, "3", table_of(columns), dt.date(2017, 12, 31))
    (audited,) = report.outputs

    scores = SERVABLE.score(columns)
    (output,) = SERVABLE.schema.outputs
    assert output.distribution is not None
    counts = count_numbers(scores.values[output.name][scores.statuses == Status.OK], output.distribution.edges)
    (drift,) = drifts_of([Described(SERVABLE.schema)], {output.name: counts.tolist()})

    assert (drift.model, drift.output) == ("churn", audited.name)
    assert (drift.psi, drift.limit) == (audited.psi, audited.limit)
    assert drift.then == tuple(one.then for one in audited.bins)
    assert drift.now == pytest.approx([one.now for one in audited.bins])
    assert drift.is_sufficient == report.is_sufficient == (rows == 1500)
    assert drift.moved == (report.is_sufficient and audited.drifted) == (rows == 1500 and shift > 0)
    assert drift.to_json()["moved"] == drift.moved


def test_without_frozen_bins_or_scores_there_is_nothing_to_compare() -> None:
    (output,) = SERVABLE.schema.outputs
    assert drifts_of([Described(SCHEMA)], {output.name: [1, 2]}) == (), "an earlier release trained it"
    assert drifts_of([Described(SERVABLE.schema)], {}) == ()
    assert drifts_of([Described(SERVABLE.schema)], {output.name: [0] * 10}) == (), "nobody is scored"
