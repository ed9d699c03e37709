"""Servers that copy their calls to a shadow: what the metrics say of it, and that callers never notice."""

from __future__ import annotations

import itertools
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from model_registry.schema import PopulationRule, Status
from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client import ChurnClient, Security, load_client
from services.core.shadow import BACKLOG_CALLS
from tests.support.bundles import SAMPLES, SCHEMA, columns, random_columns, release_bundle
from tests.support.calls import OpenStream, customer_of, features_of, predict, predict_batch, table_of
from tests.support.certificates import authority
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import SUPERVISOR, ServerProcess, running, server_of
from tests.support.tracking import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE = "/regulars.churn.v1.ChurnService/PredictChurn"
MANY = "/regulars.churn.v1.ChurnService/BatchPredictChurn"
OK = scoring_pb2.SCORE_STATUS_OK

EVERYBODY = random_columns(60, seed=3)
EVERYBODY.numeric[:, 1] = (EVERYBODY.numeric[:, 1] - 30) / 15
"""Spread over all bands."""

REQUESTS = [
    *(
        (ONE, churn_pb2.PredictChurnRequest(customer=customer_of(EVERYBODY, row)).SerializeToString())
        for row in range(len(EVERYBODY))
    ),
    (MANY, churn_pb2.BatchPredictChurnRequest(customers=table_of(EVERYBODY)).SerializeToString()),
]


def ask(channel: grpc.Channel, path: str, request: bytes) -> bytes:
    call = channel.unary_unary(path, bytes, bytes)
    return call(request, timeout=PATIENCE_SECONDS)


def answers(server: ServerProcess) -> list[bytes]:
    """To all requests, as they stand on the wire."""
    with server.channel() as channel:
        return [ask(channel, path, request) for path, request in REQUESTS]


def calls(server: ServerProcess, outcome: str = "", **labels: str) -> float:
    wanted = {**labels, **({"outcome": outcome} if outcome else {})}
    return server.metric("regulars_shadow_calls_total", **wanted)


def settle(server: ServerProcess, count: int) -> None:
    """Waits until so many copies have come to something."""
    eventually(lambda: calls(server) == count, f"{count} copies to come to something")


def address(server: ServerProcess) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    release_bundle(tmp_path / "champion", "1", weight=0.01)
    return tmp_path / "champion"


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """Another model, which scores nobody whose last order is 60 days ago."""
    population = (replace(SCHEMA.population[0], maximum=60.0), *SCHEMA.population[1:])
    assert population[0] == PopulationRule("recency_days", Status.INACTIVE, maximum=60.0)
    release_bundle(tmp_path / "candidate", "2", weight=0.03, schema=replace(SCHEMA, population=population))
    return tmp_path / "candidate"


def test_the_metrics_say_exactly_what_differs(champion: Path, candidate: Path) -> None:
    with (
        running(candidate) as shadow,
        running(champion, shadow=address(shadow), shadow_share=1) as server,
    ):
        others = answers(shadow)
        own = answers(server)
        settle(server, len(REQUESTS))
        assert calls(server, "compared", grpc_method="PredictChurn") == len(EVERYBODY)
        assert calls(server, "compared", grpc_method="BatchPredictChurn") == 1

        rows = [
            [churn_pb2.PredictChurnResponse.FromString(answer).prediction for answer in side[:-1]]
            for side in (own, others)
        ]
        # Each customer was asked for twice: alone and in the table.
        pairs = list(zip(*rows, strict=True)) * 2
        both = [(one, other) for one, other in pairs if one.status == other.status == OK]
        scored_by = {
            "both": len(both),
            "own": sum(one.status == OK != other.status for one, other in pairs),
            "shadow": 0,
            "neither": sum(OK not in {one.status, other.status} for one, other in pairs),
        }
        assert min(scored_by["both"], scored_by["own"], scored_by["neither"]) > 0
        for who, count in scored_by.items():
            assert server.metric("regulars_shadow_customers_total", scored_by=who) == count
        disagreements = {
            "status": sum(one.status != other.status for one, other in pairs),
            "risk_band": sum(one.risk_band != other.risk_band for one, other in both),
            "churn_probability": 0,
            "percentile": 0,
        }
        assert min(disagreements["status"], disagreements["risk_band"]) > 0
        for field, count in disagreements.items():
            assert server.metric("regulars_shadow_disagreements_total", field=field) == count
        for field, scale in (("churn_probability", 1), ("percentile", 100)):
            apart = [abs(getattr(one, field) - getattr(other, field)) / scale for one, other in both]
            assert server.metric("regulars_shadow_difference_count", field=field) == len(both)
            assert server.metric("regulars_shadow_difference_sum", field=field) == pytest.approx(sum(apart))
            within = sum(value <= 0.1 for value in apart)
            assert 0 < within < len(both)
            assert server.metric("regulars_shadow_difference_bucket", field=field, le="0.1") == within
        assert server.metric("regulars_shadow_info", version="2") == 1
        assert server.metric("regulars_model_info", version="1") == 1

        release_bundle(candidate, "3", weight=0.01)
        eventually(lambda: shadow.metric("regulars_model_info", version="3") == 1, "another candidate")
        assert answers(server) == own
        settle(server, 2 * len(REQUESTS))
        # One as good as the same.
        assert server.metric("regulars_shadow_disagreements_total") == sum(disagreements.values())
        assert server.metric("regulars_shadow_info") == server.metric("regulars_shadow_info", version="3") == 1


