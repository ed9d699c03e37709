"""A model server: the composition root of one process, and its life from start to drain."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection
from prometheus_client import REGISTRY, start_http_server

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.core import logs
from services.core.access import Doorkeeper, Role, counted_grants
from services.core.admission import Gate, Lane
from services.core.endpoints import Endpoints, Lanes
from services.core.followed import Followed, Follower
from services.core.health import Health
from services.core.manager import ModelManager
from services.core.metrics import LaneMetrics
from services.core.model_service import ModelServicer
from services.core.open_inference import SERVICE as OPEN_INFERENCE
from services.core.open_inference import OpenInferenceServicer
from services.core.scorer import Scorer
from services.core.service import load_service
from services.core.servicer import Servicer
from services.core.settings import SettingsError, is_loopback
from services.core.shadow import Link, Mirror, shadow_credentials
from services.core.stop_signal import StopSignal
from services.core.tls import ServerTls
from services.core.tracing import check_tracer, start_tracer
from services.core.waiting import Patience
from services.core.worker_metrics import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from services.core.access import Grant
    from services.core.settings import Settings

REFLECTION_CALLS = 4
"""Reflection streams at once: they are for people with a command line."""

PROBE_CALLS = 8
"""Probes of the Open Inference Protocol at once."""

THREADS = 4
"""Of a lane. One call at a time has the interpreter; the others wait for their message, or run the graph. More threads
would only keep gRPC's own from reading what comes."""

BULK_NICENESS = 10
"""Of the threads of streams: whoever waits for one customer's score has the core first."""

LEAVING_SECONDS = 1.0
"""What calls that were given up may take to notice."""

MAX_METADATA_BYTES = 16 * 1024
"""Of one call's headers; a token takes a hundred, what proxies add some hundreds more."""

AHEAD_BYTES = 256 * 1024
"""Two tables of a thousand customers. A quarter of it made streams 5 % slower, four times as much made none faster."""

HANDSHAKE_MILLISECONDS = 10_000
"""From a connection's beginning to its first HTTP/2 frame; gRPC gives two minutes to whoever says nothing."""

REFUSING_SECONDS = 0.1
"""Between the gate's closing and the connections': calls that are under way get our own answer. Once it closes
connections, gRPC answers those that still come CANCELLED, which most callers do not make again. Callers with one
connection would spend all their attempts on this server if it took longer."""

SPANS_SECONDS = 3.0
"""What a collector may take for the last spans, within the grace: a server that drains does not wait for one that
hangs."""

KNOWN_GRPC = "1.85."
"""How the versions of gRPC begin of which the private part that `inline` needs has been tried."""

LOOK_SECONDS = 0.02
"""How often a server that is to listen asks whether it may."""

_log = logging.getLogger(__name__)


