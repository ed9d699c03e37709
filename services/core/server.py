"""A model server: the composition root of one process, and its life from start to drain."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.core import logs
from services.core.admission import Gate, Lane
from services.core.endpoints import Endpoints
from services.core.health import Health
from services.core.manager import ModelManager
from services.core.metrics import LaneMetrics
from services.core.model_service import ModelServicer
from services.core.scorer import Scorer
from services.core.service import load_service
from services.core.servicer import Servicer
from services.core.settings import SettingsError
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    from services.core.settings import Settings

REFLECTION_CALLS = 4
"""Reflection streams at once: they are for people with a command line."""

SPARE_THREADS = 8
"""Threads beyond what the lanes admit, so that health checks and refusals never wait behind scoring."""

_log = logging.getLogger(__name__)


class ModelServer:
    """One process's server for one model."""

    def __init__(self, model: str, settings: Settings) -> None:
        service = load_service(model)
        self._model = model
        self._settings = settings
        services = (service.SERVICE, scoring_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name)
        self._health = Health(services)
        self._gate = Gate()
        self._manager = ModelManager(
            settings.bundles,
            model,
            max_rows=settings.max_rows,
            answers=service.Answers,
            on_available=self._health.announce_serving,
        )
        self._server = grpc.server(
            ThreadPoolExecutor(
                settings.interactive_calls + settings.bulk_calls + REFLECTION_CALLS + SPARE_THREADS,
                thread_name_prefix="call",
            ),
            options=_channel_options(settings),
        )
        interactive = Lane(settings.interactive_calls, self._gate, LaneMetrics("interactive"))
        bulk = Lane(settings.bulk_calls, self._gate, LaneMetrics("bulk"))
        endpoints = Endpoints(self._server, interactive, bulk)
        Servicer(service.SERVICE, Scorer(self._manager, model)).register(endpoints)
        scoring_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self._manager), endpoints)  # type: ignore[arg-type]  # Endpoints takes the server's place
        self._health.register(self._server)
        # Its streams hold a thread each, for as long as the caller likes.
        humans = Lane(REFLECTION_CALLS, self._gate, LaneMetrics("reflection"))
        reflection.enable_server_reflection(
            (*services, reflection.SERVICE_NAME, "grpc.health.v1.Health"),
            Endpoints(self._server, humans, humans),  # type: ignore[arg-type]  # Endpoints takes the server's place
        )
        self.port = _bind(self._server, settings)

    def start(self) -> None:
        """Loads what is released, then listens; without a release it listens and is not ready."""
        self._manager.start(self._settings.poll_seconds)
        self._server.start()

    def drain(self) -> None:
        """NOT_SERVING, a pause for endpoints to learn it, Watches ended, new calls refused, the others finished."""
        self._health.drain()
        time.sleep(self._settings.drain_pause_seconds)
        self._gate.close()
        self._health.end_watches()
        self._server.stop(self._settings.grace_seconds).wait()
        self._manager.stop()


def serve(model: str, settings: Settings) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it."""
    logs.configure(settings.log_level)
    stop = StopSignal()
    server = ModelServer(model, settings)
    server.start()
    # Workers write their metrics to files; their supervisor serves the page.
    metrics_port = None
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        metrics_port = start_http_server(settings.metrics_port, settings.host)[0].server_port
    fields = {"model": model, "host": settings.host, "port": server.port, "metrics_port": metrics_port}
    _log.info("listening", extra={"fields": fields})
    stop.wait(None)
    _log.info("draining", extra={"fields": {"model": model}})
    server.drain()
    _log.info("stopped", extra={"fields": {"model": model}})


def _address(settings: Settings) -> str:
    # An IPv6 address has colons of its own.
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def _bind(server: grpc.Server, settings: Settings) -> int:
    try:
        return server.add_insecure_port(_address(settings))
    except RuntimeError as error:
        raise SettingsError(
            f"REGULARS_PORT: cannot listen on {_address(settings)}; another process does, or the address is not this "
            "machine's"
        ) from error


def _channel_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
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
