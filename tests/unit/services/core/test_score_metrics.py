from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.schema import Status
from model_registry.servable import Servable
from services.core.score_metrics import NO_BAND, ScoreMetrics
from tests.support.bundles import SAMPLES, SCHEMA, columns, random_columns
from tests.support.metrics import Series, increase, page, series

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_registry.columns import Columns

_models = itertools.count()


class Counted:
    """A sample's metrics under a name of their own, and what they have counted."""

    def __init__(self, servable: Servable) -> None:
        self._model = f"counted {next(_models)}"
        self._servable = servable
        self._metrics = ScoreMetrics(self._model, servable.schema)

    def table(self, some: Columns) -> dict[Series, float]:
        return self._of(lambda: self._metrics.count(some, self._servable.score(some)))

    def one_by_one(self, some: Columns) -> dict[Series, float]:
        def count() -> None:
            for at in range(len(some)):
                one = some.slice(at, at + 1)
                self._metrics.count_one(one, self._servable.score_one(one))

        return self._of(count)

    def _of(self, count: Callable[[], object]) -> dict[Series, float]:
        before = self.series()
        count()
        return increase(before, self.series())

    def series(self) -> dict[Series, float]:
        return page(model=self._model)


@pytest.fixture(scope="module")
def servables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Servable]:
    folder = tmp_path_factory.mktemp("bundles")
    return {name: Servable(sample.make(folder / name)) for name, sample in SAMPLES.items()}


@pytest.fixture(scope="module")
def counting(servables: dict[str, Servable]) -> dict[str, Counted]:
    return {name: Counted(servable) for name, servable in servables.items()}


@given(st.integers(1, 30), st.integers(0, 1000), st.sampled_from(list(SAMPLES)))
def test_customers_count_the_same_one_by_one_and_in_a_table(
    counting: dict[str, Counted], rows: int, seed: int, model: str
) -> None:
    everybody = random_columns(rows, seed)
    # A good part of them spread over deciles and bands.
    everybody.numeric[:, 1] = (everybody.numeric[:, 1] - 30) / 8
    assert counting[model].one_by_one(everybody) == counting[model].table(everybody) != {}


def churn(servables: dict[str, Servable], *rows: tuple[float, float, str]) -> dict[Series, float]:
    return Counted(servables["churn"]).table(columns(*rows))


def test_a_table_is_counted_by_status_decile_band_and_what_it_lacks(servables: dict[str, Servable]) -> None:
    nan = float("nan")
    # Probabilities .50, .50, .018, .269, and nobody's: recency above 90 is inactive.
    rows = [(0.0, nan, ""), (0.0, nan, "kiosk"), (0.0, -4.0, ""), (0.0, -1.0, ""), (91.0, 60.0, "web")]
    output = {"output": "churn_probability"}
    assert churn(servables, *rows) == {
        series("regulars_rows_total", status="ok"): 4,
        series("regulars_rows_total", status="inactive"): 1,
        series("regulars_scores_total", decile="5", band="HIGH", **output): 2,
        series("regulars_scores_total", decile="1", band="LOW", **output): 1,
        series("regulars_scores_total", decile="3", band="MEDIUM", **output): 1,
        series("regulars_missing_total", feature="frequency"): 2,
        series("regulars_missing_total", feature="channel"): 3,
        series("regulars_warnings_total", feature="channel", kind="unseen_category"): 1,
        series("regulars_warnings_total", feature="frequency", kind="out_of_range"): 3,
        series("regulars_warnings_total", feature="recency_days", kind="out_of_range"): 1,
    }


def test_the_reference_base_itself_fills_every_decile_alike(servables: dict[str, Servable]) -> None:
    # The reference is even from 0 to 1: so are these.
    wanted = (np.arange(1000) + 0.5) / 1000
    margins = np.log(wanted / (1 - wanted))
    counts = churn(servables, *((0.0, float(margin), "") for margin in margins))
    deciles = dict.fromkeys(map(str, range(1, 11)), 0.0)
    for (name, labels), count in counts.items():
        if name == "regulars_scores_total":
            deciles[dict(labels)["decile"]] += count
    assert deciles == dict.fromkeys(deciles, 100)


def test_a_score_below_the_lowest_band_is_in_none(servables: dict[str, Servable]) -> None:
    # The lowest tier begins at -1,000.
    some = columns((10, -200, "web"))
    below = series("regulars_scores_total", output="expected_value", decile="1", band=NO_BAND)
    for count in (Counted(servables["cltv"]).table, Counted(servables["cltv"]).one_by_one):
        assert count(some)[below] == 1


def test_what_an_output_does_not_have_is_an_empty_label(servables: dict[str, Servable]) -> None:
    some = columns((10, 2, "web"))
    scores = {
        labels for name, labels in Counted(servables["propensity"]).table(some) if name == "regulars_scores_total"
    }
    # The other outputs have neither.
    assert scores == {frozenset({("output", "purchase_probability"), ("decile", "10"), ("band", "")})}
    by_output = {
        dict(labels)["output"]: (dict(labels)["decile"], dict(labels)["band"])
        for name, labels in Counted(servables["clustering"]).table(some)
        if name == "regulars_scores_total"
    }
    assert by_output == {"cluster_id": ("", "regular"), "distance": ("", "USUAL")}


@pytest.mark.parametrize("model", SAMPLES)
def test_usual_customers_add_no_series_to_those_that_stand_at_0_from_the_start(
    servables: dict[str, Servable], model: str
) -> None:
    counted = Counted(servables[model])
    start = counted.series()
    assert set(start.values()) == {0.0}
    everybody = random_columns(300)
    # Within the reference and the bands.
    everybody.numeric[:, 1] = (everybody.numeric[:, 1] - 30) / 8
    counted.table(everybody)
    assert counted.series().keys() == start.keys()


def test_labels_are_names_of_the_schema(servables: dict[str, Servable]) -> None:
    counted = Counted(servables["churn"])
    counted.table(random_columns(300))
    labels: dict[str, set[str]] = {}
    for _, pairs in counted.series():
        for label, value in pairs:
            labels.setdefault(label, set()).add(value)
    assert labels == {
        "status": {status.name.lower() for status in Status},
        "output": {"churn_probability"},
        "decile": {str(decile) for decile in range(1, 11)},
        "band": {"LOW", "MEDIUM", "HIGH"},
        "feature": {feature.name for feature in SCHEMA.features},
        "kind": {"out_of_range", "unseen_category"},
    }


def test_what_is_required_is_never_missing(servables: dict[str, Servable]) -> None:
    missing = {labels for name, labels in Counted(servables["churn"]).series() if name == "regulars_missing_total"}
    assert missing == {frozenset({("feature", "frequency")}), frozenset({("feature", "channel")})}
