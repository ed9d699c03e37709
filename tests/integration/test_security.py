"""Tokens, TLS and client certificates, as callers of a real server meet them."""

from __future__ import annotations

import queue
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cli import main as command
from services.client import CallError, ChurnClient, Security
from services.core.access import Role, grant, new_token
from tests.support.bundles import columns, probability, release_bundle
from tests.support.calls import Failure, failure_of, features_of
from tests.support.certificates import LONG_AGO, Certificate, authority
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import SUPERVISOR, ServerProcess, running
from tests.support.tracking import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = columns((10, 2, "web"))
CHURN = "regulars.churn.v1.ChurnService"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
HEALTH = "grpc.health.v1.Health"

Metadata = tuple[tuple[str, str], ...]


class Folder:
    """Where a server's bundle, certificates and tokens lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bundles = path / "bundles"
        release_bundle(self.bundles, "1")
        self.authority = authority()
        self.ca = path / "ca.crt"
        self.ca.write_bytes(self.authority.pem)
        self.certificate, self.key = self.authority.issue().write(path)
        self.tokens = path / "tokens"
        self.secrets = {"shop": new_token(), "ops": new_token()}
        self.grant_all()

    @property
    def tls(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    def grant_all(self) -> None:
        lines = [
            grant("shop", Role.SCORE, self.secrets["shop"]).line(),
            grant("ops", Role.ADMIN, self.secrets["ops"]).line(),
        ]
        self.tokens.write_text("".join(lines))

    def token_file(self, name: str) -> Path:
        path = self.path / f"{name}.token"
        path.write_text(self.secrets[name])
        return path

    def security_of(self, caller: Certificate) -> Security:
        certificate, key = caller.write(self.path, "client")
        return Security(ca=self.ca, certificate=certificate, key=key)


@pytest.fixture
def health_port() -> int:
    return free_port()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class Guarded(NamedTuple):
    """A server that asks for tokens, on the loopback address."""

    folder: Folder
    server: ServerProcess
    channel: grpc.Channel

    def bearing(self, name: str) -> Metadata:
        return (("authorization", f"Bearer {self.folder.secrets[name]}"),)

    def call(self, path: str, metadata: Metadata, message: bytes = b"") -> Failure | None:
        """How the call fails, whatever its kind; None if it does not."""
        try:
            for _ in self.channel.stream_stream(path, bytes, bytes)(
                iter([message]), metadata=metadata, timeout=PATIENCE_SECONDS
            ):
                pass
        except grpc.RpcError as error:
            return Failure(error)
        return None


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = Folder(tmp_path_factory.mktemp("guarded"))
    with (
        running(folder.bundles, tokens=folder.tokens, log_level="DEBUG") as server,
        server.channel() as channel,
    ):
        yield Guarded(folder, server, channel)


class AsAdmin(grpc.StreamStreamClientInterceptor):
    """Adds a token to calls of the reflection client, which takes none."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def methods_of_all_services(guarded: Guarded) -> dict[str, list[str]]:
    """What the server itself says it has."""
    channel = grpc.intercept_channel(guarded.channel, AsAdmin(guarded.bearing("ops")))
    database = ProtoReflectionDescriptorDatabase(channel)
    found = {}
    for service in database.get_services():
        file = database.FindFileContainingSymbol(service)
        (described,) = (one for one in file.service if service == f"{file.package}.{one.name}")
        found[service] = [method.name for method in described.method]
    return found


