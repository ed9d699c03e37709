"""How far two answers to one call lie apart, read off the proto, whatever the service and however many the customers.

A field is named as in the answer for one customer (`risk_band`); in a table its plural is a column (`risk_bands`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from regulars.scoring.v1 import scoring_pb2
from services.methods import methods_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from numpy.typing import NDArray

    from services.methods import Method

Columns = dict[str, "NDArray[Any]"]
"""By field, one entry a customer."""

ID, STATUS, PERCENTILE, CATEGORY = "customer_id", "status", "percentile", "category"

_NOBODY = np.zeros(0)

_NUMBERS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}


class IncomparableError(Exception):
    """Answers to other customers, of another model, or that speak of something else."""


@dataclass(frozen=True)
class Comparison:
    """Of two answers about the same N customers, M of whom both scored.

    `own` and `other` (N,) are who was scored. `disagreements` counts customers by field: for the status among all, for
    any other field among the M. `differences` (M,) are those of numbers, as `difference` measures them.
    """

    own: NDArray[np.bool_]
    other: NDArray[np.bool_]
    disagreements: dict[str, int]
    differences: Columns


class Comparer:
    """Compares the answers of one service."""

    def __init__(self, service: str) -> None:
        """`service` is the full name in the proto."""
        one, many = methods_of(service).one, methods_of(service).batch
        self._methods = {method.name: method for method in (one, many)}
        self._fields = _Fields(_answer_of(one), _answer_of(many))

    @property
    def methods(self) -> tuple[str, ...]:
        """Those whose answers can be compared."""
        return tuple(self._methods)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of all answers of the service; those for each category of a bundle stand beside them."""
        return tuple(self._fields.plain)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Those of them that are numbers."""
        return tuple(name for name, field in self._fields.plain.items() if field.cpp_type in _NUMBERS)

    def compare(self, method: str, own: Message, other: Message) -> Comparison:
        """Compares two responses to one call of the method.

        Raises:
            IncomparableError: there is nothing to compare.
            IndexError: a table names a tier that it does not list.
        """
        if _head(own) != _head(other):
            raise IncomparableError("they speak of something else")
        answers = [getattr(response, self._methods[method].answer) for response in (own, other)]
        if self._fields.ids(answers[0]) != self._fields.ids(answers[1]):
            raise IncomparableError("they speak of other customers")
        mine, others = map(self._fields.read, answers)
        return _compare(mine, others, self._fields.plain)


@dataclass(frozen=True)
class _Column:
    """Where a field stands in a message, and the list of names there whose places it tells, if it does."""

    field: str
    name: str
    repeated: bool
    has_presence: bool
    listed: str | None

    def read(self, answer: Any) -> NDArray[Any]:  # noqa: ANN401 - of any service
        """Its values, (1,) or (N,); (0,) where it is absent."""
        if self.has_presence and not answer.HasField(self.name):
            return _NOBODY
        values: NDArray[Any] = np.asarray(getattr(answer, self.name) if self.repeated else [getattr(answer, self.name)])
        if self.listed is None:
            return values
        # A customer without a name, -1, takes the last.
        names = np.array([*getattr(answer, self.listed), None], np.object_)
        return names.take(values)


class _Fields:
    """The fields of `one`, a message about one customer, that stand as columns in `many`, one about many."""

    def __init__(self, one: Descriptor, many: Descriptor) -> None:
        self._one = one
        names = {name: plural for name in one.fields_by_name if (plural := _plural_of(name, many))}
        fields = {name: one.fields_by_name[name] for name in names}
        self.plain = {
            name: field for name, field in fields.items() if not field.message_type and name not in {ID, CATEGORY}
        }
        self._columns = {
            True: [_column(name, one, name) for name in self.plain],
            False: [_column(name, many, names[name]) for name in self.plain],
        }
        self._ids = {True: ID, False: names.get(ID, "")}
        self._parts = {
            name: _Fields(part, parts)
            for name, field in fields.items()
            # Warnings have none: they tell of a version's training data.
            if (part := field.message_type) and CATEGORY in part.fields_by_name
            if (parts := many.fields_by_name[name].message_type)
        }

    def ids(self, answer: Message) -> Any:  # noqa: ANN401 - a text, or a column of them
        return getattr(answer, self._ids[answer.DESCRIPTOR is self._one])

    def read(self, answer: Message) -> Columns:
        """What the answer says; fields of which it says nothing are left out.

        Raises:
            IncomparableError: its columns are not of one length.
        """
        columns = dict(self._said(answer))
        if len({len(column) for column in columns.values()}) > 1:
            raise IncomparableError("the columns of one are not of one length")
        return columns

    def _said(self, answer: Message, suffix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
        for column in self._columns[answer.DESCRIPTOR is self._one]:
            values = column.read(answer)
            if len(values):
                yield column.field + suffix, values
        for name, fields in self._parts.items():
            for part in getattr(answer, name):
                yield from fields._said(part, f"[{getattr(part, CATEGORY)}]")  # noqa: SLF001 - of the same class


def difference(name: str, own: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """How far numbers lie apart, in shares, 0 to 2, (M,).

    Percentiles as shares of the reference base; other numbers absolutely up to 1, so that probabilities are told in
    points, and beyond 1, where money is, as a share of the larger of the two.
    """
    own, other = own.astype(np.float64), other.astype(np.float64)
    scale = 100.0 if name == PERCENTILE else np.maximum(1.0, np.maximum(np.abs(own), np.abs(other)))
    return np.abs(own / scale - other / scale)


def _compare(own: Columns, other: Columns, plain: Collection[str]) -> Comparison:
    """`plain` are the fields of every answer. What another bundle calls its categories is no label of ours."""
    statuses = own.get(STATUS, _NOBODY), other.get(STATUS, _NOBODY)
    if len(statuses[0]) != len(statuses[1]):
        raise IncomparableError("they speak of other customers")
    scored = [status == scoring_pb2.SCORE_STATUS_OK for status in statuses]
    both = scored[0] & scored[1]
    disagreements, differences = {STATUS: int(np.count_nonzero(statuses[0] != statuses[1]))}, {}
    for name in own.keys() - {STATUS}:
        if name not in other:
            disagreements[name] = int(np.count_nonzero(both))
            continue
        mine, others = own[name][both], other[name][both]
        if mine.dtype.kind == "f":
            said = np.isfinite(mine), np.isfinite(others)
            disagreements[name] = int(np.count_nonzero(said[0] != said[1]))
            differences[name] = difference(name, mine[said[0] & said[1]], others[said[0] & said[1]])
        else:
            disagreements[name] = int(np.count_nonzero(mine != others))
    for name in (other.keys() - own.keys()) & set(plain):
        disagreements[name] = int(np.count_nonzero(both))
    return Comparison(scored[0], scored[1], disagreements, differences)


def _head(response: Any) -> list[Any]:  # noqa: ANN401 - of any method
    """What a response says of all its scores: the model, the horizon, the currency …."""
    head = [(field.name, value) for field, value in response.ListFields() if not field.message_type]
    return [response.model_version.name, *head]


def _column(field: str, message: Descriptor, name: str) -> _Column:
    found, listed = message.fields_by_name[name], f"{field}_names"
    return _Column(
        field, name, found.is_repeated, found.has_presence, listed if listed in message.fields_by_name else None
    )


def _plural_of(name: str, many: Descriptor) -> str | None:
    """The plural of a field's name, if the other message has it."""
    plurals = (name, f"{name}s", f"{name}es", f"{name.removesuffix('y')}ies")
    return next((plural for plural in plurals if plural in many.fields_by_name), None)


def _answer_of(method: Method) -> Any:  # noqa: ANN401 - a descriptor of either kind
    return method.response.DESCRIPTOR.fields_by_name[method.answer].message_type
