"""Who may call what: bearer tokens and their roles.

A token is 256 random bits. The server knows its SHA-256 alone: slow hashes protect passwords, which people choose and
which can be tried out; 2^256 tokens cannot, at any speed, and a slow hash on every call would be an attack by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from services.core.errors import FORBIDDEN, UNAUTHENTICATED, Refusal
from services.core.followed import DamagedError
from services.core.metrics import TOKEN_CALLS, MethodMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from services.core.metrics import GrpcType

TOKEN_BYTES = 32
PREFIX = "regulars_"
"""Tokens begin with it, so that those who look for secrets in the wrong places recognise one."""

_HEADER = "authorization"
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Role(StrEnum):
    """What a token is for."""

    SCORE = "score"
    """Scoring, and what describes the served model."""
    ADMIN = "admin"
    """All of that, and what is for people who look into a server: reflection."""


_COVERS: dict[Role, frozenset[Role | None]] = {
    Role.SCORE: frozenset({Role.SCORE}),
    Role.ADMIN: frozenset({Role.SCORE, Role.ADMIN}),
}


@dataclass(frozen=True)
class Grant:
    """One line of the file of tokens: whose token, what for, and its digest."""

    name: str
    role: Role
    digest: bytes

    def line(self) -> str:
        return f"{self.name} {self.role} {self.digest.hex()}\n"


class Doorkeeper(grpc.ServerInterceptor):
    """Asks every call for its token, on its headers and in gRPC's own thread: before it takes a place or a thread.

    Strangers learn nothing of which methods there are. A method of a service without a role is refused to everybody.
    """

    def __init__(
        self, grants: Callable[[], tuple[Grant, ...]], roles: Mapping[str, Role], *, open_to_all: Iterable[str]
    ) -> None:
        """`grants` gives those in force at a call; `roles` and `open_to_all` go by full names of services."""
        self._grants = grants
        self._roles = roles
        self._open_to_all = frozenset(open_to_all)
        self._calls = cache(TOKEN_CALLS.labels)
        self._metrics = cache(MethodMetrics)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:  # noqa: ANN401 - untyped in gRPC
        handler = continuation(handler_call_details)
        service, _, method = handler_call_details.method.removeprefix("/").rpartition("/")
        kind = _type_of(handler) if handler else None
        refuse = self.refuser(service, method, handler_call_details.invocation_metadata, kind)
        # The one kind of handler that answers before it reads.
        return grpc.stream_stream_rpc_method_handler(refuse) if refuse else handler

    def refuser(
        self, service: str, method: str, metadata: Iterable[Any], kind: GrpcType | None = "unary"
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], NoReturn] | None:
        """What answers a call that may not be handled. `kind` is that of the method, None where there is no such."""
        if service in self._open_to_all:
            return None
        grant = self._identify(metadata)
        if grant is not None and kind is None:
            # To whom it may know, gRPC says that there is no such method.
            return None
        if grant is not None and self._roles.get(service) in _COVERS[grant.role]:
            self._calls(grant.name).inc()
            return None
        metrics = self._metrics(kind, service, method) if kind else None
        return _refusing(Refusal(FORBIDDEN if grant else UNAUTHENTICATED), metrics)

    def _identify(self, metadata: Iterable[Any]) -> Grant | None:
        """The grant of the call's token, if it has one that is in force."""
        headers = [value for key, value in metadata if key == _HEADER]
        bearer = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        if bearer is None:
            return None
        digest = digest_of(bearer[1])
        held: Grant | None = None
        for grant in self._grants():
            # To the end of the list and of every digest: how long it takes says nothing of where a token stands.
            if hmac.compare_digest(grant.digest, digest):
                held = grant
        return held


def _refusing(
    refusal: Refusal, metrics: MethodMetrics | None
) -> Callable[[Iterator[bytes], grpc.ServicerContext], NoReturn]:
    def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
        if metrics is not None:
            metrics.finish(metrics.start(), refusal.kind.code)
        refusal.abort(context)

    return refuse


def _type_of(handler: Any) -> GrpcType:  # noqa: ANN401 - untyped in gRPC
    return "bidi_stream" if handler.response_streaming else "unary"


def digest_of(token: str) -> bytes:
    """SHA-256 of the token's text."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def grant(name: str, role: Role, token: str) -> Grant:
    """What the server is to know of a token.

    Raises:
        ValueError: the name would not fit a line.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a token: a-z, 0-9, '.', '_' and '-', 63 at most")
    return Grant(name, role, digest_of(token))


def read_grants(contents: bytes) -> tuple[Grant, ...]:
    """The grants of a file: `name role sha256` on each line; empty lines and those after # are left out.

    A name may stand in several lines: of the token in use and the one that is to replace it.

    Raises:
        DamagedError: a line is none of these, a token stands twice, or there is none.
    """
    text = contents.decode("ascii", "replace")
    lines = {number: line.split() for number, line in enumerate(text.splitlines(), 1)}
    grants = [_read_line(number, words) for number, words in lines.items() if words and not words[0].startswith("#")]
    if not grants:
        raise DamagedError("the file holds no token; 'regulars token' makes one")
    if len({grant.digest for grant in grants}) < len(grants):
        raise DamagedError("the file holds a token twice")
    return tuple(grants)


def counted_grants(contents: bytes) -> tuple[Grant, ...]:
    """The same for a server, which counts the calls of each name from 0 on: the first call is an increase."""
    grants = read_grants(contents)
    for one in grants:
        TOKEN_CALLS.labels(one.name)
    return grants


def _read_line(number: int, words: list[str]) -> Grant:
    # Of what stands there, nothing is repeated: somebody may have put a token itself there.
    match words:
        case [name, role, digest] if _NAME.fullmatch(name) and role in set(Role) and _DIGEST.fullmatch(digest):
            return Grant(name, Role(role), bytes.fromhex(digest))
    raise DamagedError(f"line {number} is not a name, a role ({' or '.join(Role)}) and a SHA-256")
