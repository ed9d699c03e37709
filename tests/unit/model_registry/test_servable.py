from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from model_registry import servable as servable_module
from model_registry.bundle import Bundle, BundleError, Golden
from model_registry.columns import Columns
from model_registry.ordering import CUTS, LEAST_ROWS
from model_registry.readings import ScoringError
from model_registry.schema import QUANTILES, Band, Output, PopulationRule, Schema, Status
from model_registry.servable import GOLDEN_TOLERANCE, SLICE_ROWS, Servable
from tests.support.bundles import (
    BREAKING,
    SCHEMA,
    SLOW_ABOVE,
    awkward_graph,
    columns,
    golden,
    graph,
    make_forest_bundle,
    manifest,
    probability,
    random_columns,
)
from tests.support.scores import assert_same_scores, bits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OUTPUT = "churn_probability"
NAN = float("nan")


def bundle_of(model: onnx.ModelProto, schema: Schema = SCHEMA, rows: Golden | None = None) -> Bundle:
    return Bundle(manifest(schema=schema), model.SerializeToString(), rows or golden(), "d" * 64)


def with_output(output: Output) -> Schema:
    return replace(SCHEMA, outputs=(output,))


@pytest.fixture(scope="module")
def servable() -> Servable:
    return Servable(bundle_of(graph()))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable(make_forest_bundle(tmp_path_factory.mktemp("forest") / "bundle"))


def test_scores_are_those_computed_by_hand(servable: Servable) -> None:
    rows = [(10.0, 1.0, "web"), (20.0, NAN, "shop"), (0.0, -2.0, ""), (90.0, 3.0, "kiosk")]
    scores = servable.score(columns(*rows))
    expected = [probability(*row) for row in rows]
    np.testing.assert_allclose(scores.values[OUTPUT], expected, rtol=1e-6)
    # The sigmoids of 2.1, -0.8, -2 and 3.9.
    np.testing.assert_allclose(scores.values[OUTPUT], [0.890903, 0.310026, 0.119203, 0.980160], atol=1e-6)
    assert scores.statuses.tolist() == [Status.OK] * 4


def test_who_is_outside_the_population_gets_a_status_and_no_score(servable: Servable) -> None:
    scores = servable.score(columns((91, 1, "web"), (-1, 1, "web"), (NAN, 1, "web"), (0, 1, "web"), (90, 1, "web")))
    assert scores.statuses.tolist() == [
        Status.INACTIVE,
        Status.INSUFFICIENT_HISTORY,
        Status.INACTIVE,  # a missing value breaks both rules, and the first decides
        Status.OK,
        Status.OK,
    ]
    assert np.isnan(scores.values[OUTPUT]).tolist() == [True, True, True, False, False]
    assert np.isnan(scores.percentiles[OUTPUT]).tolist() == [True, True, True, False, False]
    assert scores.bands[OUTPUT].tolist() == [-1, -1, -1, 2, 2]


def test_warnings_name_the_rows_that_training_never_saw(servable: Servable) -> None:
    scores = servable.score(columns((91, 51, "kiosk"), (0, NAN, ""), (90, 50, "web"), (NAN, 0.5, "Web")))
    assert [(warning.kind, warning.feature, warning.rows.tolist()) for warning in scores.warnings] == [
        ("out_of_range", "frequency", [0, 3]),
        ("out_of_range", "recency_days", [0]),
        ("unseen_category", "channel", [0, 3]),
    ]


def test_a_missing_value_is_no_warning(servable: Servable) -> None:
    assert servable.score(columns((10, NAN, ""))).warnings == ()


def given_as_frequency(values: list[float]) -> Columns:
    """With recency 0 and no channel the graph's answer is sigmoid(frequency)."""
    return columns(*((0, value, "") for value in values))


