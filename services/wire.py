"""Arrays into packed fields, without a Python object for each value.

A packed repeated field is, on the wire, a tag, a length and its values side by side: for `float` the array's own
bytes, for whole numbers varints, which below 128 are one byte each. Merging such bytes costs a copy; extending a field
costs thirty nanoseconds a value.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from numpy.typing import NDArray

    from regulars.scoring.v1.scoring_pb2 import CustomerTable

    Column = NDArray[np.float32] | NDArray[np.integer[Any]] | NDArray[np.bool_]

_LENGTH_DELIMITED = 2
"""The wire type of a packed field."""

_MORE = 0x80
"""The bit of a varint's byte that says another follows."""

_BITS = 7
"""Of a number, in each byte of its varint."""

_SHIFTS = np.arange(0, 64, _BITS, dtype=np.uint64)


def fill(message: Message, columns: Mapping[str, Column]) -> None:
    """Sets packed repeated fields by name: `float`, `int32`, `sint32`, `bool` and enums, each from its own numbers."""
    parts = []
    for name, values in columns.items():
        tag, encode = _field(message.DESCRIPTOR, name)
        payload = encode(values)
        parts += [tag, _varint(len(payload)), payload]
    message.MergeFromString(b"".join(parts))


def payload(message: Message, name: str, length: int) -> bytes | None:
    """The values of a packed field, as they lie on the wire, if they are that many bytes and all the message holds."""
    return payloads([message], name, length, [b""])


def payloads(messages: Sequence[Message], name: str, length: int, before: Sequence[bytes]) -> bytes | None:
    """The values of a packed field of several messages, side by side, if each has that many bytes of them.

    `before` is what else each of the messages must hold, as it lies on the wire before the values.
    """
    parts = []
    for message, start in zip(messages, before, strict=True):
        data = message.SerializeToString()
        # Without values there is no head either: data[:-0] is empty, and stands for a table that the slow way refuses.
        if data[:-length] != start + _head(message.DESCRIPTOR, name, length):
            return None
        parts.append(data[-length:])
    return b"".join(parts)


def move_ids(customers: CustomerTable, answer: Message) -> None:
    """Moves the ids of a table into its answer, and leaves the table empty.

    Both messages hold ids as their field 1, so the bytes of one are those of the other, and no id becomes a Python
    string on the way.
    """
    customers.ClearField("numeric")
    customers.ClearField("categorical")
    # What a caller of a later version sent beside them would be read as fields of the answer.
    customers.DiscardUnknownFields()
    answer.MergeFromString(customers.SerializeToString())
    customers.Clear()


@cache
def _field(message: Descriptor, name: str) -> tuple[bytes, Callable[[NDArray[Any]], bytes]]:
    """Tag and encoding of a packed field."""
    return _tag(message, name), _ENCODINGS[message.fields_by_name[name].type]


@lru_cache(maxsize=256)  # callers choose the length
def _head(message: Descriptor, name: str, length: int) -> bytes:
    return _tag(message, name) + _varint(length)


@cache
def _tag(message: Descriptor, name: str) -> bytes:
    return _varint(message.fields_by_name[name].number << 3 | _LENGTH_DELIMITED)


def _floats(values: NDArray[Any]) -> bytes:
    return values.astype("<f4", copy=False).tobytes()


def _varints(values: NDArray[Any]) -> bytes:
    # What is negative takes all ten bytes: its sign fills 64 bits.
    numbers = values.astype(np.int64).view(np.uint64)
    largest = int(numbers.max(initial=0))
    if largest < _MORE:
        return numbers.astype(np.uint8).tobytes()
    # One column for each byte that the largest needs; a number uses those in which something of it is left.
    rest = numbers[:, None] >> _SHIFTS[: -(-largest.bit_length() // _BITS)]
    used = rest > 0
    used[:, 0] = True
    septets = (rest & (_MORE - 1)).astype(np.uint8)
    septets[rest >= _MORE] |= _MORE
    return septets[used].tobytes()


def _zigzag(values: NDArray[Any]) -> bytes:
    """0, -1, 1, -2 … as 0, 1, 2, 3 …, so that what is slightly negative stays short."""
    numbers = values.astype(np.int64)
    return _varints(numbers << 1 ^ numbers >> 63)


_ENCODINGS: dict[int, Callable[[NDArray[Any]], bytes]] = {
    FieldDescriptor.TYPE_FLOAT: _floats,
    FieldDescriptor.TYPE_INT32: _varints,
    FieldDescriptor.TYPE_ENUM: _varints,
    FieldDescriptor.TYPE_BOOL: _varints,
    FieldDescriptor.TYPE_SINT32: _zigzag,
}


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & (_MORE - 1) | _MORE)
        value >>= _BITS
    encoded.append(value)
    return bytes(encoded)
