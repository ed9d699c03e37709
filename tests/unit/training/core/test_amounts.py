"""Amounts and their graph: the same in floats as in doubles, and in order, for anybody and in any currency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow
from model_registry.schema import Output, Schema
from model_registry.servable import Servable
from tests.support.spending import HORIZON, dataset, tuned
from training.core.amounts import Foreseen, Line
from training.core.booster import thresholds
from training.core.dataset import design_matrix
from training.core.errors import TrainingError
from training.core.graph import amounts_graph
from training.core.parity import awkward_rows, certify
from training.core.pipeline import Fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_registry.columns import Columns
    from model_registry.evidence import Parity
    from training.core.amounts import Amounts

NAMES = ("expected_value", "lower_bound", "upper_bound")
SMALL_UNIT = 1e6
"""As money is counted where a coffee costs tens of thousands."""


def schema(scale: float = 1.0) -> Schema:
    return Schema(dataset(scale=scale).features, tuple(Output(name, "USD") for name in NAMES))


def servable(graph: bytes, scale: float = 1.0) -> Servable:
    nobody = Golden(dataset(scale=scale).test.columns.slice(0, 0), {})
    manifest = Manifest("cltv", schema(scale), HORIZON, TrainingWindow(), {}, "", "", "", "")
    return Servable(Bundle(manifest, graph, nobody, ""))


def decides(amounts: Amounts) -> dict[int, np.ndarray]:
    return dict(thresholds(*(line.booster for line in (amounts.expected, amounts.lower, amounts.upper))))


def certificate(graph: bytes, scale: float = 1.0) -> Parity:
    amounts, data = tuned(scale).amounts, dataset(scale=scale)

    def native(columns: Columns) -> dict[str, np.ndarray]:
        foreseen = amounts.foreseen(design_matrix(columns, data.features))
        return dict(zip(NAMES, (foreseen.expected, foreseen.lower, foreseen.upper), strict=True))

    fitted = Fitted(schema(scale), graph, native, decides(amounts), {}, {})
    return certify(servable(graph, scale), fitted, data.test.columns)


@pytest.mark.parametrize("scale", [1.0, SMALL_UNIT])
def test_the_graph_is_the_native_model_in_any_currency(scale: float) -> None:
    parity = certificate(amounts_graph(schema(scale), tuned(scale).amounts), scale)
    assert parity.passed
    assert parity.largest < 3e-6
    assert len(parity.deviations) == 5


def test_bounds_are_on_their_sides_for_everybody() -> None:
    amounts, data = tuned().amounts, dataset()
    loaded = servable(amounts_graph(schema(), amounts))
    for _, columns in awkward_rows(schema(), data.test.columns, decides(amounts)):
        expected, lower, upper = loaded.run(columns)
        assert (lower >= 0).all()
        assert (lower <= expected).all()
        assert (expected <= upper).all()
        assert np.isfinite(upper).all()
        assert (expected > 0).all()


LINES = arrays(np.float64, 20, elements=st.floats(-50, 50))


@given(LINES, LINES, LINES)
def test_no_lines_bring_amounts_out_of_order(expected: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
    foreseen = Foreseen.from_lines(expected, lower, upper)
    assert (foreseen.lower >= 0).all()
    assert (foreseen.lower <= foreseen.expected).all()
    assert (foreseen.expected <= foreseen.upper).all()


def test_an_amount_on_a_bound_is_covered() -> None:
    foreseen = Foreseen(np.array([2.0] * 4), np.array([1.0] * 4), np.array([3.0] * 4))
    assert foreseen.covers(np.array([0.9, 1.0, 3.0, 3.1])).tolist() == [False, True, True, False]


def test_a_line_is_of_float32_numbers() -> None:
    line = Line.rounded(tuned().amounts.expected.booster, 0.1, 1 / 3)
    for number in (line.slope, line.intercept):
        assert number == float(np.float32(number))


def node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(one for one in model.graph.node if output in one.output)


def drop_the_floor(model: onnx.ModelProto) -> None:
    floor = node(model, "lower_bound_money")
    floor.input[1] = floor.input[0]


def forget_the_one(model: onnx.ModelProto) -> None:
    node(model, "upper_bound_free").input[1] = "nothing"


def swap_the_bounds(model: onnx.ModelProto) -> None:
    lower, upper = node(model, "lower_bound_line"), node(model, "upper_bound_line")
    lower.output[0], upper.output[0] = upper.output[0], lower.output[0]


@pytest.mark.parametrize("change", [drop_the_floor, forget_the_one, swap_the_bounds])
def test_a_wrong_graph_is_refused(change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_from_string(amounts_graph(schema(), tuned().amounts))
    change(model)
    with pytest.raises(TrainingError, match="nothing was registered"):
        certificate(model.SerializeToString())


def test_the_same_model_gives_the_same_bytes() -> None:
    assert amounts_graph(schema(), tuned().amounts) == amounts_graph(schema(), tuned().amounts)