def test_a_value_on_a_threshold_belongs_to_the_band_above(servable: Servable) -> None:
    # sigmoid(0) is 0.5 exactly, where HIGH begins.
    edge = servable.score(given_as_frequency([0.0])).values[OUTPUT].item()
    assert edge == 0.5
    below = Band("LOW", 0.0), Band("HIGH", math.nextafter(edge, 1))
    on = Band("LOW", 0.0), Band("HIGH", edge)
    above = Band("LOW", 0.0), Band("HIGH", float(np.nextafter(np.float32(edge), np.float32(1))))
    bands = [
        Servable(bundle_of(graph(), with_output(replace(SCHEMA.outputs[0], bands=pair))))
        .score(given_as_frequency([0.0]))
        .bands[OUTPUT]
        .item()
        for pair in (below, on, above)
    ]
    # The first threshold rounds to the value itself in the model's precision.
    assert bands == [1, 1, 0]


def test_a_threshold_is_compared_in_the_precision_of_the_model() -> None:
    identity = graph()
    identity.graph.node[-1].op_type = "Identity"
    schema = with_output(replace(SCHEMA.outputs[0], bands=(Band("LOW", 0.0), Band("HIGH", 0.1))))
    # binary32 has no 0.1; the nearest is above it.
    assert Servable(bundle_of(identity, schema)).score(given_as_frequency([0.1])).bands[OUTPUT].tolist() == [1]


def percentiles_of(reference: tuple[float, ...], values: list[float]) -> list[float]:
    identity = graph()
    identity.graph.node[-1].op_type = "Identity"
    servable = Servable(bundle_of(identity, with_output(replace(SCHEMA.outputs[0], reference=reference))))
    answers: list[float] = servable.score(given_as_frequency(values)).percentiles[OUTPUT].tolist()
    return answers


def test_a_percentile_is_the_share_of_the_reference_below() -> None:
    quantiles = tuple(float(number) for number in range(QUANTILES))
    assert percentiles_of(quantiles, [-5.0, 0.0, 500.0, 1000.0, 2000.0]) == [0.0, 0.0, 50.0, 100.0, 100.0]
    assert percentiles_of(quantiles, [250.5]) == [np.float32(25.1)]


def test_equal_reference_values_lie_above_not_below() -> None:
    # Six tenths of the base have exactly 1.
    tied = (*[0.0] * 200, *[1.0] * 600, *[2.0] * (QUANTILES - 800))
    assert percentiles_of(tied, [1.0, 1.5]) == [20.0, 80.0]


def test_an_output_without_a_reference_has_no_percentile() -> None:
    assert np.isnan(percentiles_of((), [1.0])).all()


def test_a_score_that_is_not_finite_fails_the_call() -> None:
    servable = Servable(bundle_of(awkward_graph()))
    with pytest.raises(ScoringError, match="churn_probability is not finite") as failure:
        servable.score(columns((1, 1, "web"), (1, BREAKING, "web")))
    assert str(BREAKING) not in str(failure.value)
    with pytest.raises(ScoringError):
        servable.score_one(columns((1, BREAKING, "web")))


def test_a_score_that_is_not_finite_outside_the_population_hurts_nobody() -> None:
    servable = Servable(bundle_of(awkward_graph()))
    scores = servable.score(columns((95, BREAKING, "web"), (1, 1, "web")))
    assert scores.statuses.tolist() == [Status.INACTIVE, Status.OK]
    assert np.isnan(scores.values[OUTPUT]).tolist() == [True, False]
    assert scores.bands[OUTPUT].tolist() == [-1, 2]
    assert servable.score_one(columns((95, BREAKING, "web"))).status == Status.INACTIVE


def test_a_graph_that_fails_is_a_scoring_error_without_values(servable: Servable) -> None:
    unfit = Columns(np.full((1, 3), 4711.0, np.float32), np.array([["secret"]], object))
    with pytest.raises(ScoringError) as failure:
        servable.score(unfit)
    assert "4711" not in str(failure.value)
    assert "secret" not in str(failure.value)


def test_nobody_gets_no_scores(servable: Servable) -> None:
    assert len(servable.score(columns())) == 0


MOST = 40

numbers = st.floats(width=32, allow_infinity=False)
customers = st.lists(
    st.tuples(numbers | st.floats(0, 90, width=32), numbers, st.sampled_from(["web", "shop", "", "kiosk"])),
    min_size=1,
    max_size=MOST,
)


