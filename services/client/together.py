"""Several callers' customers as one table, and each caller's response out of the table's."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from regulars.scoring.v1 import scoring_pb2
from services.client.tables import encode_dictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.methods import Methods

_NUMBERS = {float, int}
"""Types whose values a column takes as they are; of others each value is looked at."""


def put_together(table: scoring_pb2.CustomerTable, customers: Sequence[Mapping[str, float | str | None]]) -> None:
    """Fills an empty table with customers by their features. Their ids there are their places: two callers may ask for
    the same customer.

    A value means what it means in a customer alone: protobuf takes the same ones and rounds them as the server does.

    Raises:
        TypeError: a feature is a number to one caller and a text to another, or neither.
        OverflowError, ValueError: protobuf takes no such number, or text.
    """
    table.ids.extend(map(str, range(len(customers))))
    for name in dict.fromkeys(chain.from_iterable(features.keys() for features in customers)):
        values = [features.get(name) for features in customers]
        if _NUMBERS.issuperset(map(type, values)):
            table.numeric.add(name=name, values=values)
            continue
        given = [value for value in values if value is not None]
        if given and all(isinstance(value, str) for value in given):
            table.categorical.append(encode_dictionary(name, values))
        elif given:
            table.numeric.add(name=name, values=[math.nan if value is None else value for value in values])


class Responses:
    """The response that each customer of a table would have got alone."""

    def __init__(self, methods: Methods, response: Any, fill_scored: Callable[[Any, Any, int], None]) -> None:  # noqa: ANN401 - of any service
        """`response` is that to the table; `fill_scored` is the client's."""
        self._one = methods.one
        beside = [field.name for field in self._one.response.DESCRIPTOR.fields if field.name != self._one.answer]
        self._head = self._one.response(**{name: getattr(response, name) for name in beside})
        self._table = getattr(response, methods.batch.answer)
        self._fill_scored = fill_scored
        self._warnings: defaultdict[int, list[scoring_pb2.Warning]] = defaultdict(list)
        for column in self._table.warnings:
            for row in column.rows:
                self._warnings[row].append(column.warning)

    def of(self, row: int, identifier: str) -> Any:  # noqa: ANN401 - of any service
        """The response to the customer in that row, under the caller's own id."""
        response: Any = self._one.response()
        response.CopyFrom(self._head)
        answer = getattr(response, self._one.answer)
        answer.customer_id = identifier
        answer.status = self._table.statuses[row]
        if row in self._warnings:
            answer.warnings.extend(self._warnings[row])
        if answer.status == scoring_pb2.SCORE_STATUS_OK:
            self._fill_scored(answer, self._table, row)
        return response
