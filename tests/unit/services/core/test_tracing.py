from __future__ import annotations

import sys
import threading
from importlib.metadata import PackageNotFoundError

import pytest

from services.core import tracing
from services.core.settings import SettingsError
from services.core.tracing import check_tracer, is_on, start_tracer
from tests.support.polling import eventually

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_SERVICE_NAME": "churn"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin"}, False),
    ],
)
def test_an_endpoint_switches_tracing_on(environment: dict[str, str], *, on: bool) -> None:
    assert is_on(environment) is on


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_TRACES_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]
)
def test_what_a_server_cannot_export_by_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is {value}: a server exports"):
        is_on({**ENDPOINT, variable: value})


def test_tracing_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tracing, "version", version)
    assert not is_on({})
    with pytest.raises(SettingsError, match=r"pip install 'regulars\[tracing\]', or unset the variable"):
        is_on(ENDPOINT)


def test_off_there_is_no_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.core.spans", raising=False)
    for name in ENDPOINT:
        monkeypatch.delenv(name, raising=False)
    assert start_tracer("churn") is None
    assert "services.core.spans" not in sys.modules


def test_what_opentelemetry_cannot_take_stops_the_server_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENDPOINT, "OTEL_EXPORTER_OTLP_COMPRESSION": "lzma"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"variables OTEL_\*.*lzma"):
        start_tracer("churn")
    # Who supervises workers asks before there are any.
    with pytest.raises(SettingsError, match=r"variables OTEL_\*.*lzma"):
        check_tracer()


def test_a_tracer_that_is_only_checked_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    before = set(threading.enumerate())
    check_tracer()
    eventually(lambda: set(threading.enumerate()) <= before, "the end of its threads")
