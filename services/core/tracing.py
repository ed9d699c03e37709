"""Whether calls are traced, and the trace of the call that this thread handles.

OpenTelemetry is known here by name alone: `services/core/spans.py`, which imports it, is imported where tracing is on.
Its variables are its own, `OTEL_*`; docs/tracing.md tells which count.
"""

from __future__ import annotations

import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from services.core.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import grpc

    from services.core.errors import Kind
    from services.core.stages import CallStages

EXPORTER = "opentelemetry-exporter-otlp-proto-grpc"
"""The distribution that brings all others."""


CHECK_SECONDS = 1.0
"""For a tracer without spans to end."""


class CallTrace(Protocol):
    """What is written down of one call."""

    @property
    def ids(self) -> Mapping[str, str]:
        """`trace_id` and `span_id`, as logs bear them."""

    def stages(self, timed: CallStages) -> CallStages:
        """Writes down the stages too, beside whatever times them."""

    def refuse(self, kind: Kind) -> None:
        """The call is answered with an error."""


class Tracer(Protocol):
    """Traces handlers of calls. `method` is `package.Service/Method`, `lane` where its calls are admitted."""

    def unary(
        self, method: str, lane: str, handle: Callable[[Iterator[bytes], grpc.ServicerContext], bytes]
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]: ...

    def stream(
        self, method: str, lane: str, handle: Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]: ...

    def stop(self, seconds: float) -> None:
        """Hands over what is left, in so many seconds or not at all."""


class _Call(threading.local):
    trace: CallTrace | None = None


_call = _Call()


def current_trace() -> CallTrace | None:
    """Of the call that this thread handles; None if it is not traced."""
    return _call.trace


def handle_with(trace: CallTrace | None) -> None:
    """From now on this thread handles the call of that trace; None when it has ended."""
    _call.trace = trace


def is_on(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for tracing.

    Raises:
        SettingsError: it does, and cannot have it.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or exporter == "none" or not _of_traces("ENDPOINT", environment):
        return False
    if exporter != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER is {exporter}: a server exports by otlp, or none")
    protocol = _of_traces("PROTOCOL", environment) or "grpc"
    if protocol != "grpc":
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: a server exports over grpc; set it to grpc, and the endpoint "
            "to where the collector takes that, which usually is port 4317"
        )
    try:
        version(EXPORTER)
    except PackageNotFoundError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for tracing, and OpenTelemetry is not installed: pip install "
            "'regulars[tracing]', or unset the variable"
        ) from None
    return True


def start_tracer(model: str) -> Tracer | None:
    """Sets up this process's tracing if the environment asks for it; never before a fork.

    Raises:
        SettingsError: it asks for what cannot be had.
    """
    if not is_on():
        return None
    from services.core.spans import open_tracer  # noqa: PLC0415 - the extra, where it is wanted

    return open_tracer(model)


def check_tracer() -> None:
    """Sets tracing up and down again, for whoever starts processes that would all fail in the same way.

    Raises:
        SettingsError: the environment asks for what cannot be had.
    """
    tracer = start_tracer("check")
    if tracer:
        tracer.stop(CHECK_SECONDS)


def _of_traces(name: str, environment: Mapping[str, str]) -> str | None:
    """A variable of the exporter: that for traces, else that for all signals; empty means unset."""
    return environment.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environment.get(f"OTEL_EXPORTER_OTLP_{name}")
