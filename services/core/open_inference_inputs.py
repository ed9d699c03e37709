"""The input tensors of an Open Inference request: each a feature of all customers, raw or typed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.core.errors import Violation
from services.wire import payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from regulars.open_inference.v2.open_inference_pb2 import ModelInferRequest

TEXT = "BYTES"
_TEXT_FIELD = "bytes_contents"
LENGTH = struct.Struct("<I")
"""What stands before each text among raw contents."""

_NO_COUNT = -1
"""What a shape tells that is not of the right form. No number of customers is negative."""


@dataclass(frozen=True)
class _Number:
    """A datatype: how a value lies among raw contents; else in which field of the contents, and how it lies there."""

    raw: np.dtype[Any]
    field: str
    typed: np.dtype[Any]

    @classmethod
    def of(cls, raw: str, field: str, typed: str = "") -> _Number:
        """By numpy's names for the layouts, little-endian; where `typed` is empty they are the same."""
        return cls(np.dtype(raw), field, np.dtype(typed or raw))


NUMBERS = {
    "FP32": _Number.of("<f4", "fp32_contents"),
    "FP64": _Number.of("<f8", "fp64_contents"),
    "INT8": _Number.of("<i1", "int_contents", "<i4"),
    "INT16": _Number.of("<i2", "int_contents", "<i4"),
    "INT32": _Number.of("<i4", "int_contents"),
    "INT64": _Number.of("<i8", "int64_contents"),
    "UINT8": _Number.of("<u1", "uint_contents", "<u4"),
    "UINT16": _Number.of("<u2", "uint_contents", "<u4"),
    "UINT32": _Number.of("<u4", "uint_contents"),
    "UINT64": _Number.of("<u8", "uint64_contents"),
}
"""What a numeric feature may come as. All of them are rounded to float32, as the doubles of a `Customer` are."""


class Inputs:
    """The inputs of a request, each of their fields taken out of the message once."""

    def __init__(self, request: ModelInferRequest) -> None:
        self._tensors = list(request.inputs)
        self._raw = list(request.raw_input_contents)
        self.names = [tensor.name for tensor in self._tensors]
        self.datatypes = [tensor.datatype for tensor in self._tensors]
        self.counts = [_count(tensor.shape) for tensor in self._tensors]

    def path(self, at: int) -> str:
        """Where the values of an input stand."""
        return f"raw_input_contents[{at}]" if self._raw else f"inputs[{at}].contents.{self._field(at)}"

    def check_form(self) -> Iterator[Violation]:
        """Either all inputs have raw contents, or none has."""
        if not self._raw:
            return
        if len(self._raw) != len(self._tensors):
            wanted = f"one entry for each of the {len(self._tensors)} inputs, or none"
            yield Violation("raw_input_contents", f"must hold {wanted}")
        for at, tensor in enumerate(self._tensors):
            # MLServer's client leaves empty ones there.
            if tensor.HasField("contents") and tensor.contents.ByteSize():
                yield Violation(f"inputs[{at}].contents", "must be left out beside raw_input_contents")

    def check_counts(self, most: int) -> Iterator[Violation]:
        """All must tell the same number of customers, and one that is allowed."""
        if not self.counts:
            yield Violation("inputs", "must not be empty")
            return
        first = self.counts[0]
        if first != _NO_COUNT and not 1 <= first <= most:
            yield Violation("inputs[0].shape", f"must tell 1 to {most} customers; split what is more")
        for at, count in enumerate(self.counts):
            if count == _NO_COUNT:
                yield Violation(f"inputs[{at}].shape", "must be [N] or [N, 1], with N customers")
            elif first not in {count, _NO_COUNT}:
                yield Violation(f"inputs[{at}].shape", "must tell as many customers as that of inputs[0]")

    def layout(self, datatype: str) -> np.dtype[Any]:
        """How the values lie that `numbers` gives for that datatype."""
        return NUMBERS[datatype].raw if self._raw else NUMBERS[datatype].typed

    def numbers(self, at: int) -> bytes:
        """The values of an input, side by side.

        Raises:
            UnfitError: there is not one a customer.
        """
        datatype = self.datatypes[at]
        expected = self.counts[at] * self.layout(datatype).itemsize
        if not self._raw:
            return self._typed_numbers(at, NUMBERS[datatype], expected)
        if len(self._raw[at]) != expected:
            raise UnfitError(self.path(at), f"must hold {expected} bytes, holds {len(self._raw[at])}")
        return self._raw[at]

    def texts(self, at: int) -> NDArray[np.object_]:
        """The values of an input.

        Raises:
            UnfitError: there is not one a customer, or not all are UTF-8.
        """
        encoded = self._split(at) if self._raw else self._typed(at)
        try:
            return np.array(list(map(_Decoded().__getitem__, encoded)), object)
        except UnicodeDecodeError:
            raise UnfitError(self.path(at), "must hold texts in UTF-8") from None

    def _field(self, at: int) -> str:
        datatype = self.datatypes[at]
        return _TEXT_FIELD if datatype == TEXT else NUMBERS[datatype].field

    def _typed_numbers(self, at: int, number: _Number, expected: int) -> bytes:
        if number.typed.kind != "f":
            return np.asarray(self._typed(at), number.typed).tobytes()
        # Packed floats lie on the wire as they are wanted here.
        values = payload(self._tensors[at].contents, number.field, expected)
        if values is None:
            raise self._unfit(at)
        return values

    def _typed(self, at: int) -> Sequence[Any]:
        contents = self._tensors[at].contents
        values: Sequence[Any] = getattr(contents, self._field(at))
        if len(values) != self.counts[at] or len(contents.ListFields()) > 1:
            raise self._unfit(at)
        return values

    def _unfit(self, at: int) -> UnfitError:
        return UnfitError(self.path(at), f"must hold one value a customer, {self.counts[at]}, beside nothing else")

    def _split(self, at: int) -> list[bytes]:
        """The texts among raw contents."""
        raw, rows = self._raw[at], self.counts[at]
        texts = []
        end = 0
        try:
            for _ in range(rows):
                (length,) = LENGTH.unpack_from(raw, end)
                start = end + LENGTH.size
                end = start + length
                texts.append(raw[start:end])
        except struct.error:
            # Fewer bytes are left than a length takes.
            end = -1
        if end != len(raw):
            raise UnfitError(self.path(at), f"must hold {rows} texts, each after its length in {LENGTH.size} bytes")
        return texts


class UnfitError(Exception):
    """A tensor that does not hold what it says."""

    def __init__(self, path: str, description: str) -> None:
        super().__init__(path)
        self.violation = Violation(path, description)


class _Decoded(dict[bytes, str]):
    """Texts by their encodings. Categories are few and customers many, so each is decoded once."""

    def __missing__(self, encoded: bytes) -> str:
        text = self[encoded] = encoded.decode()
        return text


def _count(shape: Sequence[int]) -> int:
    """N, if the shape is [N] or [N, 1]."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):  # noqa: PLR2004 - dimensions
        return shape[0]
    return _NO_COUNT
