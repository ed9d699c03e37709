"""Scoring in this process, in several, and through servers is one scoring: the same files, to the byte."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from services.batch.engines import LocalEngine
from services.batch.scorers import SERVER_ROWS, ServerModel
from tests.support.bundles import SAMPLES, release_forest
from tests.support.scoring import (
    COUNT,
    awkward_customers,
    bundle_model,
    files_in,
    release_samples,
    scored,
    source_of,
)
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from services.batch.run import Summary
    from services.batch.scorers import BundleModel, Model

SMALLEST: dict[str, Any] = {"max_rows": 700, "max_message_bytes": 16_384}
"""Limits of a server that takes neither as many rows as the client would send, nor as many bytes as these."""

assert SMALLEST["max_rows"] < SERVER_ROWS


class Runs(NamedTuple):
    """The same customers scored in each way, by its name: the folder, and what the run came to."""

    folders: dict[str, Path]
    summaries: dict[str, Summary]


@pytest.fixture(scope="module", params=["forest", "all models"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("engines")
    source = source_of(awkward_customers(), folder / "customers.parquet")
    bundles = folder / "bundles"
    models = released(request.param, bundles)
    ways: dict[str, tuple[Sequence[Model], int]] = {"one process": (models, 1), "two processes": (models, 2)}
    made = Runs({}, {})
    with ExitStack() as servers:
        settings: dict[str, Any]
        for way, settings in (("servers", {}), ("small servers", SMALLEST)):
            ports = [
                (model.name, servers.enter_context(running(bundles, command=server_of(model.name), **settings)).port)
                for model in models
            ]
            ways[way] = [ServerModel.at(name, f"127.0.0.1:{port}") for name, port in ports], 2
        for way, (asked, processes) in ways.items():
            made.folders[way] = folder / way
            made.summaries[way] = scored(asked, source, LocalEngine(processes), folder / way)
    return made


def released(which: str, bundles: Path) -> list[BundleModel]:
    if which == "forest":
        return [bundle_model(bundles, "churn", release_forest(bundles, "1"))]
    return release_samples(bundles)


def test_every_engine_writes_the_same_files(runs: Runs) -> None:
    expected = files_in(runs.folders["one process"])
    assert set(expected) == {
        *(f"part-{number:05}.parquet" for number in range(3)),
        *(f"_rejected/part-{number:05}.parquet" for number in range(3)),
    }
    for way, folder in runs.folders.items():
        assert files_in(folder) == expected, way


def test_every_engine_comes_to_the_same_counts(runs: Runs) -> None:
    expected = runs.summaries["one process"]
    for way, summary in runs.summaries.items():
        assert (summary.identity, summary.rows, summary.rejected) == (expected.identity, COUNT, expected.rejected), way
        assert (summary.statuses, summary.bands, summary.bins) == (
            expected.statuses,
            expected.bands,
            expected.bins,
        ), way


COLUMNS = {
    "churn": {
        "churn_probability": "float",
        "churn_probability_percentile": "float",
        "churn_probability_band": "string",
    },
    "propensity": {
        "purchase_probability": "float",
        "purchase_probability_percentile": "float",
        "purchase_probability[GROCERY]": "float",
        "purchase_probability[DRUG GM]": "float",
        "purchase_probability[DELI]": "float",
        "response_probability": "float",
    },
    "cltv": {
        "expected_value": "float",
        "expected_value_percentile": "float",
        "expected_value_band": "string",
        "lower_bound": "float",
        "upper_bound": "float",
    },
    "clustering": {
        "cluster_id": "int32",
        "cluster_name": "string",
        "distance": "float",
        "unusual": "bool",
        "runner_up_id": "int32",
        "runner_up_distance": "float",
        "recency_score": "int32",
        "frequency_score": "int32",
        "monetary_score": "int32",
    },
}

OCCURRING: dict[str, set[object]] = {
    "churn_probability_band": {"LOW", "MEDIUM", "HIGH"},
    "expected_value_band": {"BRONZE", "SILVER", "GOLD"},
    "cluster_id": {3, 7, 300},
    "cluster_name": {"occasional", "regular", "devoted"},
    "unusual": {True, False},
    "recency_score": {1, 2, 3, 4, 5},
}


@pytest.fixture(scope="module")
def scores(runs: Runs) -> pa.Table:
    """As every reader of Parquet folders sees them."""
    return pq.read_table(runs.folders["one process"])


@pytest.mark.parametrize("runs", ["all models"], indirect=True)
class TestTheFiles:
    """What they hold, so that it could have differed."""

    def test_they_have_the_columns_of_every_model(self, scores: pa.Table) -> None:
        expected = {"customer_id": "string", "recency_days": "float", "frequency": "float", "channel": "string"}
        for model, columns in COLUMNS.items():
            expected |= {f"{model}_status": "string", **columns}
        assert {field.name: str(field.type) for field in scores.schema} == expected

    def test_everybody_with_an_id_stands_in_them_with_a_score_or_the_reason_for_none(self, scores: pa.Table) -> None:
        customers = awkward_customers().to_pylist()
        known = [customer for customer in customers if customer["customer_id"] is not None]
        assert scores.column("customer_id").to_pylist() == [customer["customer_id"] for customer in known]
        for model, columns in COLUMNS.items():
            statuses = scores.column(f"{model}_status").to_pylist()
            assert set(statuses) == {"OK", "INACTIVE", "INSUFFICIENT_HISTORY", "NO_CONSENT", "REFUSED"}
            assert [status == "NO_CONSENT" for status in statuses] == [not one["consent"] for one in known]
            ok = np.array([status == "OK" for status in statuses])
            for name in columns:
                np.testing.assert_array_equal(scores.column(name).is_valid().to_numpy(), ok, err_msg=name)

    def test_every_band_and_step_occurs_and_every_bin_is_counted(self, scores: pa.Table, runs: Runs) -> None:
        for name, values in OCCURRING.items():
            assert set(scores.column(name).drop_null().to_pylist()) == values
        bins = runs.summaries["servers"].bins
        assert bins.keys() == {output.name for sample in SAMPLES.values() for output in sample.schema.outputs} & set(
            scores.schema.names
        )
        assert all(sum(counts) == scores.column(name).drop_null().length() for name, counts in bins.items())

    @pytest.mark.parametrize("model", SAMPLES)
    def test_they_hold_what_the_graph_computes(self, scores: pa.Table, model: str) -> None:
        """By hand, for some of those who are scored."""
        ok = [score for score in scores.slice(0, 300).to_pylist() if score[f"{model}_status"] == "OK"]
        assert len(ok) > 50
        for score in ok:
            frequency = float("nan") if score["frequency"] is None else score["frequency"]
            expected = SAMPLES[model].by_hand((score["recency_days"], frequency, score["channel"] or ""))
            for name, value in expected.items():
                assert score[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
