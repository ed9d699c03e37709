from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from services.core.settings import Settings, SettingsError, reference


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_environment({"PATH": "/bin"}) == Settings()


def test_every_variable_is_read_into_its_field() -> None:
    settings = Settings.from_environment(
        {
            "REGULARS_BUNDLES": "/srv/bundles",
            "REGULARS_PORT": "50051",
            "REGULARS_POLL_SECONDS": "0.5",
            "REGULARS_LOG_LEVEL": "DEBUG",
        }
    )
    assert settings == replace(
        Settings(), bundles=Path("/srv/bundles"), port=50051, poll_seconds=0.5, log_level="DEBUG"
    )


def test_settings_survive_the_environment_of_a_worker() -> None:
    settings = Settings(
        bundles=Path("/a b/c"),
        host="::1",
        port=1,
        metrics_port=2,
        health_port=3,
        tls_certificate=Path("/tls/tls.crt"),
        tls_key=Path("/tls/tls.key"),
        tls_client_ca=Path("/tls/ca.crt"),
        tokens=Path("/tokens"),
        connections=4,
        workers=3,
        max_rows=4,
        max_message_bytes=5000,
        interactive_calls=6,
        batch_calls=5,
        bulk_calls=7,
        idle_seconds=10.0,
        poll_seconds=0.1,
        drain_pause_seconds=1 / 3,
        grace_seconds=9.0,
        shadow="dns:///churn-shadow:50051",
        shadow_share=0.25,
        shadow_ca=Path("/shadow/ca.crt"),
        log_level="ERROR",
    )
    assert all(getattr(settings, entry.name) != entry.default for entry in fields(Settings))
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("PORT", "http", "must be of type int, e.g. 0"),
        ("PORT", "", "must be of type int"),
        ("PORT", "1.5", "must be of type int"),
        ("PORT", "-1", "must be at least 0"),
        ("PORT", "65536", "must be at most 65535"),
        ("METRICS_PORT", "70000", "must be at most 65535"),
        ("WORKERS", "0", "must be at least 1"),
        ("MAX_ROWS", "0", "must be at least 1"),
        ("MAX_MESSAGE_BYTES", "1023", "must be at least 1024"),
        ("MAX_MESSAGE_BYTES", "2147483648", "must be at most 2.14748e"),
        ("INTERACTIVE_CALLS", "0", "must be at least 1"),
        ("BATCH_CALLS", "0", "must be at least 1"),
        ("BULK_CALLS", "0", "must be at least 1"),
        ("IDLE_SECONDS", "0", "must be at least 0.1"),
        ("POLL_SECONDS", "0", "must be at least 0.01"),
        ("POLL_SECONDS", "nan", "must be at least 0.01"),
        ("POLL_SECONDS", "inf", "must be at most 86400"),
        ("POLL_SECONDS", "often", "must be of type float, e.g. 1.0"),
        ("DRAIN_PAUSE_SECONDS", "-1", "must be at least 0"),
        ("GRACE_SECONDS", "-0.1", "must be at least 0"),
        ("GRACE_SECONDS", "inf", "must be at most 86400"),
        ("LOG_LEVEL", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("HEALTH_PORT", "65536", "must be at most 65535"),
        ("CONNECTIONS", "0", "must be at least 1"),
        ("TOKENS", "", "is empty; name a file"),
        ("TLS_CERTIFICATE", "", "is empty; name a file"),
        ("SHADOW", "", "is empty; name an address"),
        ("SHADOW_CA", "", "is empty; name a file"),
        ("SHADOW_SHARE", "1.5", "must be at most 1"),
        ("SHADOW_SHARE", "-0.1", "must be at least 0"),
        ("SHADOW_SHARE", "nan", "must be at least 0"),
        ("PORTS", "1", "is not a setting; there are REGULARS_BATCH_CALLS, .*REGULARS_PORT"),
        ("port", "1", "is not a setting"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_and_the_remedy(variable: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=f"^REGULARS_{variable} {remedy}"):
        Settings.from_environment({f"REGULARS_{variable}": value})


def test_the_reference_has_a_row_for_every_setting() -> None:
    rows = reference().splitlines()[2:]
    assert len(rows) == len(fields(Settings))
    for entry, row in zip(fields(Settings), rows, strict=True):
        default = "none" if entry.default is None else f"`{entry.default}`"
        assert row.startswith(f"| `REGULARS_{entry.name.upper()}` | {default} |")


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"TLS_CERTIFICATE": "c"}, "give both or neither"),
        ({"TLS_KEY": "k"}, "give both or neither"),
        ({"TLS_CLIENT_CA": "a"}, "needs REGULARS_TLS_CERTIFICATE"),
        ({"TOKENS": "t", "HOST": "0.0.0.0"}, "clear text to 0.0.0.0; set REGULARS_TLS_CERTIFICATE"),
        ({"TOKENS": "t", "HOST": "::"}, "in clear text"),
        ({"TOKENS": "t", "HOST": "churn.internal"}, "in clear text"),
        ({"HEALTH_PORT": "50051", "PORT": "50051"}, "must be another port"),
        ({"SHADOW_CA": "a"}, "need REGULARS_SHADOW beside them"),
        ({"SHADOW_SHARE": "1"}, "need REGULARS_SHADOW beside them"),
    ],
)
def test_settings_that_do_less_than_it_looks_are_refused(given: dict[str, str], remedy: str) -> None:
    with pytest.raises(SettingsError, match=remedy):
        Settings.from_environment({f"REGULARS_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    "given",
    [
        {"TOKENS": "t"},
        {"TOKENS": "t", "HOST": "localhost"},
        {"TOKENS": "t", "HOST": "::1"},
        {"TOKENS": "t", "HOST": "0.0.0.0", "TLS_CERTIFICATE": "c", "TLS_KEY": "k"},
        {"TLS_CERTIFICATE": "c", "TLS_KEY": "k", "TLS_CLIENT_CA": "a"},
    ],
)
def test_settings_that_are_as_secure_as_they_look_are_taken(given: dict[str, str]) -> None:
    Settings.from_environment({f"REGULARS_{name}": value for name, value in given.items()})