@pytest.mark.parametrize("kind", ["servable", "forest"])
@given(rows=customers, order=st.randoms(use_true_random=False), cut=st.integers(0, MOST))
def test_the_same_customer_gets_the_same_bits_alone_in_any_batch_and_any_slice(
    request: pytest.FixtureRequest, kind: str, rows: list[tuple[float, float, str]], order: object, cut: int
) -> None:
    scoring: Servable = request.getfixturevalue(kind)
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own Random
    together = scoring.score(columns(*rows))
    again = scoring.score(columns(*(rows[at] for at in shuffled), *rows[:cut]))
    for place, at in enumerate(shuffled):
        alone = scoring.score(columns(rows[at]))
        for figures in ("values", "percentiles"):
            wanted = bits(getattr(together, figures)[OUTPUT])[at]
            assert bits(getattr(again, figures)[OUTPUT])[place] == wanted
            assert bits(getattr(alone, figures)[OUTPUT])[0] == wanted
        assert alone.bands[OUTPUT][0] == again.bands[OUTPUT][place] == together.bands[OUTPUT][at]
        assert alone.statuses[0] == again.statuses[place] == together.statuses[at]


@pytest.mark.parametrize("kind", ["servable", "forest"])
@given(row=st.tuples(numbers | st.floats(0, 90, width=32), numbers, st.sampled_from(["web", "shop", "", "kiosk"])))
def test_the_plain_reading_of_one_customer_gives_the_bits_of_the_arrays(
    request: pytest.FixtureRequest, kind: str, row: tuple[float, float, str]
) -> None:
    scoring: Servable = request.getfixturevalue(kind)
    scores, score = scoring.score(columns(row)), scoring.score_one(columns(row))
    assert score.status == scores.statuses[0]
    assert score.warnings == tuple((warning.kind, warning.feature) for warning in scores.warnings)
    if score.status == Status.OK:
        assert bits(np.array([score.values[OUTPUT]], np.float32)) == bits(scores.values[OUTPUT])
        assert bits(np.array([score.percentiles[OUTPUT]], np.float32)) == bits(scores.percentiles[OUTPUT])
        assert score.bands[OUTPUT] == scores.bands[OUTPUT][0]
    else:
        assert score.values == {}


def test_more_rows_than_a_slice_are_scored_as_at_once(forest: Servable) -> None:
    many = random_columns(2 * SLICE_ROWS + 1)
    assert_same_scores(forest.score(many), forest.score_slice(many))


@pytest.mark.parametrize("rows", [LEAST_ROWS - 1, LEAST_ROWS, SLICE_ROWS])
def test_sorted_customers_get_the_bits_that_they_get_alone(forest: Servable, rows: int) -> None:
    many = random_columns(rows)
    (together,) = forest.run(many)
    alone = [forest.run(many.slice(row, row + 1))[0] for row in range(rows)]
    assert bits(together).tolist() == bits(np.concatenate(alone)).tolist()


def test_a_graph_whose_order_cannot_be_read_is_refused() -> None:
    model = graph()
    helper.set_model_props(model, {CUTS: "[[2, 0.5]]"})
    with pytest.raises(BundleError, match="sort"):
        Servable(bundle_of(model))


def shifted(by: float) -> Golden:
    return Golden(golden().columns, {OUTPUT: golden().expected[OUTPUT] + np.float32(by)})


def test_golden_rows_that_are_reproduced_pass() -> None:
    Servable(bundle_of(graph())).replay()
    Servable(bundle_of(graph(), rows=shifted(GOLDEN_TOLERANCE / 2))).replay()


def no_golden_rows() -> Golden:
    return Golden(columns(), {OUTPUT: np.zeros(0, np.float32)})


