from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from model_registry.graph_guard import GraphError, check_graph
from tests.support.bundles import awkward_graph, forest_graph, graph

if TYPE_CHECKING:
    from collections.abc import Callable


def external(name: str = "weights") -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def held() -> onnx.TensorProto:
    return helper.make_tensor("held", TensorProto.FLOAT, [1], [1.0])


def model_of(*nodes: onnx.NodeProto, **parts: object) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "g", [], []), **parts)


def subgraph(*nodes: onnx.NodeProto, initializer: list[onnx.TensorProto] | None = None) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "sub", [], [], initializer)


def branch(inner: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=subgraph())


def in_initializer() -> onnx.ModelProto:
    model = graph()
    model.graph.initializer.append(external())
    return model


def only_the_location() -> onnx.ModelProto:
    tensor = held()
    tensor.data_location = TensorProto.EXTERNAL
    return model_of(helper.make_node("Constant", [], ["y"], value=tensor))


def only_the_external_data() -> onnx.ModelProto:
    tensor = held()
    tensor.external_data.add(key="location", value="x")
    return model_of(helper.make_node("Constant", [], ["y"], value=tensor))


def in_list_of_tensors() -> onnx.ModelProto:
    node = helper.make_node("N", [], ["y"])
    attribute = node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.extend([held(), external()])
    return model_of(node)


def in_list_of_graphs() -> onnx.ModelProto:
    node = helper.make_node("N", [], ["y"])
    attribute = node.attribute.add(name="many", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.extend([subgraph(), subgraph(initializer=[external()])])
    return model_of(node)


def sparse(values: onnx.TensorProto, indices: onnx.TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[1])


def in_sparse_initializer() -> onnx.ModelProto:
    model = graph()
    model.graph.sparse_initializer.append(sparse(external(), held()))
    return model


def in_sparse_attribute() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
        sparse(held(), external())
    )
    return model_of(node)


def in_list_of_sparse_tensors() -> onnx.ModelProto:
    node = helper.make_node("N", [], ["y"])
    attribute = node.attribute.add(name="many", type=onnx.AttributeProto.SPARSE_TENSORS)
    attribute.sparse_tensors.append(sparse(external(), held()))
    return model_of(node)


def function_of(node: onnx.NodeProto) -> onnx.FunctionProto:
    return helper.make_function("", "Local", [], ["y"], [node], [helper.make_opsetid("", 21)])


def in_function_body() -> onnx.ModelProto:
    return model_of(functions=[function_of(helper.make_node("Constant", [], ["y"], value=external()))])


def in_function_default() -> onnx.ModelProto:
    function = function_of(helper.make_node("Constant", [], ["y"], value=held()))
    function.attribute_proto.append(helper.make_attribute("value", external()))
    return model_of(functions=[function])


@pytest.mark.parametrize(
    "build",
    [
        in_initializer,
        only_the_location,
        only_the_external_data,
        in_list_of_tensors,
        in_list_of_graphs,
        in_sparse_initializer,
        in_sparse_attribute,
        in_list_of_sparse_tensors,
        in_function_body,
        in_function_default,
        lambda: model_of(branch(subgraph(initializer=[external()]))),
        lambda: model_of(branch(subgraph(branch(subgraph(helper.make_node("Constant", [], ["y"], value=external())))))),
    ],
)
def test_a_tensor_outside_the_file_is_refused_wherever_it_hides(build: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(GraphError, match="outside the file"):
        check_graph(build().SerializeToString())


def foreign(domain: str = "com.microsoft") -> onnx.NodeProto:
    return helper.make_node("Evil", [], ["y"], domain=domain)


@pytest.mark.parametrize(
    "build",
    [
        lambda: model_of(foreign()),
        lambda: model_of(foreign("ai.onnx.ml.evil")),
        lambda: model_of(foreign("AI.ONNX")),
        lambda: model_of(branch(subgraph(foreign()))),
        lambda: model_of(functions=[function_of(foreign())]),
        lambda: model_of(opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("acme", 1)]),
        lambda: model_of(
            functions=[
                helper.make_function("", "Local", [], ["y"], [], [helper.make_opsetid("acme", 1)]),
            ]
        ),
    ],
)
def test_operators_of_a_foreign_domain_are_refused_wherever_they_hide(build: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(GraphError, match="domain"):
        check_graph(build().SerializeToString())


def test_functions_of_its_own_are_refused() -> None:
    model = model_of(functions=[function_of(helper.make_node("Identity", ["x"], ["y"]))])
    with pytest.raises(GraphError, match="functions of the graph's own"):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize("build", [graph, awkward_graph, forest_graph])
def test_a_self_contained_graph_passes(build: Callable[[], onnx.ModelProto]) -> None:
    check_graph(build().SerializeToString())


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x00", b"\x3a\xff", b"PK\x03\x04"])
def test_bytes_that_are_no_graph_are_refused(data: bytes) -> None:
    with pytest.raises(GraphError, match="not an ONNX model"):
        check_graph(data)


def test_a_domain_that_is_no_text_is_refused() -> None:
    # Model.opset_import[0].domain = FF, beside an empty graph.
    with pytest.raises(GraphError):
        check_graph(b"\x3a\x00\x42\x03\x0a\x01\xff")


MODEL = awkward_graph().SerializeToString()


@given(at=st.integers(0, len(MODEL) - 1), byte=st.integers(0, 255))
def test_damage_raises_nothing_but_graph_error(at: int, byte: int) -> None:
    try:
        check_graph(MODEL[:at] + bytes([byte]) + MODEL[at + 1 :])
    except GraphError:
        return


@given(data=st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_graph_error(data: bytes) -> None:
    try:
        check_graph(data)
    except GraphError:
        return


def test_the_partial_description_has_the_numbers_of_onnx() -> None:
    for message, number, name in (
        (onnx.ModelProto, 7, "graph"),
        (onnx.ModelProto, 8, "opset_import"),
        (onnx.ModelProto, 25, "functions"),
        (onnx.GraphProto, 5, "initializer"),
        (onnx.GraphProto, 15, "sparse_initializer"),
        (onnx.TensorProto, 13, "external_data"),
        (onnx.TensorProto, 14, "data_location"),
    ):
        assert message.DESCRIPTOR.fields_by_number[number].name == name
