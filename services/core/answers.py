"""From scores to messages: what the answers of all services have in common, and where a model adds its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

from model_registry.schema import Status
from regulars.scoring.v1 import scoring_pb2
from services.wire import fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_registry.columns import Score, Scores

Row = TypeVar("Row", bound=Message)
Table = TypeVar("Table", bound=Message)

_WARNING_KINDS = {
    "out_of_range": scoring_pb2.WARNING_KIND_OUT_OF_RANGE,
    "unseen_category": scoring_pb2.WARNING_KIND_UNSEEN_CATEGORY,
}


class ScoreAnswers(ABC, Generic[Row, Table]):
    """Answers with the scores of one bundle. Made when that is loaded, so that a call looks nothing up in it.

    `Row` and `Table` are the model's own messages for one customer and for many; each has an id, a status and warnings.
    """

    head: Mapping[str, Any]
    """What every response says beside its answer and the version: the horizon, the currency …."""

    def fill_row(self, row: Row, customer_id: str, score: Score) -> None:
        """Fills an empty answer."""
        answer: Any = row  # the fields that all models' answers have
        answer.customer_id = customer_id
        answer.status = int(score.status)
        if score.warnings:
            answer.warnings.extend(
                scoring_pb2.Warning(kind=_WARNING_KINDS[kind], feature=feature) for kind, feature in score.warnings
            )
        if score.status == Status.OK:
            self._fill_scored(row, score)

    def fill_table(self, table: Table, scores: Scores) -> None:
        """Fills an empty answer with all but the ids."""
        answer: Any = table  # the fields that all models' answers have
        answer.warnings.extend(
            scoring_pb2.ColumnWarnings(
                warning=scoring_pb2.Warning(kind=_WARNING_KINDS[warning.kind], feature=warning.feature),
                rows=warning.rows.tolist(),
            )
            for warning in scores.warnings
        )
        fill(table, {"statuses": scores.statuses})
        self._fill_columns(table, scores)

    @abstractmethod
    def _fill_scored(self, row: Row, score: Score) -> None:
        """Adds what the model says of a customer whom it scored."""

    @abstractmethod
    def _fill_columns(self, table: Table, scores: Scores) -> None:
        """Adds what the model says of many customers, one value each, scored or not."""
