"""A generated shop whose customers told who they are, and small bundles over its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv as pacsv
from onnx import TensorProto, helper

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow, read_bundle, write_bundle
from model_registry.columns import Columns
from model_registry.schema import Band, Feature, Output, PopulationRule, Schema
from model_registry.servable import Servable
from tests.support.bundles import OPSETS
from tests.support.shop import CUSTOMERS, open_shop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SENSITIVE = 'sensitive = ["gender", "age"]'
RECENCY = Feature("recency_days", "numeric", "days", nullable=False)
FREQUENCY = Feature("frequency", "numeric", "orders", nullable=False)
RISKS = (Band("LOW", 0.0), Band("HIGH", 0.5))


def shop(folder: Path, sensitive: str = SENSITIVE, consent: str = "") -> Path:
    """The shop with a table of customers: gender by even and odd, unknown of every tenth, ages, and consent of two in
    three. Returns its project file.
    """
    project = open_shop(folder)
    numbers = np.arange(CUSTOMERS)
    genders = np.where(numbers % 10 == 9, None, np.where(numbers % 2, "m", "f").astype(object))  # type: ignore[call-overload]  # None is what a CSV leaves empty
    people = {
        "who": [f"customer {number}" for number in numbers],
        "gender": pa.array(genders.tolist(), pa.string()),
        "age": 18 + numbers * 7 % 60,
        "agreed": numbers % 3 < 2,
    }
    pacsv.write_csv(pa.table(people), folder / "people.csv")
    customers = f'[tables.customers]\nsource = "people.csv"\ncustomer = "who"\n{sensitive}\n{consent}\n'
    project.write_text(project.read_text() + customers)
    return project


def spent_bundle(
    folder: Path,
    *,
    weight: float = 0.05,
    first: Feature = RECENCY,
    second: Feature = FREQUENCY,
    population: tuple[PopulationRule, ...] = (),
    horizon_days: int = 30,
) -> Bundle:
    """churn_probability = sigmoid(weight * recency_days - 2): who is long away is likelier to be gone.

    `first` stands for recency where the tables tell something else.
    """
    outputs = (Output("churn_probability", "probability", RISKS),)
    weights = np.array([[weight], [0.0]])
    schema = Schema((first, second), outputs, population)
    return linear_bundle(folder, "churn", schema, {"churn_probability": (weights, -2.0, "Sigmoid")}, horizon_days)


def linear_bundle(
    folder: Path,
    name: str,
    schema: Schema,
    formulas: Mapping[str, tuple[np.ndarray[Any, Any], float, str]],
    horizon_days: int,
) -> Bundle:
    """Each output is an operator over weights (features, 1) times the inputs, plus a constant; NaN counts as zero."""
    golden = Columns(np.arange(2.0 * len(schema.numeric), dtype=np.float32).reshape(2, -1), np.empty((2, 0), object))
    model = _graph(schema, formulas).SerializeToString()
    manifest = Manifest(
        name=name,
        schema=schema,
        horizon_days=horizon_days,
        training_window=TrainingWindow("2023-01-01", "2023-04-01", "2023-05-01"),
        metrics={},
        run_id="run",
        trained_at="2023-07-01T00:00:00Z",
        dataset_digest="d" * 64,
        code_digest="c" * 64,
    )
    scores = Servable(Bundle(manifest, model, Golden(golden, {}), "")).run(golden)
    names = [output.name for output in schema.outputs]
    write_bundle(folder, manifest, model, Golden(golden, dict(zip(names, scores, strict=True))))
    return read_bundle(folder)


def _graph(schema: Schema, formulas: Mapping[str, tuple[np.ndarray[Any, Any], float, str]]) -> onnx.ModelProto:
    width = len(schema.numeric)
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "numeric"], ["filled"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])]
    for place, (output, (weights, constant, operator)) in enumerate(formulas.items()):
        nodes += [
            helper.make_node("MatMul", ["filled", f"w{place}"], [f"p{place}"]),
            helper.make_node("Add", [f"p{place}", f"c{place}"], [f"m{place}"]),
            helper.make_node(operator, [f"m{place}"], [output]),
        ]
        constants += [
            helper.make_tensor(f"w{place}", TensorProto.FLOAT, [width, 1], weights.ravel().tolist()),
            helper.make_tensor(f"c{place}", TensorProto.FLOAT, [], [constant]),
        ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", width])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 1]) for output in formulas],
            constants,
        ),
        opset_imports=OPSETS,
        ir_version=10,
    )
