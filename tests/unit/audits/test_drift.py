"""Drift: how often an audit errs, and what a report tells of a table whose truth is known."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from audits.drift import (
    MINIMUM_CELL,
    RARE,
    REFUSED,
    DriftReport,
    Movement,
    Verdict,
    audit_drift,
)
from audits.errors import AuditError
from audits.population import grouped
from model_registry.bundle import TrainingWindow
from model_registry.columns import Columns
from model_registry.distributions import distribution_of_numbers
from model_registry.schema import Band, Feature, Output
from model_registry.servable import Servable
from tests.support.bundles import SCHEMA, make_bundle
from tests.support.drift import frozen_model, people, table_of, with_schema

if TYPE_CHECKING:
    from pathlib import Path

AS_OF = dt.date(2017, 12, 31)
TESTED = people(2000, seed=0)
MODEL = frozen_model(TESTED)


def audit(columns: Columns, model: Servable = MODEL, as_of: dt.date = AS_OF, **more: object) -> DriftReport:
    return audit_drift(model, "3", table_of(columns), as_of, **more)  # type: ignore[arg-type]  # what a test adds


def moved(report: DriftReport) -> list[str]:
    return [one.name for one in (*report.drifted_outputs, *report.drifted_inputs)]


def of(report: DriftReport, name: str) -> Movement:
    return next(one for one in (*report.inputs, *report.outputs) if one.name == name)


class TestErrorRates:
    """Of samples of one world, and of worlds that differ."""

    def test_later_customers_of_the_same_world_are_stable(self) -> None:
        verdicts = [audit(people(1500, seed)).verdict for seed in range(1, 21)]
        assert verdicts == [Verdict.STABLE] * 20

    @pytest.mark.parametrize("size", [500, 2000])
    def test_a_shift_of_half_a_standard_deviation_is_found(self, size: int) -> None:
        for seed in range(1, 11):
            columns = people(size, seed)
            columns.numeric[:, 0] = np.minimum(columns.numeric[:, 0] + 10.0, 90.0)
            assert "recency_days" in moved(audit(columns))


class TestReport:
    def test_the_customers_that_froze_the_bins_have_not_moved(self) -> None:
        report = audit(TESTED)
        assert {one.psi for one in (*report.inputs, *report.outputs)} == {0.0}
        assert report.verdict is Verdict.STABLE
        assert (report.customers, report.scored, report.tested_on) == (2000, 2000, 2000)

    def test_a_value_that_no_longer_comes_has_moved(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[::3, 1] = np.nan
        frequency = of(audit(columns), "frequency")
        assert frequency.drifted
        assert frequency.missing.now == pytest.approx(0.4, abs=0.03)
        assert frequency.missing.then == pytest.approx(0.1, abs=0.02)

    def test_a_category_that_training_never_saw_is_told(self) -> None:
        columns = people(1500, seed=1)
        columns.categorical[::10] = "kiosk"
        channel = of(audit(columns), "channel")
        assert channel.drifted
        assert channel.outside == pytest.approx(0.1)
        assert {one.name: round(one.now, 3) for one in channel.bins}[RARE] == 0.1

    def test_values_beyond_the_range_are_told(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[:150, 1] = 1e6
        assert of(audit(columns), "frequency").outside == pytest.approx(0.1)

    def test_only_who_is_scored_is_compared(self) -> None:
        # Half of the table is inactive: another world, and none of the model's.
        columns = people(2000, seed=1)
        columns.numeric[::2, 0] = 400.0
        report = audit(columns)
        assert report.statuses == {"OK": 1000, "INACTIVE": 1000}
        assert report.verdict is Verdict.STABLE

    def test_whom_a_server_would_refuse_is_counted(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[:3, 0] = np.nan
        columns.numeric[3, 1] = np.inf
        assert audit(columns).statuses == {"OK": 1496, REFUSED: 4}

    def test_who_gave_no_consent_is_not_looked_at(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[:5] = np.nan
        table = table_of(columns).append_column("consent", pa.array([None, *[False] * 4, *[True] * 1495]))
        report = audit_drift(MODEL, "3", table, AS_OF)
        assert report.statuses == {"OK": 1495, "NO_CONSENT": 5}

    def test_too_few_customers_are_no_evidence(self) -> None:
        columns = people(300, seed=1)
        report = audit(columns)
        assert report.verdict is Verdict.INSUFFICIENT
        assert not report.is_sufficient
        few = frozen_model(people(250, seed=0))
        assert audit(people(5000, seed=1), few).verdict is Verdict.INSUFFICIENT

    def test_what_rises_with_time_is_shown_and_no_news(self) -> None:
        recency, *others = MODEL.schema.features
        aging = with_schema(replace(MODEL.schema, features=(replace(recency, maximum=None), *others)))
        columns = people(1500, seed=1)
        columns.numeric[:, 0] = np.minimum(columns.numeric[:, 0] + 30.0, 90.0)
        told = of(audit(columns, aging), "recency_days")
        assert told.psi > told.limit
        assert (told.ages, told.drifted) == (True, False)

    def test_bins_that_are_bands_have_their_names(self) -> None:
        bands = tuple(Band(name, at) for name, at in (("LOW", 0.0), ("MEDIUM", 0.25), ("HIGH", 0.5)))
        spread = distribution_of_numbers(np.linspace(0, 1, 100, dtype=np.float32), [0.25, 0.5])
        output = Output("churn_probability", "", bands, distribution=spread)
        named = with_schema(replace(MODEL.schema, outputs=(output,)))
        assert [one.name for one in audit(people(1500, seed=1), named).outputs[0].bins] == ["LOW", "MEDIUM", "HIGH"]

    def test_rare_categories_are_counted_together(self) -> None:
        names = tuple(f"k{number}" for number in range(300))
        columns = Columns(TESTED.numeric, np.array([[names[row % 300]] for row in range(2000)], object))
        wide = replace(SCHEMA, features=(*SCHEMA.features[:2], Feature("channel", "categorical", vocabulary=names)))
        channel = of(audit(columns, frozen_model(columns, schema=wide)), "channel")
        assert [one.name for one in channel.bins] == [RARE]
        assert (channel.bins[0].then, channel.bins[0].now) == pytest.approx((1.0, 1.0))

    def test_a_bundle_without_frozen_bins_says_what_to_do(self, tmp_path: Path) -> None:
        older = Servable(make_bundle(tmp_path / "bundle"))
        with pytest.raises(AuditError, match=r"version 3 of churn .* run 'regulars train churn'"):
            audit(people(10, seed=1), older)

    def test_a_table_of_nobody_says_so(self) -> None:
        columns = people(10, seed=1)
        columns.numeric[:, 0] = 400.0
        with pytest.raises(AuditError, match="no customer of the table is scored"):
            audit(columns)

    def test_it_is_written_for_machines(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[:, 0] = 5.0
        data = json.loads(json.dumps(audit(columns).to_json(), allow_nan=False))
        assert (data["audit"], data["verdict"], data["model"], data["as_of"]) == (
            "drift",
            "DRIFTED",
            "churn",
            "2017-12-31",
        )
        assert {one["name"]: one["drifted"] for one in data["inputs"]}["recency_days"] is True
        assert "c00001" not in json.dumps(data), "no customer is named"


class TestAge:
    @pytest.mark.parametrize(("as_of", "stale"), [("2017-12-01", False), ("2018-01-29", False), ("2018-01-30", True)])
    def test_a_model_is_stale_after_two_horizons_of_answers(self, as_of: str, stale: bool) -> None:
        age = audit(TESTED, as_of=dt.date.fromisoformat(as_of)).age
        assert age.learnt_until == "2017-12-01"
        assert age.stale is stale

    def test_without_a_time_axis_nothing_is_said(self) -> None:
        undated = frozen_model(TESTED, TrainingWindow())
        age = audit(TESTED, undated).age
        assert (age.learnt_until, age.days, age.stale) == (None, None, False)
        assert age.trained_at == "2018-01-01T00:00:00Z"


class TestGroups:
    def test_a_source_that_fails_for_one_group_shows_there(self) -> None:
        columns = people(1500, seed=1)
        columns.numeric[::2, 1] = np.nan
        gender = grouped("gender", pa.array(["f", "m"] * 750))
        female, male = audit(columns, partitions=[gender]).groups
        assert (female.group, female.customers, female.scored) == ("f", 750, 1.0)
        assert female.missing is not None
        assert male.missing is not None
        assert female.missing > male.missing + 0.2

    def test_small_groups_are_not_shown(self) -> None:
        kinds = ["few"] * (MINIMUM_CELL - 1) + ["many"] * (1500 - MINIMUM_CELL + 1)
        few, many = audit(people(1500, seed=1), partitions=[grouped("kind", pa.array(kinds))]).groups
        assert (few.group, few.customers, few.psi, few.scored) == ("few", None, None, None)
        assert many.customers == 1500 - MINIMUM_CELL + 1

    def test_who_is_not_known_is_a_group(self) -> None:
        kinds = pa.array([None, "m"] * 750)
        names = [one.group for one in audit(people(1500, seed=1), partitions=[grouped("gender", kinds)]).groups]
        assert names == ["m", "unknown"]