def test_every_method_but_health_asks_for_a_token(guarded: Guarded) -> None:
    services = methods_of_all_services(guarded)
    assert {CHURN, REFLECTION, HEALTH} < set(services)
    for service in set(services) - {HEALTH}:
        for method in services[service]:
            failure = guarded.call(f"/{service}/{method}", ())
            assert failure is not None, (service, method)
            assert (failure.code, failure.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED"), (service, method)


def test_a_score_token_calls_everything_but_reflection(guarded: Guarded) -> None:
    services = methods_of_all_services(guarded)
    for service in set(services) - {HEALTH}:
        for method in services[service]:
            failure = guarded.call(f"/{service}/{method}", guarded.bearing("shop"))
            refused = failure is not None and failure.reason == "FORBIDDEN"
            assert refused == (service == REFLECTION), (service, method)


def test_an_unknown_method_is_unknown_to_holders_of_a_token_alone(guarded: Guarded) -> None:
    for path in (f"/{CHURN}/DropTables", "/regulars.cltv.v1.CltvService/PredictLifetimeValue", "/x"):
        stranger = guarded.call(path, ())
        holder = guarded.call(path, guarded.bearing("shop"))
        assert stranger is not None
        assert holder is not None
        assert (stranger.code, holder.code) == ("UNAUTHENTICATED", "UNIMPLEMENTED")


def test_what_a_stranger_sends_is_not_read(guarded: Guarded) -> None:
    stranger = guarded.call(f"/{CHURN}/BatchPredictChurn", (), b"\xff" * 3_000_000)
    assert stranger is not None
    assert stranger.reason == "UNAUTHENTICATED"
    waiting = guarded.channel.stream_stream(f"/{CHURN}/PredictChurn", bytes, bytes)(
        iter(queue.SimpleQueue[bytes]().get, None), timeout=PATIENCE_SECONDS
    )
    assert failure_of(lambda: next(waiting)).reason == "UNAUTHENTICATED"


def test_health_is_open(guarded: Guarded) -> None:
    stub: Any = health_pb2_grpc.HealthStub(guarded.channel)
    for service in ("", CHURN):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_neither_answers_nor_logs_nor_metrics_tell_a_token(guarded: Guarded) -> None:
    wrong = new_token()
    assert guarded.call(f"/{CHURN}/PredictChurn", guarded.bearing("shop"), b"\xff") is not None
    failure = guarded.call(f"/{CHURN}/PredictChurn", (("authorization", f"Bearer {wrong}"),))
    assert failure is not None
    page = guarded.server.metrics()
    assert 'grpc_code="Unauthenticated"' in page
    assert 'regulars_token_calls_total{token="shop"}' in page
    told = [failure.text, str(failure.trailers), page, guarded.server.text()]
    digests = [grant("x", Role.SCORE, token).digest.hex() for token in (*guarded.folder.secrets.values(), wrong)]
    for secret in (*guarded.folder.secrets.values(), wrong, *digests):
        assert not any(secret in text for text in told)


def test_the_client_calls_with_its_token_and_follows_it(folder: Folder) -> None:
    token = folder.token_file("shop")
    with (
        running(folder.bundles, tokens=folder.tokens) as server,
        ChurnClient(f"127.0.0.1:{server.port}", Security(token=token)) as client,
        ChurnClient(f"127.0.0.1:{server.port}") as stranger,
    ):
        assert client.get_model().model_version.version == "1"
        assert list(client.stream_predict([])) == []
        with pytest.raises(CallError) as refused:
            stranger.get_model()
        assert (refused.value.code.name, refused.value.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        # A new token beside the old one, handed to the client, and the old one withdrawn.
        fresh = new_token()
        line = grant("shop", Role.SCORE, fresh).line()
        folder.tokens.write_text(folder.tokens.read_text() + line)
        server.wait_for("read anew")
        token.write_text(fresh)
        assert client.get_model().model_version.version == "1"
        folder.tokens.write_text(line)
        server.wait_for("read anew", 2)
        assert client.get_model().model_version.version == "1"
        token.write_text(folder.secrets["shop"])
        with pytest.raises(CallError) as refused:
            client.predict("a", features_of(GOOD))
        assert refused.value.reason == "UNAUTHENTICATED"


def test_a_damaged_file_of_tokens_locks_nobody_out_and_lets_nobody_in(folder: Folder) -> None:
    with (
        running(folder.bundles, tokens=folder.tokens) as server,
        ChurnClient(f"127.0.0.1:{server.port}", Security(token=folder.token_file("shop"))) as client,
        ChurnClient(f"127.0.0.1:{server.port}") as stranger,
    ):
        folder.tokens.write_text("")
        (event,) = server.wait_for("cannot be read, keeping what was read before")
        assert (event["setting"], event["level"]) == ("REGULARS_TOKENS", "error")
        assert server.metric("regulars_setting_stale", setting="REGULARS_TOKENS") == 1
        assert client.get_model().model_version.version == "1"
        with pytest.raises(CallError):
            stranger.get_model()
        folder.grant_all()
        eventually(lambda: server.metric("regulars_setting_stale", setting="REGULARS_TOKENS") == 0, "the mending")


def test_callers_show_a_certificate_of_an_authority_that_the_server_knows(folder: Folder) -> None:
    other = authority("another")
    with running(folder.bundles, **folder.tls, tls_client_ca=folder.ca) as server:
        target = f"127.0.0.1:{server.port}"
        with ChurnClient(target, folder.security_of(folder.authority.issue("caller"))) as client:
            answer = client.predict("a", features_of(GOOD))
            assert answer.prediction.churn_probability == pytest.approx(probability(10, 2, "web"))
        for refused in (
            Security(),
            Security(ca=folder.ca),
            folder.security_of(other.issue("stranger")),
            folder.security_of(folder.authority.issue("expired", LONG_AGO)),
        ):
            with ChurnClient(target, refused) as client, pytest.raises(CallError) as failed:
                client.predict("a", features_of(GOOD))
            assert failed.value.code is grpc.StatusCode.UNAVAILABLE
        # Handshakes that fail are everybody's to bring about, and fill no log.
        assert all(line.startswith("{") for line in server.lines)


def test_a_client_takes_no_other_server_for_its_own(folder: Folder) -> None:
    with running(folder.bundles, **folder.tls) as server:
        other = folder.path / "other.crt"
        other.write_bytes(authority("another").pem)
        for target, ca in ((f"127.0.0.1:{server.port}", other), (f"127.0.0.2:{server.port}", folder.ca)):
            with ChurnClient(target, Security(ca=ca)) as client, pytest.raises(CallError) as failed:
                client.get_model()
            assert failed.value.code is grpc.StatusCode.UNAVAILABLE


def served_certificate(server: ServerProcess, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a new handshake shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection,
        context.wrap_socket(connection) as secured,
    ):
        return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"").encode()


def test_versions_of_tls_from_1_2_on_are_spoken(folder: Folder) -> None:
    with running(folder.bundles, **folder.tls) as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert served_certificate(server, version) == folder.certificate.read_bytes()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises((ssl.SSLError, ConnectionError)):
            served_certificate(server, ssl.TLSVersion.TLSv1_1)


def test_a_certificate_rotates_as_kubernetes_does_it_and_no_call_fails(folder: Folder) -> None:
    mount = folder.path / "mount"
    mount.mkdir()
    pairs = [folder.authority.issue() for _ in range(2)]
    for number, pair in enumerate(pairs):
        (mount / f"..{number}").mkdir()
        pair.write(mount / f"..{number}")
    (mount / "..data").symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    with (
        running(folder.bundles, tls_certificate=mount / "tls.crt", tls_key=mount / "tls.key") as server,
        ChurnClient(f"127.0.0.1:{server.port}", Security(ca=folder.ca)) as client,
    ):
        assert served_certificate(server) == pairs[0].pem
        assert client.get_model().model_version.version == "1"
        (mount / "..fresh").symlink_to("..1")
        (mount / "..fresh").replace(mount / "..data")
        server.wait_for("read anew")
        assert served_certificate(server) == pairs[1].pem
        assert client.get_model().model_version.version == "1"
        with ChurnClient(f"localhost:{server.port}", Security(ca=folder.ca)) as another:
            assert another.get_model().model_version.version == "1"


def test_a_half_written_rotation_keeps_the_last_good_pair(folder: Folder) -> None:
    first, second = folder.authority.issue(), folder.authority.issue()
    first.write(folder.path)
    with running(folder.bundles, **folder.tls) as server:
        folder.certificate.write_bytes(second.pem)
        (event,) = server.wait_for("cannot be read, keeping what was read before")
        assert event["reason"] == "the key in REGULARS_TLS_KEY is not the certificate's"
        assert server.metric("regulars_setting_stale", setting="REGULARS_TLS_CERTIFICATE") == 1
        assert served_certificate(server) == first.pem
        folder.key.write_bytes(second.key_pem())
        server.wait_for("read anew")
        assert served_certificate(server) == second.pem
        assert server.metric("regulars_setting_stale", setting="REGULARS_TLS_CERTIFICATE") == 0
        expiry = second.certificate.not_valid_after_utc.timestamp()
        assert server.metric("regulars_certificate_expiry_seconds") == expiry


def test_a_new_authority_of_callers_rotates_too(folder: Folder) -> None:
    new = authority("new")
    with running(folder.bundles, **folder.tls, tls_client_ca=folder.ca) as server:
        folder_ca = folder.path / "servers.crt"
        folder_ca.write_bytes(folder.authority.pem)
        folder.ca.write_bytes(new.pem)
        server.wait_for("read anew")
        target = f"127.0.0.1:{server.port}"
        certificate, key = new.issue("caller").write(folder.path, "new")
        with ChurnClient(target, Security(ca=folder_ca, certificate=certificate, key=key)) as client:
            assert client.get_model().model_version.version == "1"
        certificate, key = folder.authority.issue("caller").write(folder.path, "old")
        old = Security(ca=folder_ca, certificate=certificate, key=key)
        with ChurnClient(target, old) as client, pytest.raises(CallError):
            client.get_model()


def test_health_stands_alone_in_clear_text_on_its_own_port(folder: Folder, health_port: int) -> None:
    with running(
        folder.bundles, **folder.tls, tls_client_ca=folder.ca, tokens=folder.tokens, health_port=health_port
    ) as server:
        with grpc.insecure_channel(f"127.0.0.1:{health_port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            for path in (f"/{CHURN}/PredictChurn", f"/{REFLECTION}/ServerReflectionInfo", f"/{HEALTH}/List"):
                call = channel.unary_unary(path, bytes, bytes)
                assert failure_of(lambda call=call: call(b"")).code == "UNIMPLEMENTED"  # type: ignore[misc]  # one each
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=CHURN), timeout=PATIENCE_SECONDS)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            server.terminate()
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.wait() == 0