class ModelServer:
    """One process's server for one model."""

    def __init__(self, model: str, settings: Settings) -> None:
        service = load_service(model)
        self._model = model
        self._settings = settings
        services = (service.SERVICE, scoring_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name, OPEN_INFERENCE)
        self._health = Health(services)
        self._gate = Gate()
        self._manager = ModelManager(
            settings.bundles,
            model,
            max_rows=settings.max_rows,
            answers=service.Answers,
            on_available=self._health.announce_serving,
        )
        tls, tokens, shadow = _tls(settings), _tokens(settings), shadow_credentials(settings)
        self._follower = Follower([files.look for files in (tls, tokens, shadow) if files], settings.poll_seconds)
        self._patience = Patience()
        self._server = _open_server(settings, self._patience, _doorkeeper(tokens, services) if tokens else None)
        endpoint = partial(Endpoints, self._server, patience=self._patience, idle_seconds=settings.idle_seconds)
        self._lanes = _lanes(settings, self._gate)
        self._tracer = start_tracer(model)
        endpoints = endpoint(self._lanes, tracer=self._tracer)
        scorer = Scorer(self._manager)
        self._mirror = _mirror(model, service.SERVICE, settings, shadow)
        scoring = endpoint(self._lanes, tracer=self._tracer, mirror=self._mirror) if self._mirror else endpoints
        Servicer(service.SERVICE, scorer).register(scoring)
        limits = scoring_pb2.Limits(max_rows=settings.max_rows, max_message_bytes=settings.max_message_bytes)
        scoring_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self._manager, limits), endpoints)  # type: ignore[arg-type]  # Endpoints takes the server's place
        # A lane of their own, and a gate that stays open: load refuses no probe, and draining is what they tell.
        probes = Lane(PROBE_CALLS, PROBE_CALLS, Gate(), LaneMetrics("probe"))
        OpenInferenceServicer(model, scorer, lambda: self._health.is_serving).register(
            endpoints, endpoint(Lanes.all_in(probes))
        )
        self._health.register(self._server)
        humans = Lane(REFLECTION_CALLS, REFLECTION_CALLS, self._gate, LaneMetrics("reflection"))
        reflection.enable_server_reflection(
            (*services, reflection.SERVICE_NAME, HEALTH),
            endpoint(Lanes.all_in(humans)),  # type: ignore[arg-type]  # Endpoints takes the server's place
        )
        self._credentials = tls.credentials() if tls else None
        self._probed: grpc.Server | None = None

    def load(self) -> None:
        """Begins to load what is released, and to follow it, in a thread of its own."""
        self._manager.start(self._settings.poll_seconds)
        self._follower.start()

    @property
    def has_looked(self) -> bool:
        """Whether it has loaded what was released when it began, or knows that it cannot."""
        return self._manager.has_looked

    @property
    def is_ready(self) -> bool:
        return self._health.is_serving

    def listen(self) -> int:
        """Takes calls from now on; without a model it refuses them. Returns the port.

        Not earlier: the kernel hands connections to whoever has bound the port, and they would wait for the loading.
        """
        port = _bind(self._server, self._settings, "port", self._credentials)
        self._patience.start()
        if self._mirror:
            self._mirror.start()
        self._server.start()
        if self._settings.health_port:
            self._probed = _health_server(self._health, self._settings)
            self._probed.start()
        return port

    def drain(self) -> None:
        """NOT_SERVING, a pause for endpoints to learn it, Watches ended, new calls refused, the others finished."""
        self._health.drain()
        time.sleep(self._settings.drain_pause_seconds)
        self._gate.close()
        if self._mirror:
            self._mirror.stop()
        self._health.end_watches()
        time.sleep(REFUSING_SECONDS)
        deadline = time.monotonic() + self._settings.grace_seconds
        # Longer where a call holds gRPC's own loop: it is given up with the others.
        self._server.stop(self._settings.grace_seconds).wait(self._settings.grace_seconds + LEAVING_SECONDS)
        if self._probed:
            self._probed.stop(None).wait()
        if self._tracer:
            self._tracer.stop(min(SPANS_SECONDS, deadline - time.monotonic()))

    def close(self) -> bool:
        """Follows nothing any more; False where something holds that up for too long.

        That is a bundle that is being loaded, or a call that was given up and has not come to the end of its slice, or
        one to a shadow.
        """
        self._patience.stop()
        self._follower.stop()
        left = self._lanes.are_left_within(LEAVING_SECONDS)
        if self._mirror:
            left &= self._mirror.is_left_within(LEAVING_SECONDS)
        return self._manager.stop() and left


def _lanes(settings: Settings, gate: Gate) -> Lanes:
    return Lanes(
        interactive=Lane(settings.interactive_calls, THREADS, gate, LaneMetrics("interactive")),
        batch=Lane(settings.batch_calls, THREADS, gate, LaneMetrics("batch")),
        # A stream holds its thread for as long as the caller likes.
        bulk=Lane(settings.bulk_calls, settings.bulk_calls, gate, LaneMetrics("bulk"), BULK_NICENESS),
    )