@pytest.mark.parametrize("model", SAMPLES)
def test_a_shadow_of_the_same_bundle_says_the_same(model: str, tmp_path: Path) -> None:
    SAMPLES[model].release(tmp_path, "1")
    with (
        running(tmp_path, command=server_of(model)) as shadow,
        running(tmp_path, command=server_of(model), shadow=address(shadow), shadow_share=1) as server,
        load_client(model)(address(server)) as client,
    ):
        for row in range(10):
            client.predict(f"c{row}", features_of(EVERYBODY, row))
        client.batch_predict(table_of(EVERYBODY))
        settle(server, 11)
        assert calls(server, "compared") == 11
        assert server.metric("regulars_shadow_customers_total") == 10 + len(EVERYBODY)
        assert server.metric("regulars_shadow_disagreements_total") == 0
        scored = server.metric("regulars_shadow_customers_total", scored_by="both")
        fields = set(re.findall(r'regulars_shadow_difference_count\{field="(.*?)"', server.metrics()))
        assert fields
        for field in fields:
            assert server.metric("regulars_shadow_difference_count", field=field) == scored
            # To the bit.
            assert server.metric("regulars_shadow_difference_bucket", field=field, le="0.0") == scored


class Load:
    """Callers who ask on and on, each answer held against that of a server without a shadow."""

    def __init__(self, server: ServerProcess, expected: list[bytes], callers: int = 2) -> None:
        self._server, self._expected = server, expected
        self.asked = 0
        self._stop = False
        self._pool = ThreadPoolExecutor(callers)
        self._callers = [self._pool.submit(self._ask) for _ in range(callers)]

    def _ask(self) -> int:
        with self._server.channel() as channel:
            for number, (path, request) in enumerate(itertools.cycle(REQUESTS)):
                if self._stop:
                    return number
                assert ask(channel, path, request) == self._expected[number % len(REQUESTS)]
                self.asked += 1
        raise AssertionError

    def go_on(self, calls: int = 200) -> None:
        """Until so many more are answered."""
        before = self.asked
        eventually(lambda: self.asked >= before + calls or self._failed(), f"{calls} more answers")

    def _failed(self) -> bool:
        return any(caller.done() for caller in self._callers)

    def end(self) -> int:
        """How many were asked. Raises what a caller met."""
        self._stop = True
        asked = sum(caller.result() for caller in self._callers)
        self._pool.shutdown()
        return asked


@contextmanager
def loaded(server: ServerProcess, expected: list[bytes]) -> Iterator[Load]:
    load = Load(server, expected)
    try:
        yield load
    finally:
        load.end()


@pytest.fixture
def expected(champion: Path) -> list[bytes]:
    """What a server without a shadow answers."""
    with running(champion) as server:
        return answers(server)


