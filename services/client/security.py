"""What a client asks of a server and shows of itself, in files: they can be rotated, and no process list shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import grpc

_TOKEN = re.compile(r"[!-~]+")

_THIS_MACHINE = re.compile(
    r"unix(-abstract)?:.+|((dns|ipv4|ipv6):(///)?)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE
)
"""Targets that do not leave it."""


class SecurityError(Exception):
    """Security that cannot be had as asked for. Says what to do."""


@dataclass(frozen=True, kw_only=True)
class Security:
    """How a client talks to its server; without anything, in clear text and without a name.

    `ca` are the authorities, in PEM: with them the connection is TLS, and the server must show a certificate from one
    of them for the name in the target. `certificate` and `key` are the client's own, in PEM, for servers that ask for
    them; read once. `token` is read at every call.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    token: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise SecurityError("a certificate and its key go together: give both or neither")
        if self.certificate is not None and self.ca is None:
            raise SecurityError("a client's certificate needs TLS: give the authority of the server's certificate too")

    def open_channel(self, target: str, options: tuple[tuple[str, str | int], ...]) -> grpc.Channel:
        """A channel to `host:port` or any other target that gRPC knows.

        Raises:
            SecurityError: a file cannot be read, or a token would travel in clear text to another machine.
        """
        if self.ca is not None:
            credentials = grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))
            return grpc.secure_channel(target, credentials, options=options)
        if self.token is None:
            return grpc.insecure_channel(target, options=options)
        if not _THIS_MACHINE.fullmatch(target):
            raise SecurityError(
                f"a token would travel in clear text to {target}; give the authority of the server's certificate"
            )
        # A proxy is another machine.
        return grpc.insecure_channel(target, options=(*options, ("grpc.enable_http_proxy", 0)))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with a call.

        Raises:
            SecurityError: the token's file cannot be read, or holds none.
        """
        content = _read(self.token)
        if content is None:
            return ()
        token = content.decode("ascii", "replace").strip()
        if not _TOKEN.fullmatch(token):
            raise SecurityError(f"{self.token} holds no token: one line of what 'regulars token' printed")
        return (("authorization", f"Bearer {token}"),)


UNSECURED = Security()


def _read(path: Path | str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise SecurityError(f"{path}: {error.strerror}") from error
