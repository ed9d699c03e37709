"""Lifetime value from a shop's orders to a bundle: what is asked, what is refused, who is scored, what is served."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.project import Project, load_project
from model_registry.bundle import Bundle, read_bundle
from model_registry.columns import Columns
from model_registry.registry import CHAMPION
from model_registry.schema import Output, PopulationRule, Status
from model_registry.servable import Servable
from services.cltv.servicer import Answers
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.shop import DAYS, FIRST, open_shop
from training.cltv.pipeline import LABEL, OUTPUTS, PIPELINE, CltvPipeline, tiers
from training.cltv.regressor import GRID, INTERVAL_LEVEL, tune
from training.core.errors import NotEligibleError
from training.core.job import TrainingResult, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.core.dataset import Dataset

AS_OF = (FIRST + dt.timedelta(days=DAYS)).date()


class KeepingPipeline(CltvPipeline):
    """Keeps the dataset that it hands to the job."""

    data: Dataset

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        self.data = super().dataset(project, as_of)
        return self.data


@dataclass(frozen=True)
class Trained:
    """Two trainings of a shop, the first of them champion during the second."""

    first: TrainingResult
    second: TrainingResult
    bundle: Bundle
    data: Dataset
    card: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("shop")
    project = load_project(open_shop(folder))
    tracker = FolderTracker(folder / "runs")
    registry = FakeRegistry(tracker)
    pipeline = KeepingPipeline()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.cltv.pipeline.tune", partial(tune, grid=GRID[:1]))
        first = train(pipeline, project, registry, tracker, as_of=AS_OF)
        registry.point("cltv", CHAMPION, first.version.version)
        second = train(pipeline, project, registry, tracker, as_of=AS_OF)
    bundle = read_bundle(registry.download_bundle(second.version, folder / "download"))
    card = (tracker.root / second.version.run_id / "model_card.html").read_text()
    return Trained(first, second, bundle, pipeline.data, card)


def test_a_bundle_is_what_the_service_answers_with(trained: Trained) -> None:
    outputs = trained.bundle.manifest.schema.outputs
    assert tuple(output.name for output in outputs) == OUTPUTS
    assert {output.unit for output in outputs} == {"EUR"}
    assert [band.name for band in outputs[0].bands] == ["LOW", "MEDIUM", "HIGH", "TOP"]
    assert trained.bundle.manifest.constants == {"interval_level": INTERVAL_LEVEL}
    answers = Answers(trained.bundle.manifest)
    assert answers.head["horizon_days"] == trained.data.horizon_days == 180


def test_scores_are_in_order_and_so_are_their_tiers(trained: Trained) -> None:
    scores = Servable(trained.bundle).score(trained.data.test.columns)
    expected, lower, upper = (scores.values[name] for name in OUTPUTS)
    assert ((lower >= 0) & (lower <= expected) & (expected <= upper)).all()
    tier = scores.bands[OUTPUTS[0]]
    assert set(tier.tolist()) == {0, 1, 2, 3}
    assert (np.diff(tier[np.argsort(expected)]) >= 0).all()


def test_the_graph_is_certified_and_percentiles_are_those_of_the_test_part(trained: Trained) -> None:
    assert trained.second.evidence.parity.largest < 3e-6
    scores = Servable(trained.bundle).score(trained.data.test.columns)
    assert scores.percentiles[OUTPUTS[0]].mean() == pytest.approx(50.0, abs=1.0)


def test_who_has_never_ordered_is_not_scored(trained: Trained) -> None:
    schema = trained.bundle.manifest.schema
    assert schema.population == (PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0),)
    place = [feature.name for feature in schema.numeric].index("frequency")
    numeric = trained.data.test.columns.numeric[:2].copy()
    numeric[0, place] = 0.0
    scores = Servable(trained.bundle).score(Columns(numeric, trained.data.test.columns.categorical[:2]))
    assert scores.statuses.tolist() == [Status.INSUFFICIENT_HISTORY, Status.OK]
    assert np.isnan(scores.values[OUTPUTS[0]][0])


def test_it_is_compared_with_the_rules_and_then_with_the_champion(trained: Trained) -> None:
    assert trained.first.champion is None
    assert [one.other for one in trained.second.baselines] == ["spend rate", "MBG/NBD"]
    assert trained.second.champion is not None
    assert trained.second.champion.metric == "gini"
    assert (trained.second.champion.difference.low, trained.second.champion.difference.high) == (0.0, 0.0)


def test_the_card_tells_figures_requirements_and_limits(trained: Trained) -> None:
    for told in ("Gini", "Coverage", "MBG/NBD", "spend rate", "no lifetime", "Gains"):
        assert told in trained.card


def test_the_same_data_give_the_same_scores(trained: Trained) -> None:
    assert trained.first.metrics == trained.second.metrics
    assert trained.first.parameters == trained.second.parameters


def one_order_each(orders: pa.Table) -> pa.Table:
    _, firsts = np.unique(orders["who"].to_pylist(), return_index=True)
    return orders.take(np.sort(firsts))


def worth_nothing(orders: pa.Table) -> pa.Table:
    return orders.set_column(orders.schema.get_field_index("amount"), "amount", pa.array([0.0] * len(orders)))


@pytest.mark.parametrize(
    ("shop", "as_of", "told"),
    [
        pytest.param({"change": worth_nothing}, AS_OF, "0 customers who paid something.*amount", id="worth nothing"),
        pytest.param(
            {"change": one_order_each, "customers": 1400}, None, "customers with two orders", id="nobody returns"
        ),
        pytest.param({"customers": 300}, AS_OF, "customers, and needs 500", id="too few"),
        pytest.param({}, FIRST.date() + dt.timedelta(days=120), "covers 120 days, and 180", id="too short"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_figures(
    tmp_path: Path, shop: dict[str, Any], as_of: dt.date | None, told: str
) -> None:
    project = load_project(open_shop(tmp_path, **shop))
    with pytest.raises(NotEligibleError, match=told):
        PIPELINE.dataset(project, as_of)


def with_horizon(folder: Path, days: int, change: Callable[[pa.Table], pa.Table] = lambda orders: orders) -> Project:
    file = open_shop(folder, change=change)
    file.write_text(f"{file.read_text()}\n[cltv]\nhorizon_days = {days}\n")
    return load_project(file)


def test_a_history_of_two_horizons_splits_customers(tmp_path: Path) -> None:
    data = PIPELINE.dataset(with_horizon(tmp_path, 270), AS_OF)
    assert data.across_customers
    assert data.horizon_days == 270
    assert not set(data.train.customer_ids) & set(data.test.customer_ids)
    assert len(data.test) == pytest.approx((len(data.train) + len(data.test)) / 4, abs=1)


def test_where_everybody_goes_on_buying_customers_are_split_all_the_same(tmp_path: Path) -> None:
    def with_a_late_order(orders: pa.Table) -> pa.Table:
        who = sorted(set(orders["who"].to_pylist()))
        late = [FIRST + dt.timedelta(days=DAYS - 1)] * len(who)
        extra = pa.table({"who": who, "paid_at": late, "amount": [9.99] * len(who), "department": ["tea"] * len(who)})
        return pa.concat_tables([orders, extra.cast(orders.schema)])

    data = PIPELINE.dataset(with_horizon(tmp_path, 270, with_a_late_order), AS_OF)
    assert (data.train.labels[LABEL] > 0).all()
    assert data.across_customers


VALUES = arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 1e30))


@given(VALUES)
def test_tiers_ascend_whatever_customers_are_worth(values: np.ndarray) -> None:
    bands = tiers(values)
    Output("expected_value", "EUR", bands)
    assert [band.name for band in bands] == ["LOW", "MEDIUM", "HIGH", "TOP"]
    assert all(band.threshold == float(np.float32(band.threshold)) for band in bands)


def test_tiers_are_shares_of_customers_who_were_held_out() -> None:
    assert [band.threshold for band in tiers(np.arange(101.0))] == [0.0, 50.0, 80.0, 95.0]