def test_a_flood_of_the_main_port_leaves_the_health_port_alone(folder: Folder, health_port: int) -> None:
    with running(folder.bundles, health_port=health_port) as server, server.channel() as channel:
        call = channel.stream_stream(f"/{HEALTH}/Check", bytes, bytes)
        held = [call(iter(queue.SimpleQueue[bytes]().get, None)) for _ in range(100)]
        with grpc.insecure_channel(f"127.0.0.1:{health_port}") as probes:
            stub: Any = health_pb2_grpc.HealthStub(probes)
            for _ in range(10):
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for one in held:
            one.cancel()


def test_workers_share_what_guards_the_port(folder: Folder, health_port: int) -> None:
    with running(
        folder.bundles,
        command=SUPERVISOR,
        workers=2,
        **folder.tls,
        tls_client_ca=folder.ca,
        tokens=folder.tokens,
        health_port=health_port,
    ) as server:
        server.wait_for("listening", 2)
        known = folder.security_of(folder.authority.issue("caller"))
        holder = Security(ca=known.ca, certificate=known.certificate, key=known.key, token=folder.token_file("shop"))
        for _ in range(8):
            with ChurnClient(f"127.0.0.1:{server.port}", holder) as client:
                assert client.get_model().model_version.version == "1"
            with ChurnClient(f"127.0.0.1:{server.port}", known) as client, pytest.raises(CallError) as failed:
                client.get_model()
            assert failed.value.reason == "UNAUTHENTICATED"
        with grpc.insecure_channel(f"127.0.0.1:{health_port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert server.metric("regulars_token_calls_total", token="shop") == 8
        assert server.metric("regulars_certificate_expiry_seconds") > 0


def test_the_command_scores_through_a_guarded_server(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    customers = folder.path / "customers.csv"
    customers.write_text("customer_id,recency_days,frequency,channel\na,10,2,web\n")
    caller_certificate, caller_key = folder.authority.issue("caller").write(folder.path, "caller")
    words = ["score", "churn", "--input", str(customers), "--output", str(folder.path / "scores")]
    secured = ["--ca", str(folder.ca), "--certificate", str(caller_certificate), "--key", str(caller_key)]
    with running(folder.bundles, **folder.tls, tls_client_ca=folder.ca, tokens=folder.tokens) as server:
        words += ["--target", f"127.0.0.1:{server.port}"]
        assert command.main([*words, *secured]) == command.EXIT_FAILED
        assert "UNAUTHENTICATED" in capsys.readouterr().err
        assert command.main([*words, *secured, "--token", str(folder.token_file("shop"))]) == 0
        assert command.main([*words, "--token", str(folder.token_file("shop"))]) == command.EXIT_FAILED


def started(folder: Folder, **settings: Any) -> list[tuple[str, str]]:
    """Level and event of what a server says of who may call."""
    with running(folder.bundles, **settings) as server:
        server.terminate()
        assert server.wait() == 0
        return [(event["level"], event["event"]) for event in server.events("whoever reaches the port may score")]


def test_a_server_that_anybody_may_call_says_so(folder: Folder) -> None:
    said = "whoever reaches the port may score"
    assert started(folder) == [("info", said)]
    assert started(folder, host="0.0.0.0") == [("warning", said)]
    assert started(folder, host="0.0.0.0", **folder.tls) == [("warning", said)]
    assert started(folder, host="0.0.0.0", **folder.tls, tokens=folder.tokens) == []
    assert started(folder, host="0.0.0.0", **folder.tls, tls_client_ca=folder.ca) == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"TLS_CERTIFICATE": "tls.crt"}, "give both or neither"),
        ({"TLS_CERTIFICATE": "tls.crt", "TLS_KEY": "missing"}, "missing cannot be read: No such file"),
        ({"TLS_CERTIFICATE": "tls.crt", "TLS_KEY": "ca.key"}, "the key in REGULARS_TLS_KEY is not the certificate's"),
        ({"TOKENS": "ca.crt"}, "line 1 is not a name"),
        ({"TOKENS": "tokens", "HOST": "0.0.0.0"}, "in clear text to 0.0.0.0"),
    ],
)
def test_a_server_that_cannot_be_as_secure_as_asked_does_not_start(
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    why: str,
) -> None:
    folder.authority.write(folder.path, "ca")
    monkeypatch.chdir(folder.path)
    for name, value in settings.items():
        monkeypatch.setenv(f"REGULARS_{name}", value)
    assert command.main(["serve", "churn", "--bundles", str(folder.bundles), "--port", "0"]) == command.EXIT_FAILED
    assert why in capsys.readouterr().err
