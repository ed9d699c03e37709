"""Settings of a server: `REGULARS_*` environment variables, read once into a frozen object."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "REGULARS_"

LAST_PORT = 65_535
LARGEST_MESSAGE = 2**31 - 1
"""What gRPC can count to."""
A_DAY = 86_400.0
DEFAULT_SHADOW_SHARE = 0.1


class SettingsError(Exception):
    """A variable that does not hold what it must. Names the variable and the remedy."""


# ruff: noqa: RUF009 - the call makes a dataclass field, which is what the rule asks for
def _setting(
    default: Any,  # noqa: ANN401 - a field of any type
    meaning: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    kind: type | None = None,
) -> Any:  # noqa: ANN401 - a field of any type
    """Without `kind`, what is absent by default is a file; anything else is of its default's type."""
    kind = kind or (Path if default is None or isinstance(default, Path) else type(default))
    return field(
        default=default,
        metadata={"meaning": meaning, "minimum": minimum, "maximum": maximum, "choices": choices, "kind": kind},
    )


@dataclass(frozen=True)
class Settings:
    """One server's settings. The variable of `max_rows` is `REGULARS_MAX_ROWS`, and so on."""

    bundles: Path = _setting(Path("bundles"), "folder that 'regulars sync' fills")
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = _setting(0, "gRPC port; 0 picks a free one", 0, LAST_PORT)
    metrics_port: int = _setting(0, "port of /metrics; 0 picks a free one", 0, LAST_PORT)
    health_port: int = _setting(
        0, "port of grpc.health.v1 alone, in clear text, for probes that know no TLS; 0 for none", 0, LAST_PORT
    )
    tls_certificate: Path | None = _setting(None, "certificate chain of the server, PEM; without it, clear text")
    tls_key: Path | None = _setting(None, "private key of the certificate, PEM")
    tls_client_ca: Path | None = _setting(
        None, "authorities, PEM; every caller must show a certificate that one of them has signed"
    )
    tokens: Path | None = _setting(None, "file of tokens; every call must bring one of them")
    connections: int = _setting(1000, "connections at once to each process; more are closed", 1)
    workers: int = _setting(1, "server processes on the one port", 1)
    max_rows: int = _setting(10_000, "most customers in one table", 1)
    max_message_bytes: int = _setting(4 * 1024 * 1024, "largest message", 1024, LARGEST_MESSAGE)
    interactive_calls: int = _setting(
        32, "calls for one customer in flight, in each process, before RESOURCE_EXHAUSTED", 1
    )
    batch_calls: int = _setting(32, "calls for a table in flight, in each process, before RESOURCE_EXHAUSTED", 1)
    bulk_calls: int = _setting(8, "streams in flight, in each process, before RESOURCE_EXHAUSTED", 1)
    idle_seconds: float = _setting(
        60.0, "how long a stream may stand still, its caller sending nothing or taking no answers", 0.1, A_DAY
    )
    poll_seconds: float = _setting(
        1.0, "how often the folder, the certificate and the tokens are looked at", 0.01, A_DAY
    )
    drain_pause_seconds: float = _setting(
        0.0, "wait between NOT_SERVING and refusing calls, for endpoints to learn", 0, A_DAY
    )
    grace_seconds: float = _setting(30.0, "time for calls in flight to finish on SIGTERM", 0, A_DAY)
    shadow: str | None = _setting(
        None,
        "address of a server that gets copies of calls, e.g. dns:///churn-shadow:50051; its answers are compared and "
        "never returned",
        kind=str,
    )
    shadow_share: float = _setting(DEFAULT_SHADOW_SHARE, "share of the calls that the shadow gets", 0, 1)
    shadow_ca: Path | None = _setting(
        None, "authorities of the shadow's certificate, PEM; without them, clear text; the server shows its own to it"
    )
    log_level: str = _setting(
        "INFO",
        "DEBUG, INFO, WARNING or ERROR; DEBUG adds a line per call",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )

    def __post_init__(self) -> None:
        """Refuses what would be less secure than it looks, or do nothing.

        Raises:
            SettingsError: settings that do not go together.
        """
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("REGULARS_TLS_CERTIFICATE and REGULARS_TLS_KEY go together: give both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise SettingsError("REGULARS_TLS_CLIENT_CA needs REGULARS_TLS_CERTIFICATE and REGULARS_TLS_KEY beside it")
        if self.tokens is not None and self.tls_certificate is None and not is_loopback(self.host):
            raise SettingsError(
                f"REGULARS_TOKENS: callers would send their tokens in clear text to {self.host}; set "
                "REGULARS_TLS_CERTIFICATE and REGULARS_TLS_KEY, or listen on 127.0.0.1 alone"
            )
        if self.health_port and self.health_port == self.port:
            raise SettingsError("REGULARS_HEALTH_PORT must be another port than REGULARS_PORT")
        if self.shadow is None and (self.shadow_ca is not None or self.shadow_share != DEFAULT_SHADOW_SHARE):
            raise SettingsError("REGULARS_SHADOW_CA and REGULARS_SHADOW_SHARE need REGULARS_SHADOW beside them")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Reads every variable.

        Raises:
            SettingsError: a value of the wrong type or out of its bounds, or a variable that nothing reads.
        """
        known = {PREFIX + entry.name.upper(): entry for entry in fields(cls)}
        given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        for name in given:
            if name not in known:
                raise SettingsError(f"{name} is not a setting; there are {', '.join(sorted(known))}")
        return cls(**{known[name].name: _parse(name, known[name], value) for name, value in given.items()})

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back into the same settings."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reference() -> str:
    """Every setting as a row of a Markdown table."""
    rows = [
        f"| `{PREFIX}{entry.name.upper()}` | {_shown(entry.default)} | {entry.metadata['meaning']} |"
        for entry in fields(Settings)
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _shown(default: object) -> str:
    return "none" if default is None else f"`{default}`"


def _parse(name: str, entry: Any, text: str) -> Any:  # noqa: ANN401 - a dataclass field and its value
    convert = entry.metadata["kind"]
    if not text and (convert is Path or entry.default is None):
        what = "a file or folder" if convert is Path else "an address"
        raise SettingsError(f"{name} is empty; name {what}, or leave it out")
    try:
        value = convert(text)
    except ValueError:
        raise SettingsError(f"{name} must be of type {convert.__name__}, e.g. {entry.default}") from None
    minimum, maximum, choices = (entry.metadata[key] for key in ("minimum", "maximum", "choices"))
    # Comparisons that NaN fails too.
    if minimum is not None and not value >= minimum:
        raise SettingsError(f"{name} must be at least {minimum}")
    if maximum is not None and not value <= maximum:
        raise SettingsError(f"{name} must be at most {maximum:g}")
    if choices and value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}")
    return value
