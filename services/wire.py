"""Arrays into packed fields, without a Python object for each value.

A packed repeated field is, on the wire, a tag, a length and its values side by side: for `float` the array's own
bytes, for an enum below 128 one byte each. Merging such bytes costs a copy; extending a field costs thirty nanoseconds
a value.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from numpy.typing import NDArray

    from regulars.scoring.v1.scoring_pb2 import CustomerTable

    Column = NDArray[np.float32] | NDArray[np.uint8]

_LENGTH_DELIMITED = 2
"""The wire type of a packed field."""

_MORE = 0x80
"""The bit of a varint's byte that says another follows."""


def fill(message: Message, columns: Mapping[str, Column]) -> None:
    """Sets packed repeated fields by name: `float` from float32, enums from uint8 below 128."""
    parts = []
    for name, values in columns.items():
        payload = values.astype("<f4", copy=False).tobytes() if values.dtype == np.float32 else values.tobytes()
        parts += [_tag(message.DESCRIPTOR, name), _varint(len(payload)), payload]
    message.MergeFromString(b"".join(parts))


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
def _tag(message: Descriptor, name: str) -> bytes:
    return _varint(message.fields_by_name[name].number << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & (_MORE - 1) | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
