from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pyarrow as pa

from services.client.security import UNSECURED
from tests.rehearsal import callers as rehearsal
from tests.rehearsal.callers import INPUTS, ONE, TABLE, Caller, Callers, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    import pytest

CUSTOMERS = pa.table({"customer_id": ["c1", "c2"], "recency_days": [1.0, 2.0]})
ANSWER = SimpleNamespace(model_version=SimpleNamespace(version="1"))


class Faulty:
    """A client whose first question of each sort ends in an error that is none of a call; it stops at the stream."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _fails_at_first(self, what: str) -> None:
        self.asked.append(what)
        if self.asked.count(what) == 1:
            message = "unforeseen"
            raise RuntimeError(message)

    def get_model(self) -> SimpleNamespace:
        self._fails_at_first(INPUTS)
        return SimpleNamespace(model=SimpleNamespace(inputs=[SimpleNamespace(name="recency_days")]))

    def predict(self, *_: object) -> SimpleNamespace:
        self._fails_at_first(ONE)
        return ANSWER

    def batch_predict(self, _: object) -> SimpleNamespace:
        self._fails_at_first(TABLE)
        return ANSWER

    def stream_predict(self, _: Iterable[object]) -> Iterator[SimpleNamespace]:
        self.stop.set()
        return iter([ANSWER])


def test_an_error_that_is_none_of_a_call_is_kept_and_ends_no_calling(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    monkeypatch.setattr(rehearsal, "load_client", lambda _: lambda *_: Faulty(stop))
    monkeypatch.setattr(rehearsal, "PAUSE_SECONDS", 0.0)
    caller = Caller("churn", "", UNSECURED, CUSTOMERS)
    caller.awake.set()
    caller.call_until(stop)
    assert [failure.what for failure in caller.failures] == [
        f"{what}: RuntimeError: unforeseen" for what in (INPUTS, ONE, TABLE)
    ]
    assert caller.answered == {ONE: rehearsal.SINGLES - 1, rehearsal.STREAM: 1}


def test_failures_of_all_models_come_in_the_order_of_time_from_a_time_on() -> None:
    both = Callers(dict.fromkeys(("churn", "cltv"), ("", UNSECURED)), CUSTOMERS)
    early, late = Failure(1.0, "cltv", ONE), Failure(4.0, "churn", ONE)
    between = Failure(3.0, "cltv", ONE)
    both.by_model["churn"].failures.append(late)
    both.by_model["cltv"].failures += [early, between]
    assert both.failures_since(1.0) == [early, between, late]
    assert both.failures_since(2.0) == [between, late]


def test_answers_are_counted_by_model() -> None:
    both = Callers(dict.fromkeys(("churn", "cltv"), ("", UNSECURED)), CUSTOMERS)
    both.by_model["churn"].answered.update({ONE: 2, TABLE: 1})
    assert both.answered_by_model == {"churn": 3, "cltv": 0}