def test_a_shadow_that_is_killed_and_comes_back_changes_no_answer(
    champion: Path, candidate: Path, expected: list[bytes]
) -> None:
    port = free_port()
    with running(champion, shadow=f"127.0.0.1:{port}", shadow_share=1) as server, loaded(server, expected) as load:
        load.go_on()
        assert calls(server, "compared") == 0
        with running(candidate, port=port) as shadow:
            eventually(lambda: calls(server, "compared") > 0, "answers of the shadow")
            load.go_on()
            shadow.process.kill()
            load.go_on()
        compared = calls(server, "compared")
        with running(candidate, port=port):
            eventually(lambda: calls(server, "compared") > compared, "answers of the next shadow")
        asked = load.end()
        settle(server, asked)
        assert calls(server, "failed", grpc_code="Unavailable") > 0


def test_a_shadow_that_hangs_changes_no_answer_and_holds_no_drain_up(
    champion: Path, candidate: Path, expected: list[bytes]
) -> None:
    with running(candidate) as shadow, running(champion, shadow=address(shadow), shadow_share=1) as server:
        with loaded(server, expected) as load:
            eventually(lambda: calls(server, "compared") > 0, "answers of the shadow")
            shadow.process.send_signal(signal.SIGSTOP)
            try:
                load.go_on(3 * BACKLOG_CALLS)
                eventually(lambda: calls(server, "failed", grpc_code="DeadlineExceeded") > 0, "the first that is late")
                assert calls(server, "dropped") > 0
                load.end()
                server.terminate()
                assert server.wait() == 0
            finally:
                shadow.process.send_signal(signal.SIGCONT)
        begun, ended = (datetime.fromisoformat(server.events(event)[0]["time"]) for event in ("draining", "stopped"))
        assert (ended - begun).total_seconds() < PATIENCE_SECONDS / 2
        assert [line for line in server.lines if not line.startswith("{")] == []


def test_while_a_drain_pauses_calls_are_copied_as_before(champion: Path, candidate: Path) -> None:
    with (
        running(candidate) as shadow,
        running(champion, shadow=address(shadow), shadow_share=1, drain_pause_seconds=PATIENCE_SECONDS) as server,
    ):
        server.terminate()
        server.wait_for("draining")
        answers(server)
        settle(server, len(REQUESTS))
        assert calls(server, "compared") == len(REQUESTS)
        # Its pause is as long as the patience of a test.
        server.process.kill()


@pytest.mark.parametrize("target", ["127.0.0.1:1", "dns:///nowhere.invalid:50051", "no such address"])
def test_a_shadow_that_there_is_not_changes_no_answer(champion: Path, expected: list[bytes], target: str) -> None:
    with running(champion, shadow=target, shadow_share=1) as server:
        assert answers(server) == expected
        settle(server, len(REQUESTS))
        assert calls(server, "failed") + calls(server, "dropped") == len(REQUESTS)


