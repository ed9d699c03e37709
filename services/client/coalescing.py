"""Calls for one customer each, made at the same time, sent as few calls for many.

A call that finds fewer than `IN_FLIGHT` out is sent at once. Who comes later waits until one is back; then the first of
those who wait sends for his share of all callers. So no timer delays a call, and tables grow as the callers do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import TIMEOUT_MAX, Lock
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from services.client.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FLIGHT = 2
"""Calls out before others wait: the server answers one while the table of the other is made. Two callers never wait."""

MOST = 100
"""Customers in a table: about a millisecond of a server's time, which is what the first of them waits for the last."""

PATIENCE_SECONDS = 0.01
"""How long a call waits for those that are out: longer than servers take for a table, short where one has hung."""

Question = TypeVar("Question")
Answer = TypeVar("Answer")

Answers = Callable[[int], Answer]
"""The answer to the question at that place."""


def _held_lock() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class _Call(Generic[Question, Answer]):
    """A caller's question, and when he gives it up.

    `turn` is released once: when he `leads`, or when somebody else has asked for him. `outcome` is then what came of
    that for the question at `place`; None leaves him to ask by himself.
    """

    question: Question
    deadline: float
    until: float
    turn: Lock = field(default_factory=_held_lock)
    leads: bool = False
    outcome: Answers[Answer] | CallError | None = None
    place: int = 0
    followers: Sequence[_Call[Question, Answer]] = ()
    """For whom he asks, who leads."""

    @property
    def seconds_left(self) -> float:
        return min(max(0.0, self.until - monotonic()), TIMEOUT_MAX)


class Coalescer(Generic[Question, Answer]):
    """Asks one question a caller, several together where callers meet. Safe to share between threads."""

    def __init__(
        self,
        ask_alone: Callable[[Question, float], Answer],
        ask_together: Callable[[Sequence[Question], float], Answers[Answer]],
    ) -> None:
        """Both take what is asked and the seconds for it, and raise CallError where the call fails.

        Whatever may be the fault of one question, or of their number, is left to `ask_alone` to tell each caller.
        """
        self._ask_alone = ask_alone
        self._ask_together = ask_together
        self._lock = Lock()
        # Somebody waits only while `IN_FLIGHT` are out, the oldest first.
        self._out: deque[_Call[Question, Answer]] = deque()
        self._waiting: deque[_Call[Question, Answer]] = deque()
        self._most = self._limit = MOST
        self._closed = False

    def ask(self, question: Question, deadline: float) -> Answer:
        """The answer, within `deadline` seconds. Raises what asking alone raises."""
        call = _Call[Question, Answer](question, deadline, monotonic() + deadline)
        with self._lock:
            waits = len(self._out) >= IN_FLIGHT
            (self._waiting if waits else self._out).append(call)
        if waits:
            self._wait(call)
            if not call.leads:
                return self._answer(call)
        return self._lead(call)

    def close(self) -> None:
        """Ends the calls that wait; those that are out are their channel's."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.turn.release()

    def _wait(self, call: _Call[Question, Answer]) -> None:
        """Until its turn. Who loses patience takes the place of the oldest that is out, which may have hung."""
        try:
            if call.turn.acquire(timeout=PATIENCE_SECONDS):
                return
            with self._lock:
                if call in self._waiting:
                    self._waiting.remove(call)
                    self._out.popleft()
                    self._out.append(call)
                    call.leads = True
            # Who does not lead now was taken along. Who took him may be interrupted before he has released him.
            if not call.leads:
                call.turn.acquire(timeout=call.seconds_left)
        except BaseException:
            self._leave(call)
            raise

    def _leave(self, call: _Call[Question, Answer]) -> None:
        """Of a caller who is interrupted: nobody shall hand him the lead, and if he has it, it goes on."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
        self._pass_on(call)

    def _lead(self, call: _Call[Question, Answer]) -> Answer:
        """Asks for a caller and for all who wait."""
        try:
            self._gather(call)
            if not call.followers:
                return self._ask_alone(call.question, call.seconds_left)
            self._ask_for([call, *call.followers])
        finally:
            for follower in call.followers:
                follower.turn.release()
            # After them, so that those who come again at once are in the next table.
            self._pass_on(call)
        return self._answer(call)

    def _gather(self, call: _Call[Question, Answer]) -> None:
        """Takes along those who wait for as long as the call does: a short deadline would end the others' early."""
        with self._lock:
            if not self._waiting:
                return
            # Tables of one size: in turns, one is made and read while the server answers the other.
            callers = len(self._waiting) + sum(1 + len(out.followers) for out in self._out)
            most = min(self._most, math.ceil(callers / IN_FLIGHT))
            followers, left = list[_Call[Question, Answer]](), deque[_Call[Question, Answer]]()
            for other in self._waiting:
                fits = other.deadline == call.deadline and 1 + len(followers) < most
                (followers if fits else left).append(other)
            # At once: no interrupt finds somebody who neither waits nor follows.
            call.followers, self._waiting = followers, left

    def _ask_for(self, calls: Sequence[_Call[Question, Answer]]) -> None:
        outcome: Answers[Answer] | CallError | None = None
        try:
            seconds = min(call.seconds_left for call in calls)
            outcome = self._ask_together([call.question for call in calls], seconds)
            if len(calls) == self._most:
                # What was too large may not be so any more.
                self._most = min(self._limit, self._most + 1)
        except CallError as error:
            if _exceeds_a_limit(error):
                self._most = max(1, len(calls) // 2)
                if "customers.ids" in error.violations:
                    # The server's own number, which stays.
                    self._limit = self._most
            elif error.code not in _FAULT_OF_ONE:
                outcome = error
        except Exception:  # noqa: BLE001, S110 - what cannot be sent together, and each finds out for himself
            pass
        for place, call in enumerate(calls):
            # The place first: who has run out of time looks at the outcome without being released.
            call.place = place
            call.outcome = outcome

    def _answer(self, call: _Call[Question, Answer]) -> Answer:
        outcome = call.outcome
        if isinstance(outcome, CallError):
            # Each caller his own: a raised exception collects where it was raised.
            raise replace(outcome) from outcome.__cause__
        if outcome is not None:
            return outcome(call.place)
        if self._closed:
            raise CallError(grpc.StatusCode.CANCELLED, "the client was closed", "", {})
        return self._ask_alone(call.question, call.seconds_left)

    def _pass_on(self, call: _Call[Question, Answer]) -> None:
        """Hands the lead to the first who waits, unless somebody has taken the call's place already."""
        with self._lock:
            if call not in self._out:
                return
            self._out.remove(call)
            if not self._waiting:
                return
            following = self._waiting.popleft()
            self._out.append(following)
            following.leads = True
        following.turn.release()


_FAULT_OF_ONE = {
    # A customer who does not fit, or whose score is no number.
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.INTERNAL,
    # The earliest of them; and servers refuse a table for which the time is short.
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def _exceeds_a_limit(error: CallError) -> bool:
    """Whether the server takes fewer customers in a table, or fewer bytes, which gRPC refuses without a reason."""
    return "customers.ids" in error.violations or (
        error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason
    )
