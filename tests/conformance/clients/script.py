"""What the clients' scripts have in common. Each runs in an environment of its own, which knows nothing of ours.

A script is told a port and, on standard input, a JSON list of cases. It writes a JSON line of what its client says of
the server, and then one for each case: the outputs, or how the call failed.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

Case = dict[str, Any]
Answer = dict[str, Any]

TIMEOUT_SECONDS = 30.0
SERVER = "the server"
MODELS = (("churn", ""), ("churn", "7"), ("churn", "8"), ("chrn", ""))
"""By name and version, of whom clients ask whether they are ready."""

DTYPES = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BYTES": np.object_,
}


def target() -> str:
    return f"127.0.0.1:{sys.argv[1]}"


def cases() -> list[Case]:
    read: list[Case] = json.load(sys.stdin)
    return read


def tell(case: str, answer: Answer) -> None:
    sys.stdout.write(json.dumps({"case": case, **answer}) + "\n")
    sys.stdout.flush()


def array_of(tensor: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The values in the shape that the case tells, unless they are too few or too many for it."""
    values = [value.encode() for value in tensor["values"]] if tensor["datatype"] == "BYTES" else tensor["values"]
    array = np.array(values, DTYPES[tensor["datatype"]])
    return array.reshape(tensor["shape"]) if math.prod(tensor["shape"]) == array.size else array


def output(datatype: str, shape: Iterable[int], values: Iterable[Any]) -> dict[str, Any]:
    plain = [value.decode() if isinstance(value, bytes) else value for value in values]
    return {"datatype": datatype, "shape": list(shape), "values": plain}


def failure(code: object, text: str | None) -> Answer:
    """`code` as gRPC or a client prints it: StatusCode.NOT_FOUND."""
    return {"code": str(code).removeprefix("StatusCode."), "text": text}
