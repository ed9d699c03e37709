"""Boosters into ONNX: raw named features in, calibrated probabilities or amounts out.

    numeric ─────────────────────────────┐
    categorical ─ Gather ─ LabelEncoder ─┴ Concat ─┬ TreeEnsembleRegressor ┬ Sum ─ Mul ─ Add ─ Sigmoid ─ output
                                                   ├ TreeEnsembleRegressor ┤
                                                   └ …                     ┘

An amount ends in Exp instead, and its bounds in Exp, Sub and what keeps them on their sides of it.

The converter turns trees into tree nodes; all around them is written here, because calibrated classifiers export
silently wrong through the converters (errors up to .49).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import lightgbm as lgb
from onnx import NodeProto, TensorProto, ValueInfoProto, checker, helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from model_registry.ordering import choose_cuts, properties_of
from training.core.dataset import UNSEEN_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_registry.schema import Feature, Schema
    from training.core.amounts import Amounts, Line
    from training.core.classifier import Calibrated

TREES_A_NODE = 50
"""A small ensemble stays in the cache while a table passes through, and each costs a single row half a microsecond, or
twice that where caches are cold. With 25 a node 1,000 rows are scored 2 % faster and a single one 14 % slower, with 300
4 % slower and 13 % faster. Sums of 50 floats also lose fewer bits than sums of 300."""

OPSETS = {"": 21, "ai.onnx.ml": 3}
IR_VERSION = 10
"""Of the same release as opset 21."""

TREES = "TreeEnsembleRegressor"
MATRIX = "features"


def probability_graph(schema: Schema, heads: Mapping[str, Calibrated], whole: Mapping[str, str] | None = None) -> bytes:
    """The serialised graph with one calibrated booster for each output, in the order of the schema.

    `whole` names, for an output that is part of an earlier one, the output that it may not exceed.
    """
    nodes = []
    for name in (output.name for output in schema.outputs):
        nodes += _line(name, heads[name], len(schema.features))
        if whole and name in whole:
            nodes.append(helper.make_node("Sigmoid", [f"{name}_line"], [f"{name}_alone"]))
            nodes.append(helper.make_node("Min", [f"{name}_alone", whole[name]], [name]))
        else:
            nodes.append(helper.make_node("Sigmoid", [f"{name}_line"], [name]))
    return serialised(schema, nodes)


def amounts_graph(schema: Schema, amounts: Amounts) -> bytes:
    """The serialised graph of an expected amount and its bounds; the schema has them in this order."""
    expected, lower, upper = (output.name for output in schema.outputs)
    lines = {expected: amounts.expected, lower: amounts.lower, upper: amounts.upper}
    return serialised(
        schema,
        [
            *(node for name, line in lines.items() for node in _line(name, line, len(schema.features))),
            _constant("nothing", TensorProto.FLOAT, [0.0]),
            _constant("one", TensorProto.FLOAT, [1.0]),
            helper.make_node("Exp", [f"{expected}_line"], [expected]),
            helper.make_node("Exp", [f"{lower}_line"], [f"{lower}_exp"]),
            helper.make_node("Sub", [f"{lower}_exp", "one"], [f"{lower}_free"]),
            helper.make_node("Max", [f"{lower}_free", "nothing"], [f"{lower}_money"]),
            helper.make_node("Min", [f"{lower}_money", expected], [lower]),
            helper.make_node("Exp", [f"{upper}_line"], [f"{upper}_exp"]),
            helper.make_node("Sub", [f"{upper}_exp", "one"], [f"{upper}_free"]),
            helper.make_node("Max", [f"{upper}_free", expected], [upper]),
        ],
    )


def serialised(schema: Schema, heads: Sequence[NodeProto]) -> bytes:
    """The model of the heads above the design matrix; they end in the outputs of the schema."""
    graph = helper.make_graph(
        [*_encoding(schema), *heads],
        "regulars",
        inputs=_inputs(schema),
        outputs=[
            helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["customers", 1]) for output in schema.outputs
        ],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="regulars")
    helper.set_model_props(model, properties_of(choose_cuts(_thresholds(heads, len(schema.numeric)))))
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _thresholds(heads: Sequence[NodeProto], numbers: int) -> Mapping[int, Sequence[float]]:
    """The threshold of every split by a number, by the number's column of the design matrix, which begins with them."""
    found = defaultdict(list)
    for node in heads:
        if node.op_type == TREES:
            splits = (helper.get_node_attr_value(node, f"nodes_{name}") for name in ("featureids", "values", "modes"))
            for feature, threshold, mode in zip(*splits, strict=True):
                if feature < numbers and mode == b"BRANCH_LEQ":
                    found[feature].append(threshold)
    return found