class Strange(grpc.GenericRpcHandler):
    """A shadow that is no scoring server at all."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: self._answer(request))


def fail(_request: bytes) -> bytes:
    raise ValueError


STRANGE: dict[str, tuple[Callable[[bytes], bytes], dict[str, str]]] = {
    "garbage": (lambda _: b"\xff" * 100, {"outcome": "incomparable"}),
    "nothing": (lambda _: b"", {"outcome": "incomparable"}),
    "an echo": (lambda request: request, {"outcome": "incomparable"}),
    "long": (lambda _: bytes(1_000_000), {"outcome": "incomparable"}),
    "huge": (lambda _: bytes(5_000_000), {"outcome": "failed", "grpc_code": "ResourceExhausted"}),
    "errors": (fail, {"outcome": "failed", "grpc_code": "Unknown"}),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_shadow_that_answers_nonsense_changes_no_answer(champion: Path, expected: list[bytes], kind: str) -> None:
    answer, outcome = STRANGE[kind]
    strange = grpc.server(ThreadPoolExecutor(1), handlers=[Strange(answer)])
    port = strange.add_insecure_port("127.0.0.1:0")
    strange.start()
    with running(champion, shadow=f"127.0.0.1:{port}", shadow_share=1) as server:
        assert answers(server) == expected
        settle(server, len(REQUESTS))
        assert calls(server, **outcome) == len(REQUESTS)
        assert server.metric("regulars_shadow_customers_total") == 0
    strange.stop(None).wait()


def test_two_servers_that_name_each_other_send_each_call_on_once(champion: Path, candidate: Path) -> None:
    ports = free_port(), free_port()
    with (
        running(champion, port=ports[0], shadow=f"127.0.0.1:{ports[1]}", shadow_share=1) as one,
        running(candidate, port=ports[1], shadow=f"127.0.0.1:{ports[0]}", shadow_share=1) as other,
    ):
        for first, then in ((one, other), (other, one)):
            before = calls(then)
            answers(first)
            settle(first, len(REQUESTS))
            assert calls(first, "compared") == len(REQUESTS)
            assert calls(then) == before
        for server in (one, other):
            handled = server.metric("grpc_server_handled_total", grpc_service="regulars.churn.v1.ChurnService")
            assert handled == 2 * len(REQUESTS)


def test_only_calls_for_a_customer_and_for_a_table_are_copied(champion: Path) -> None:
    with (
        running(champion) as shadow,
        running(champion, shadow=address(shadow), shadow_share=1) as server,
        server.channel() as channel,
    ):
        stream = OpenStream(channel)
        assert stream.ask(1, table_of(EVERYBODY)).HasField("predictions")
        stream.end()
        scoring_pb2_grpc.ModelServiceStub(channel).GetModel(scoring_pb2.GetModelRequest(), timeout=PATIENCE_SECONDS)
        with pytest.raises(grpc.RpcError):
            predict(channel, columns((np.nan, 2, "web")))
        predict(channel, EVERYBODY)
        predict_batch(channel, table_of(EVERYBODY))
        settle(server, 2)
        assert calls(server, "compared") == 2
        assert shadow.metric("grpc_server_started_total") == 2


def test_each_worker_has_its_own_and_the_page_adds_them_up(champion: Path, candidate: Path) -> None:
    with (
        running(candidate) as shadow,
        running(champion, command=SUPERVISOR, workers=2, shadow=address(shadow), shadow_share=1) as server,
    ):
        server.wait_for("listening", 2)
        rounds = 5
        for number in range(1, rounds + 1):
            # Over a connection of its own, which the kernel hands to one of the workers.
            answers(server)
            settle(server, number * len(REQUESTS))
        assert calls(server, "compared") == rounds * len(REQUESTS)
        assert server.metric("regulars_shadow_info", version="2") == 1
        assert len(server.events("mirroring")) == 2


def test_a_shadow_behind_certificates_is_shown_the_servers_own(tmp_path: Path, champion: Path) -> None:
    trusted = authority()
    (tmp_path / "ca.crt").write_bytes(trusted.pem)
    certificate, key = trusted.issue().write(tmp_path)
    own: dict[str, Any] = {"tls_certificate": certificate, "tls_key": key}
    client = Security(ca=tmp_path / "ca.crt")
    with ExitStack() as servers:
        shadow = servers.enter_context(running(champion, **own, tls_client_ca=tmp_path / "ca.crt"))
        shadowed: dict[str, Any] = {"shadow": f"localhost:{shadow.port}", "shadow_share": 1}
        ways: list[tuple[dict[str, Any], str, str]] = [
            ({**own, "shadow_ca": tmp_path / "ca.crt"}, "compared", "TLS"),
            ({"shadow_ca": tmp_path / "ca.crt"}, "failed", "TLS"),
            (own, "failed", "clear text"),
        ]
        for settings, outcome, security in ways:
            server = servers.enter_context(running(champion, **shadowed, **settings))
            guarded = client if "tls_key" in settings else Security()
            with ChurnClient(f"localhost:{server.port}", guarded) as caller:
                caller.predict("c0", features_of(EVERYBODY))
            settle(server, 1)
            assert calls(server, outcome) == 1
            (mirroring,) = server.events("mirroring")
            assert mirroring["security"] == security
            # Callers speak TLS, and their copies would not.
            assert mirroring["level"] == ("warning" if settings is own else "info")


def test_without_the_setting_there_is_nothing_of_it(champion: Path) -> None:
    with running(champion) as server:
        answers(server)
        assert calls(server) == 0
        assert not [line for line in server.metrics().splitlines() if line.startswith("regulars_shadow")]
        assert server.events("mirroring") == []
