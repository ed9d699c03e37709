"""Refuses ONNX graphs that reach outside themselves: external tensors, operators of foreign domains.

And those with functions of their own: the runtime inlines them, and a few that call each other twice fill any memory.
What a graph of standard operators costs to run is not bounded here; the registry is trusted that far.

Servers have no `onnx` package, so this reads the few fields it needs through a partial description of ONNX's
protobuf messages (field numbers from onnx.proto); what is not described is skipped.

Parsing holds the interpreter, and with it every call of a server, so the nodes of the graph are parsed one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

_EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL."""

_FIELDS: dict[str, dict[int, tuple[str, str]]] = {
    "Model": {7: ("graph", "Whole"), 8: ("opset_import", "Opset"), 25: ("functions", "Function")},
    "Opset": {1: ("domain", "string")},
    "Function": {7: ("node", "Node"), 9: ("opset_import", "Opset"), 11: ("attribute_proto", "Attribute")},
    "Whole": {1: ("node_bytes", "bytes"), 5: ("initializer", "Tensor"), 15: ("sparse", "SparseTensor")},
    "Graph": {1: ("node", "Node"), 5: ("initializer", "Tensor"), 15: ("sparse", "SparseTensor")},
    "Node": {5: ("attribute", "Attribute"), 7: ("domain", "string")},
    "Attribute": {
        5: ("tensor", "Tensor"),
        6: ("graph", "Graph"),
        10: ("tensors", "Tensor"),
        11: ("graphs", "Graph"),
        22: ("sparse", "SparseTensor"),
        23: ("sparses", "SparseTensor"),
    },
    "SparseTensor": {1: ("values", "Tensor"), 2: ("indices", "Tensor")},
    "Tensor": {13: ("external_data", "bytes"), 14: ("data_location", "int32")},
}
"""`Whole` is the model's own graph, whose nodes are read later; `Graph` stands in attributes of nodes."""


class GraphError(Exception):
    """A graph that is damaged or reaches outside itself."""


def check_graph(model: bytes) -> None:
    """Raises GraphError unless `model` is an ONNX graph that holds all its tensors and only standard operators."""
    parsed = _parsed("Model", model)
    if not parsed.graph:
        raise GraphError("not an ONNX model; sync the bundle again")
    for message in _everything(parsed):
        kind = message.DESCRIPTOR.name
        if kind == "Tensor" and (message.external_data or _EXTERNAL in message.data_location):
            raise GraphError("a tensor lies outside the file; export without external data")
        if kind in {"Node", "Opset"}:
            foreign = set(message.domain) - ALLOWED_DOMAINS
            if foreign:
                raise GraphError(f"operators of domain {foreign.pop()!r} are not served; export standard operators")
    if parsed.functions:
        raise GraphError("functions of the graph's own are not served; export it with its functions inlined")


def _everything(model: Any) -> Iterator[Any]:  # noqa: ANN401 - messages made at run time have no static type
    yield from _walk(model)
    for graph in model.graph:
        for node in graph.node_bytes:
            yield from _walk(_parsed("Node", node))


def _parsed(name: str, data: bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return _MESSAGES[name].FromString(data)
    except DecodeError as error:
        raise GraphError("not an ONNX model; sync the bundle again") from error


def _walk(message: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value:
                yield from _walk(child)


def _message_classes() -> dict[str, Any]:
    # Every field is declared repeated, which reads singular ones too and hides no repetition.
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int32": field.TYPE_INT32}
    file = descriptor_pb2.FileDescriptorProto(
        name="model_registry/graph_guard.proto", package="model_registry.graph_guard", syntax="proto2"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (label, kind) in fields.items():
            entry = message.field.add(name=label, number=number, label=field.LABEL_REPEATED)
            entry.type = scalars.get(kind, field.TYPE_MESSAGE)
            if kind not in scalars:
                entry.type_name = f".model_registry.graph_guard.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"model_registry.graph_guard.{name}"))
        for name in _FIELDS
    }


_MESSAGES = _message_classes()
