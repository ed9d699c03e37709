from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from regulars.scoring.v1.scoring_pb2 import ModelVersion
from services.churn.servicer import SERVICE
from services.core.comparison import Comparer, Comparison
from services.core.metrics import DIFFERENCE_BUCKETS
from services.core.shadow_metrics import MOST_VERSIONS, ShadowMetrics, _observe
from tests.support.metrics import Series, increase, page, series

if TYPE_CHECKING:
    from collections.abc import Callable

_models = itertools.count()


@pytest.fixture
def model() -> str:
    """A name of its own, so that a test sees its own series alone."""
    return f"shadowed {next(_models)}"


def metrics_of(model: str) -> ShadowMetrics:
    return ShadowMetrics(model, Comparer(SERVICE))


def counted(model: str, count: Callable[[], object]) -> dict[Series, float]:
    before = page(model=model)
    count()
    return increase(before, page(model=model))


def test_everything_stands_on_the_page_from_the_start(model: str) -> None:
    metrics_of(model)
    shown = page(model=model)
    assert set(shown.values()) == {0.0}
    calls = [dict(labels) for name, labels in shown if name == "regulars_shadow_calls_total"]
    assert {(call["grpc_method"], call["outcome"], call["grpc_code"]) for call in calls} >= {
        (method, outcome, code)
        for method in ("PredictChurn", "BatchPredictChurn")
        for outcome, code in (
            *(("compared", "OK"), ("incomparable", "OK"), ("dropped", "")),
            *(("failed", code) for code in ("Unavailable", "DeadlineExceeded", "InvalidArgument", "Unimplemented")),
        )
    }
    assert len(calls) == 2 * (3 + len(grpc.StatusCode) - 1)
    for field in ("status", "churn_probability", "percentile", "risk_band"):
        assert series("regulars_shadow_disagreements_total", field=field) in shown
    for field in ("churn_probability", "percentile"):
        assert series("regulars_shadow_difference_count", field=field) in shown
    assert series("regulars_shadow_difference_count", field="risk_band") not in shown


def test_a_comparison_is_counted(model: str) -> None:
    metrics = metrics_of(model)
    own, other = np.array([True, True, True, False, False]), np.array([True, True, False, True, False])
    comparison = Comparison(
        own, other, {"status": 2, "risk_band": 1}, {"churn_probability": np.array([0.0, 0.02]), "percentile": own[:0]}
    )
    assert counted(model, lambda: metrics.count(comparison)) == {
        series("regulars_shadow_customers_total", scored_by="both"): 2,
        series("regulars_shadow_customers_total", scored_by="own"): 1,
        series("regulars_shadow_customers_total", scored_by="shadow"): 1,
        series("regulars_shadow_customers_total", scored_by="neither"): 1,
        series("regulars_shadow_disagreements_total", field="status"): 2,
        series("regulars_shadow_disagreements_total", field="risk_band"): 1,
        series("regulars_shadow_difference_count", field="churn_probability"): 2,
        series("regulars_shadow_difference_sum", field="churn_probability"): 0.02,
        **{
            series("regulars_shadow_difference_bucket", field="churn_probability", le=le): 1 + (float(le) >= 0.02)
            for le in (*(str(bucket) for bucket in DIFFERENCE_BUCKETS), "+Inf")
        },
    }


def test_calls_are_counted_by_their_outcome(model: str) -> None:
    metrics = metrics_of(model)

    def count() -> None:
        metrics.count_call("PredictChurn", "compared", grpc.StatusCode.OK)
        metrics.count_call("PredictChurn", "dropped")
        metrics.count_call("BatchPredictChurn", "failed", grpc.StatusCode.DEADLINE_EXCEEDED)

    def calls(method: str, outcome: str, code: str) -> Series:
        return series("regulars_shadow_calls_total", grpc_method=method, outcome=outcome, grpc_code=code)

    assert counted(model, count) == {
        calls("PredictChurn", "compared", "OK"): 1,
        calls("PredictChurn", "dropped", ""): 1,
        calls("BatchPredictChurn", "failed", "DeadlineExceeded"): 1,
    }


def shown_versions(model: str) -> dict[tuple[str, str], float]:
    infos = [(dict(labels), value) for (name, labels), value in page(model=model).items() if name.endswith("_info")]
    return {(labels["version"], labels["digest"]): value for labels, value in infos}


def test_the_version_that_answers_takes_the_place_of_the_one_before(model: str) -> None:
    metrics = metrics_of(model)
    metrics.show(ModelVersion(version="7", bundle_digest="a" * 64))
    assert shown_versions(model) == {("7", "a" * 12): 1}
    metrics.show(ModelVersion(version="8", bundle_digest="b" * 64))
    metrics.show(ModelVersion(version="8", bundle_digest="b" * 64))
    assert shown_versions(model) == {("8", "b" * 12): 1}


def test_a_shadow_that_makes_versions_up_makes_no_series_without_end(model: str) -> None:
    metrics = metrics_of(model)
    for version in range(MOST_VERSIONS + 10):
        metrics.show(ModelVersion(version=str(version)))
    assert shown_versions(model) == {}
    assert len(metrics._known) == MOST_VERSIONS
    metrics.show(ModelVersion(version="0"))
    assert shown_versions(model) == {("0", ""): 1}


@given(st.lists(st.one_of(st.sampled_from(DIFFERENCE_BUCKETS), st.floats(0, 2)), max_size=50))
def test_observing_many_is_observing_each(values: list[float]) -> None:
    registry = CollectorRegistry()
    together, alone = (Histogram(name, "-", buckets=DIFFERENCE_BUCKETS, registry=registry) for name in ("a", "b"))
    _observe(together, np.array(values))
    for value in values:
        alone.observe(value)
    samples = [[(s.name[1:], s.labels, s.value) for s in one.collect()[0].samples] for one in (together, alone)]  # type: ignore[index]  # a list, says the library's code
    assert [sample[:2] for sample in samples[0]] == [sample[:2] for sample in samples[1]]
    assert [sample[2] for sample in samples[0]] == pytest.approx([sample[2] for sample in samples[1]])
