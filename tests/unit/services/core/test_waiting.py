from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from services.core.admission import Gate
from services.core.errors import CANCELLED, Refusal
from services.core.waiting import Messages
from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    import grpc


class StubbornContext:
    """A call that its server has cancelled, and that goes on for a while as if it had not."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_who_goes_on_after_taking_no_answers_waits_for_no_further_message() -> None:
    context = StubbornContext()
    stream = Messages(iter([b"first", b"second"]), cast("grpc.ServicerContext", context), Gate(), idle_seconds=0.1)
    with stream.read() as messages:
        assert next(messages) == b"first"
        # As long as this thread waits in gRPC, it asks for nothing.
        assert context.cancelled.wait(PATIENCE_SECONDS)
        stream._idle_seconds = PATIENCE_SECONDS
        with pytest.raises(Refusal) as refusal:
            next(messages)
        assert refusal.value.kind is CANCELLED