def serve(model: str, settings: Settings, *, once_loaded: bool = False) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it. A second signal changes nothing.

    It listens when it has loaded what is released, or knows that it cannot; with `once_loaded` only when it has a
    model to serve.

    Raises:
        SettingsError: a port, a certificate or the tokens are not to be had.
    """
    logs.configure(settings.log_level)
    stop = StopSignal()
    server = ModelServer(model, settings)
    server.load()
    if _comes_to_listen(server, stop, once_loaded=once_loaded):
        port = server.listen()
        # Workers write their metrics to files; their supervisor serves the page.
        metrics_port = None if FOLDER_VARIABLE in os.environ else open_metrics_page(settings, REGISTRY)
        fields = {"model": model, "host": settings.host, "port": port, "metrics_port": metrics_port}
        _log.info("listening", extra={"fields": {**fields, "security": _security_of(settings)}})
        _say_who_may_call(settings)
        stop.wait(None)
        _log.info("draining", extra={"fields": {"model": model}})
        server.drain()
    closed = server.close()
    _log.info("stopped", extra={"fields": {"model": model}})
    if not closed:
        # The interpreter's own way out waits for calls, and aborts the process while the runtime loads in a thread.
        os._exit(0)


def _comes_to_listen(server: ModelServer, stop: StopSignal, *, once_loaded: bool) -> bool:
    """Waits until there is a reason to listen; False if the signal comes first, even where the loading hangs."""
    while not (server.is_ready or (server.has_looked and not once_loaded)):
        if stop.wait(LOOK_SECONDS):
            return False
    return True


def open_metrics_page(settings: Settings, registry: CollectorRegistry) -> int:
    """Serves what the registry has; returns the port.

    Raises:
        SettingsError: the port is taken.
    """
    try:
        return start_http_server(settings.metrics_port, settings.host, registry)[0].server_port
    except OSError as error:
        address = _address(settings.host, settings.metrics_port)
        raise SettingsError(f"REGULARS_METRICS_PORT: cannot listen on {address} ({error.strerror})") from error


def check_files(settings: Settings) -> None:
    """Reads the certificates and the tokens once, and whether tracing can be had.

    Raises:
        SettingsError: they cannot be used.
    """
    _tls(settings)
    _tokens(settings)
    shadow_credentials(settings)
    check_tracer()


def _security_of(settings: Settings) -> str:
    """What callers need to speak with it."""
    certificates = "client certificates" if settings.tls_client_ca else ""
    channel = "TLS" if settings.tls_certificate else "clear text"
    return ", ".join(filter(None, (channel, certificates, "tokens" if settings.tokens else "")))


def _say_who_may_call(settings: Settings) -> None:
    if settings.tokens is None and settings.tls_client_ca is None:
        level = logging.INFO if is_loopback(settings.host) else logging.WARNING
        remedy = "set REGULARS_TOKENS or REGULARS_TLS_CLIENT_CA, or let the network decide who does"
        fields = {"host": settings.host, "remedy": remedy}
        _log.log(level, "whoever reaches the port may score", extra={"fields": fields})


def _tls(settings: Settings) -> ServerTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ServerTls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def _tokens(settings: Settings) -> Followed[tuple[Grant, ...]] | None:
    if settings.tokens is None:
        return None
    return Followed("REGULARS_TOKENS", [settings.tokens], lambda contents: counted_grants(contents[0]))


def _mirror(
    model: str, service: str, settings: Settings, credentials: Followed[grpc.ChannelCredentials] | None
) -> Mirror | None:
    if settings.shadow is None:
        return None
    # What this server sends in clear text although its callers speak TLS, somebody should know.
    level = logging.WARNING if settings.tls_certificate and credentials is None else logging.INFO
    fields = {"shadow": settings.shadow, "share": settings.shadow_share}
    _log.log(level, "mirroring", extra={"fields": {**fields, "security": "TLS" if credentials else "clear text"}})
    link = Link(settings.shadow, credentials, settings.max_message_bytes)
    return Mirror(model, service, link, settings.shadow_share)


def _doorkeeper(tokens: Followed[tuple[Grant, ...]], services: Iterable[str]) -> Doorkeeper:
    """What asks for tokens. Every service of a server needs a role here."""
    roles = {**dict.fromkeys(services, Role.SCORE), reflection.SERVICE_NAME: Role.ADMIN}
    return Doorkeeper(lambda: tokens.value, roles, open_to_all=[HEALTH])


def _open_server(settings: Settings, patience: Patience, doorkeeper: Doorkeeper | None) -> grpc.Server:
    options = _channel_options(settings)
    if grpc.__version__.startswith(KNOWN_GRPC):
        from services.core.inline import InlineServer  # noqa: PLC0415 - another gRPC may lack what it needs

        return InlineServer(patience, doorkeeper, options)
    fields = {"grpcio": grpc.__version__, "remedy": f"install grpcio {KNOWN_GRPC}*, as the locked requirements do"}
    _log.warning("unary calls take threads, which is slower", extra={"fields": fields})
    # Its own threads take what no method takes; every lane brings its own.
    return grpc.server(ThreadPoolExecutor(1), interceptors=[doorkeeper] if doorkeeper else [], options=options)


def _health_server(health: Health, settings: Settings) -> grpc.Server:
    """Where `grpc.health.v1` stands alone. It has no threads but those that health brings."""
    server = grpc.server(ThreadPoolExecutor(1), options=_channel_options(settings))
    health.register(server)
    _bind(server, settings, "health_port", None)
    return server


def _address(host: str, port: int) -> str:
    # An IPv6 address has colons of its own.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(server: grpc.Server, settings: Settings, name: str, credentials: grpc.ServerCredentials | None) -> int:
    """Binds the port that the setting `name` says; in clear text without credentials."""
    address = _address(settings.host, getattr(settings, name))
    try:
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise SettingsError(
            f"REGULARS_{name.upper()}: cannot listen on {address}; another process does, or the address is not this "
            "machine's"
        ) from error


def _channel_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Of a compressed message, what it is inflated to: gRPC stops inflating there.
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MILLISECONDS),
        ("grpc.max_allowed_incoming_connections", settings.connections),
        # What a caller may send ahead of being read. Left to itself, gRPC learns from quick callers to hold 16 MiB for
        # each, and keeps it for those who then take no answers.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
        # A client that opens more streams on one connection waits at its own end.
        ("grpc.max_concurrent_streams", 100),
        # Without a maximum age, connections never spread over new replicas.
        ("grpc.max_connection_age_ms", 300_000),
        ("grpc.max_connection_age_grace_ms", 30_000),
        # Finds dead peers behind silent networks, and bears clients that do the same once a minute.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
        # Sharing a port by accident would split the traffic between two servers.
        ("grpc.so_reuseport", int(settings.workers > 1)),
    ]