def _inputs(schema: Schema) -> list[ValueInfoProto]:
    numeric = helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["customers", len(schema.numeric)])
    if not schema.categorical:
        return [numeric]
    texts = helper.make_tensor_value_info("categorical", TensorProto.STRING, ["customers", len(schema.categorical)])
    return [numeric, texts]


def _encoding(schema: Schema) -> list[NodeProto]:
    """The design matrix: numbers, then the code of each category."""
    if not schema.categorical:
        return [helper.make_node("Identity", ["numeric"], [MATRIX])]
    nodes: list[NodeProto] = []
    codes = []
    for position, feature in enumerate(schema.categorical):
        nodes += _category_code(position, feature)
        codes.append(f"code_{position}")
    return [*nodes, helper.make_node("Concat", ["numeric", *codes], [MATRIX], axis=1)]


def _category_code(position: int, feature: Feature) -> list[NodeProto]:
    # An encoder needs a key; a feature that was always missing gets the spelling of missing.
    keys = list(feature.vocabulary) or [""]
    values = [float(place) for place in range(len(feature.vocabulary))] or [float(UNSEEN_CODE)]
    column = f"category_{position}"
    return [
        _constant(f"{column}_at", TensorProto.INT64, [position]),
        helper.make_node("Gather", ["categorical", f"{column}_at"], [column], axis=1),
        helper.make_node(
            "LabelEncoder",
            [column],
            [f"code_{position}"],
            domain="ai.onnx.ml",
            keys_strings=keys,
            values_floats=values,
            default_float=float(UNSEEN_CODE),
        ),
    ]


def _line(output: str, line: Calibrated | Line, width: int) -> list[NodeProto]:
    """Margins and the line through them, up to the link."""
    trees = tree_nodes(line.booster, width, prefix=output)
    return [
        *trees,
        helper.make_node("Sum", [node.output[0] for node in trees], [f"{output}_margin"]),
        _constant(f"{output}_slope", TensorProto.FLOAT, [line.slope]),
        _constant(f"{output}_intercept", TensorProto.FLOAT, [line.intercept]),
        helper.make_node("Mul", [f"{output}_margin", f"{output}_slope"], [f"{output}_scaled"]),
        helper.make_node("Add", [f"{output}_scaled", f"{output}_intercept"], [f"{output}_line"]),
    ]


def tree_nodes(booster: lgb.Booster, width: int, prefix: str, trees_a_node: int = TREES_A_NODE) -> list[NodeProto]:
    """The booster's trees as nodes from `MATRIX` (N, width) to partial margins (N, 1), which are to be summed."""
    # The converter cannot split an ensemble into a single part.
    split = trees_a_node if booster.num_trees() > trees_a_node else None
    converted = convert_lightgbm(
        _regression(booster), initial_types=[(MATRIX, FloatTensorType([None, width]))], split=split
    )
    nodes = [node for node in converted.graph.node if node.op_type == TREES]
    for position, node in enumerate(nodes):
        node.name = f"{prefix}_trees_{position}"
        node.input[:] = [MATRIX]
        node.output[:] = [f"{prefix}_part_{position}"]
    return nodes


def _regression(booster: lgb.Booster) -> lgb.Booster:
    """The same trees under an objective without a link: the converter leaves their sum alone."""
    text = booster.model_to_string(num_iteration=-1)
    header, trees = text.split("\nTree=0\n", maxsplit=1)
    lines = ["objective=regression" if line.startswith("objective=") else line for line in header.splitlines()]
    # The parameters name the objective once more, after the trees; nothing that scores needs them.
    return lgb.Booster(model_str="\n".join(lines) + "\nTree=0\n" + trees.split("\nparameters:")[0])


def _constant(name: str, kind: int, values: Sequence[float]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, [len(values)], values))
