"""Segments into ONNX: raw features in, ids and distances of the two nearest segments and the fifths out.

    numeric ┬ Cast ─ Div ┬ Sign ────────────────┐
            │            └ Abs ─ Add ─ Log ─ Mul ┴ Sub ─ Mul ─ distances ─ TopK ┬ Gather ─ ids
            │                                                                   └ Cast ─── distances
            └ Gather ─ Greater ─ ReduceSum ─ fifths, one for each of three columns

Coordinates are doubles, as in the native model: a customer whose distances to two centroids differ in the last bit of
a float would be sent here by one and there by the other. Fifths compare floats with floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from training.clustering.fifths import FIFTHS, SCORES
from training.clustering.space import RECENCY
from training.core.graph import MATRIX, serialised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from model_registry.schema import Schema
    from training.clustering.model import SegmentModel

NEAREST = 2


def segment_graph(schema: Schema, model: SegmentModel) -> bytes:
    """The serialised graph; the schema's outputs are those of `SegmentModel.scores`."""
    nodes = [*_coordinates(model), *_nearest(model)]
    for output, column in SCORES.items():
        nodes += _fifth(output, column, model)
    return serialised(schema, nodes)


def _coordinates(model: SegmentModel) -> list[NodeProto]:
    space = model.space
    return [
        *_constants({"units": space.units, "one": 1.0, "means": space.means, "weights": space.weights}),
        helper.make_node("Cast", [MATRIX], ["doubles"], to=TensorProto.DOUBLE),
        helper.make_node("Div", ["doubles", "units"], ["counted"]),
        helper.make_node("Sign", ["counted"], ["signs"]),
        helper.make_node("Abs", ["counted"], ["sizes"]),
        helper.make_node("Add", ["sizes", "one"], ["above_one"]),
        helper.make_node("Log", ["above_one"], ["logarithms"]),
        helper.make_node("Mul", ["signs", "logarithms"], ["signed"]),
        helper.make_node("Sub", ["signed", "means"], ["centred"]),
        helper.make_node("Mul", ["centred", "weights"], ["coordinates"]),
    ]


def _nearest(model: SegmentModel) -> list[NodeProto]:
    """Customers (N, 1, F) minus centroids (1, k, F), and the two nearest of them."""
    return [
        *_constants({"centroids": model.centroids[None], "ids": np.array(model.ids, np.float32)}),
        *_constants({"second_axis": [1], "last_axis": [2], "two": [NEAREST]}),
        helper.make_node("Unsqueeze", ["coordinates", "second_axis"], ["customers"]),
        helper.make_node("Sub", ["customers", "centroids"], ["gaps"]),
        helper.make_node("Mul", ["gaps", "gaps"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last_axis"], ["squared_distances"], keepdims=0),
        helper.make_node("Sqrt", ["squared_distances"], ["distances"]),
        helper.make_node("TopK", ["distances", "two"], ["nearest", "places"], axis=1, largest=0, sorted=1),
        helper.make_node("Cast", ["nearest"], ["nearest_floats"], to=TensorProto.FLOAT),
        helper.make_node("Split", ["nearest_floats"], ["distance", "runner_up_distance"], axis=1, num_outputs=NEAREST),
        helper.make_node("Gather", ["ids", "places"], ["nearest_ids"]),
        helper.make_node("Split", ["nearest_ids"], ["cluster_id", "runner_up_id"], axis=1, num_outputs=NEAREST),
    ]


def _fifth(output: str, column: int, model: SegmentModel) -> list[NodeProto]:
    """One more than the limits below a customer; recency counts from the other end."""
    first, step = (FIFTHS, "Sub") if column == RECENCY else (1, "Add")
    limits = model.fifths.limits[column][None]
    return [
        *_constants({f"{output}_at": [column], f"{output}_limits": limits, f"{output}_first": np.float32(first)}),
        helper.make_node("Gather", [MATRIX, f"{output}_at"], [f"{output}_values"], axis=1),
        helper.make_node("Greater", [f"{output}_values", f"{output}_limits"], [f"{output}_above"]),
        helper.make_node("Cast", [f"{output}_above"], [f"{output}_ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", [f"{output}_ones", "second_axis"], [f"{output}_count"], keepdims=1),
        helper.make_node(step, [f"{output}_first", f"{output}_count"], [output]),
    ]


def _constants(values: Mapping[str, ArrayLike]) -> list[NodeProto]:
    """Constants of the kind that numpy makes of the values: doubles, unless they say otherwise."""
    return [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
        for name, value in values.items()
    ]
