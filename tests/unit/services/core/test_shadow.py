from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1.scoring_pb2 import SCORE_STATUS_OK, ModelVersion
from services.churn.servicer import SERVICE
from services.core.followed import Followed
from services.core.settings import Settings, SettingsError
from services.core.shadow import (
    BACKLOG_CALLS,
    MARK,
    MOST_TIMES_LONGER,
    SPARE_BYTES,
    Backlog,
    Call,
    Link,
    Mirror,
    shadow_credentials,
)
from tests.support.certificates import authority
from tests.support.metrics import increase, page, series
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.metrics import Series

_models = itertools.count()


def answer(probability: float = 0.5, version: str = "1", **changes: Any) -> bytes:
    prediction = churn_pb2.ChurnPrediction(
        customer_id="c0",
        status=SCORE_STATUS_OK,
        churn_probability=probability,
        percentile=50.0,
        risk_band=churn_pb2.RISK_BAND_HIGH,
    )
    response = churn_pb2.PredictChurnResponse(
        model_version=ModelVersion(name="churn", version=version), prediction=prediction, **changes
    )
    return response.SerializeToString()


class FailedCall(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


class FakeLink(Link):
    """A shadow that answers what it is told to, and when it is let to."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.let_go = threading.Event()
        self.let_go.set()
        self._answers = iter(answers)

    def ask(self, path: str, request: bytes) -> bytes:
        self.asked.append((path, request))
        assert self.let_go.wait(PATIENCE_SECONDS)
        given = next(self._answers)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self) -> None:
        self.let_go.set()


class FakeContext:
    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata


class Mirrored:
    """A handler that answers every request with the same bytes, tapped."""

    def __init__(self, link: FakeLink, share: float = 1.0, own: bytes | None = None) -> None:
        self.model = f"mirrored {next(_models)}"
        self.link = link
        self.mirror = Mirror(self.model, SERVICE, link, share)
        self._own = answer() if own is None else own
        self._handle = self.mirror.tap("PredictChurn", self._answer)
        self._before = page(model=self.model)

    def _answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        if next(requests) == b"refused":
            raise FailedCall(grpc.StatusCode.INVALID_ARGUMENT)
        return self._own

    def call(self, request: bytes = b"request", *metadata: tuple[str, str]) -> bytes:
        context: Any = FakeContext(*metadata)
        return self._handle(iter([request]), context)

    def counted(self) -> dict[Series, float]:
        return increase(self._before, page(model=self.model))

    def calls(self) -> dict[tuple[str, str], float]:
        """By outcome and code."""
        found = [(dict(labels), n) for (name, labels), n in self.counted().items() if name.endswith("calls_total")]
        return {(labels["outcome"], labels["grpc_code"]): count for labels, count in found}

    def settled(self, calls: int) -> dict[tuple[str, str], float]:
        """Once so many have come to something."""
        eventually(lambda: sum(self.calls().values()) == calls, f"{calls} calls to come to something")
        return self.calls()


@pytest.fixture
def mirrored() -> Iterator[Callable[..., Mirrored]]:
    made = []

    def make(*answers: bytes | Exception, **options: Any) -> Mirrored:
        made.append(Mirrored(FakeLink(*answers), **options))
        made[-1].mirror.start()
        return made[-1]

    yield make
    for one in made:
        one.mirror.stop()
        assert one.mirror.is_left_within(PATIENCE_SECONDS)


def test_a_call_is_copied_as_it_came_and_its_answer_compared(mirrored: Callable[..., Mirrored]) -> None:
    one = mirrored(answer(probability=0.75, version="8"))
    assert one.call(b"as it came") == answer()
    assert one.settled(1) == {("compared", "OK"): 1}
    assert one.link.asked == [(f"/{SERVICE}/PredictChurn", b"as it came")]
    counted = one.counted()
    assert counted[series("regulars_shadow_customers_total", scored_by="both")] == 1
    assert counted[series("regulars_shadow_difference_sum", field="churn_probability")] == 0.25
    assert counted[series("regulars_shadow_info", version="8", digest="")] == 1
    assert not [name for name, _ in counted if name == "regulars_shadow_disagreements_total"]


def test_a_call_that_fails_is_not_copied(mirrored: Callable[..., Mirrored]) -> None:
    one = mirrored(answer())
    with pytest.raises(FailedCall):
        one.call(b"refused")
    one.call(b"answered")
    assert one.settled(1) == {("compared", "OK"): 1}
    assert [request for _, request in one.link.asked] == [b"answered"]


def test_a_copy_is_not_copied_again(mirrored: Callable[..., Mirrored]) -> None:
    one = mirrored(answer())
    assert one.call(b"a copy", ("user-agent", "grpc"), (MARK, "1")) == answer()
    one.call(b"a caller's", ("user-agent", "grpc"))
    assert one.settled(1) == {("compared", "OK"): 1}
    assert [request for _, request in one.link.asked] == [b"a caller's"]


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.1, 20, 220), (1.0, 1000, 1000)])
def test_the_share_of_the_calls_is_copied(share: float, least: int, most: int) -> None:
    """Of a thousand calls at a tenth, fewer than 20 or more than 220 come once in 10^21 runs."""
    one = Mirrored(FakeLink(), share=share)
    for _ in range(1000):
        one.call()
    copied = len(one.mirror._backlog._calls) + int(one.calls().get(("dropped", ""), 0))
    assert least <= copied <= most


@pytest.mark.parametrize(
    ("shadow", "outcome"),
    [
        (FailedCall(grpc.StatusCode.UNAVAILABLE), ("failed", "Unavailable")),
        (FailedCall(grpc.StatusCode.DEADLINE_EXCEEDED), ("failed", "DeadlineExceeded")),
        (ValueError("Cannot invoke RPC on closed channel!"), ("failed", "Unknown")),
        (b"\xff\xff\xff\xff", ("incomparable", "OK")),
        (b"", ("incomparable", "OK")),
        (answer(horizon_days=90), ("incomparable", "OK")),
        (answer() * (MOST_TIMES_LONGER + 1 + SPARE_BYTES // len(answer())), ("incomparable", "OK")),
    ],
    ids=["dead", "hanging", "closed", "garbage", "empty", "another question", "huge"],
)
def test_whatever_the_shadow_does_callers_have_their_answers_and_the_next_call_is_compared(
    mirrored: Callable[..., Mirrored], shadow: bytes | Exception, outcome: tuple[str, str]
) -> None:
    one = mirrored(shadow, answer())
    assert [one.call(), one.call()] == [answer()] * 2
    assert one.settled(2) == {outcome: 1, ("compared", "OK"): 1}


def test_a_shadow_that_hangs_makes_nobody_wait_and_what_is_too_much_is_dropped(
    mirrored: Callable[..., Mirrored],
) -> None:
    one = mirrored(*[answer()] * (BACKLOG_CALLS + 1))
    one.link.let_go.clear()
    one.call()
    eventually(lambda: bool(one.link.asked), "the first call to be sent")
    more = 50
    assert [one.call() for _ in range(BACKLOG_CALLS + more)] == [answer()] * (BACKLOG_CALLS + more)
    assert one.calls() == {("dropped", ""): more}
    one.link.let_go.set()
    assert one.settled(BACKLOG_CALLS + 1 + more) == {("dropped", ""): more, ("compared", "OK"): BACKLOG_CALLS + 1}


def test_what_waits_is_dropped_when_it_stops_and_nothing_is_sent_any_more() -> None:
    one = Mirrored(FakeLink(answer()))
    one.link.let_go.clear()
    one.mirror.start()
    for _ in range(5):
        one.call()
    eventually(lambda: bool(one.link.asked), "the first call to be sent")
    one.mirror.stop()
    assert one.call() == answer()
    assert one.mirror.is_left_within(PATIENCE_SECONDS)
    assert one.calls() == {("dropped", ""): 5, ("compared", "OK"): 1}
    assert len(one.link.asked) == 1


def test_a_thread_that_does_not_end_is_told_of() -> None:
    one = Mirrored(FakeLink(answer()))
    one.link.let_go.clear()
    one.mirror.start()
    one.call()
    eventually(lambda: bool(one.link.asked), "the call to be sent")
    one.mirror._backlog.close()
    assert not one.mirror.is_left_within(0.01)
    one.mirror.stop()
    assert one.mirror.is_left_within(PATIENCE_SECONDS)


def test_one_that_never_started_has_left() -> None:
    mirror = Mirrored(FakeLink()).mirror
    mirror.stop()
    assert mirror.is_left_within(0)


MOST_CALLS, MOST_BYTES = 4, 100


@given(st.lists(st.one_of(st.none(), st.integers(0, 120)), max_size=40))
def test_a_backlog_holds_no_more_than_it_may_and_gives_in_the_order_of_coming(steps: list[int | None]) -> None:
    """A number puts a call of so many bytes, None takes one."""
    backlog, held = Backlog(MOST_CALLS, MOST_BYTES), list[Call]()
    for step in steps:
        if step is None:
            if held:
                assert backlog.take() is held.pop(0)
            continue
        call = Call("PredictChurn", bytes(step // 2), bytes(step - step // 2))
        fits = len(held) < MOST_CALLS and sum(other.size for other in held) + step <= MOST_BYTES
        assert backlog.put(call) == fits
        held += [call] * fits
    assert backlog.close() == held
    assert backlog.take() is None
    assert not backlog.put(Call("PredictChurn", b"", b""))


def test_closing_wakes_who_waits_for_a_call() -> None:
    backlog = Backlog()
    taken: list[Call | None] = []
    waiting = threading.Thread(target=lambda: taken.append(backlog.take()))
    waiting.start()
    backlog.close()
    waiting.join(PATIENCE_SECONDS)
    assert taken == [None]


def test_without_authorities_the_shadow_is_spoken_to_in_clear_text() -> None:
    assert shadow_credentials(Settings(shadow="shadow:1")) is None


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing of the kind")
    for path, why in (("ca.crt", "holds no certificate in PEM"), ("missing", "cannot be read")):
        with pytest.raises(SettingsError, match=f"^REGULARS_SHADOW_CA: .*{why}"):
            shadow_credentials(Settings(shadow="shadow:1", shadow_ca=tmp_path / path))


def test_certificates_that_change_open_the_connection_anew(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(authority().pem)
    credentials = shadow_credentials(Settings(shadow="127.0.0.1:1", shadow_ca=tmp_path / "ca.crt"))
    assert isinstance(credentials, Followed)
    link = Link("127.0.0.1:1", credentials, 1024)

    def channel() -> grpc.Channel:
        with pytest.raises(grpc.RpcError):
            link.ask("/service/Method", b"")
        return link._channel

    first = channel()
    assert channel() is first
    (tmp_path / "ca.crt").write_bytes(authority().pem)
    credentials.look()
    assert channel() is not first
    link.close()