@pytest.mark.parametrize(
    ("complaint", "build"),
    [
        ("does not reproduce", lambda: bundle_of(graph(), rows=shifted(1e-3))),
        ("does not reproduce", lambda: bundle_of(graph(), rows=shifted(NAN))),
        ("does not reproduce", lambda: bundle_of(graph(weight=0.02))),
        ("does not reproduce", lambda: bundle_of(graph(), rows=Golden(golden().columns, {OUTPUT: np.zeros(2, "f4")}))),
        ("no golden rows", lambda: bundle_of(graph(), rows=no_golden_rows())),
    ],
)
def test_golden_rows_that_are_not_reproduced_are_refused(complaint: str, build: Callable[[], Bundle]) -> None:
    servable = Servable(build())
    with pytest.raises(BundleError, match=complaint):
        servable.replay()


def test_a_graph_that_is_too_slow_for_its_golden_rows_is_stopped_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servable_module, "REPLAY_SECONDS", 0.05)
    rows = Golden(columns((10.0, SLOW_ABOVE + 10**9, "web")), {"churn_probability": np.ones(1, np.float32)})
    with pytest.raises(BundleError, match=r"takes more than 0.05 s for 1 golden rows; train a smaller model"):
        Servable(bundle_of(awkward_graph(), rows=rows)).replay()


def test_a_graph_that_gives_nan_on_a_golden_row_is_refused() -> None:
    rows = Golden(columns((1, BREAKING, "web")), {OUTPUT: np.array([NAN], np.float32)})
    with pytest.raises(BundleError, match="does not reproduce"):
        Servable(bundle_of(awkward_graph(), rows=rows)).replay()


def renamed(old: str, new: str) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(graph().SerializeToString().replace(old.encode(), new.encode()))


def typed(kind: int) -> onnx.ModelProto:
    model = graph()
    name = model.graph.output[0].name
    model.graph.node[-1].output[0] = "single"
    model.graph.node.append(helper.make_node("Cast", ["single"], [name], to=kind))
    model.graph.output[0].type.tensor_type.elem_type = kind
    return model


def without_channel() -> Schema:
    return replace(SCHEMA, features=SCHEMA.features[:2])


@pytest.mark.parametrize(
    "build",
    [
        lambda: bundle_of(renamed("numeric", "numbers")),
        lambda: bundle_of(graph(), without_channel()),
        lambda: bundle_of(graph(), with_output(Output("another", "probability"))),
        lambda: bundle_of(graph(), replace(SCHEMA, features=SCHEMA.features[1:], population=())),
        lambda: bundle_of(graph(), replace(SCHEMA, features=(*SCHEMA.features, replace(SCHEMA.features[2], name="b")))),
        lambda: bundle_of(typed(TensorProto.DOUBLE)),
        lambda: bundle_of(typed(TensorProto.INT64)),
    ],
)
def test_a_graph_that_does_not_fit_its_schema_is_refused(build: Callable[[], Bundle]) -> None:
    with pytest.raises(BundleError, match="does not fit its schema"):
        Servable(build())


def test_a_graph_that_the_runtime_refuses_is_a_bundle_error() -> None:
    with pytest.raises(BundleError, match="runtime refuses"):
        Servable(replace(bundle_of(graph()), model=b"no graph"))


def in_the_runtimes_own_format(folder: Path) -> bytes:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(graph().SerializeToString(), options, providers=["CPUExecutionProvider"])
    return (folder / "model.ort").read_bytes()


def test_the_runtime_reads_no_format_but_the_one_that_the_guard_has_read(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="runtime refuses"):
        Servable(replace(bundle_of(graph()), model=in_the_runtimes_own_format(tmp_path)))


def test_every_rule_of_the_population_has_its_own_status() -> None:
    rules = (
        PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=2),
        PopulationRule("recency_days", Status.INACTIVE, maximum=30),
    )
    servable = Servable(bundle_of(graph(), replace(SCHEMA, population=rules)))
    rows = columns((10, 2, ""), (10, 1, ""), (31, 2, ""), (31, 1, ""), (10, NAN, ""))
    assert servable.score(rows).statuses.tolist() == [
        Status.OK,
        Status.INSUFFICIENT_HISTORY,
        Status.INACTIVE,
        Status.INSUFFICIENT_HISTORY,
        Status.INSUFFICIENT_HISTORY,
    ]
