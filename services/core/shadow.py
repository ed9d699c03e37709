"""A shadow: another server that gets copies of calls, whose answers are compared with ours and seen by no caller.

No caller waits for it, whatever becomes of it. A call that was answered leaves its bytes in a backlog that never
blocks and is bounded; one thread sends them, one at a time and once, and compares.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc

from services.core.comparison import Comparer, IncomparableError
from services.core.followed import Followed
from services.core.shadow_metrics import ShadowMetrics
from services.core.tls import check_authorities
from services.methods import methods_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regulars.scoring.v1.scoring_pb2 import ModelVersion
    from services.core.comparison import Comparison
    from services.core.settings import Settings

    Handle = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]

MARK = "regulars-shadow"
"""Metadata of a call for a shadow, which is no caller's and is not copied again: two servers may name each other."""

ANSWER_SECONDS = 1.0
"""For the shadow to answer, the time to connect included."""

BACKLOG_CALLS = 128
BACKLOG_BYTES = 16 * 2**20
"""Of calls that wait, and of their messages: with the usual limit, a few of the largest tables."""

MOST_TIMES_LONGER, SPARE_BYTES = 4, 4096
"""What an answer may be longer than ours and still be parsed, which holds the interpreter up."""


@dataclass(frozen=True)
class Call:
    """A call that was answered, as it stood on the wire."""

    method: str
    request: bytes
    response: bytes

    @property
    def size(self) -> int:
        return len(self.request) + len(self.response)


class Backlog:
    """Calls that wait to be sent: no more than so many, and of no more than so many bytes."""

    def __init__(self, calls: int = BACKLOG_CALLS, size: int = BACKLOG_BYTES) -> None:
        self._most_calls, self._most_bytes = calls, size
        self._calls: deque[Call] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, call: Call) -> bool:
        """Adds a call where there is room for it; waits for nothing."""
        with self._changed:
            has_room = len(self._calls) < self._most_calls and self._bytes + call.size <= self._most_bytes
            if self._closed or not has_room:
                return False
            self._calls.append(call)
            self._bytes += call.size
            self._changed.notify()
            return True

    def take(self) -> Call | None:
        """Waits for a call; None once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closed)
            if self._closed:
                return None
            call = self._calls.popleft()
            self._bytes -= call.size
            return call

    def close(self) -> list[Call]:
        """Takes no more, and gives those that waited back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = list(self._calls)
            self._calls.clear()
            return left


class Link:
    """The connection to the shadow."""

    def __init__(self, target: str, credentials: Followed[grpc.ChannelCredentials] | None, most_bytes: int) -> None:
        """Connects with the first call. `most_bytes` is the longest answer that is read to its end."""
        self._target = target
        self._followed = credentials
        self._credentials = credentials.value if credentials else None
        self._options = [
            ("grpc.max_receive_message_length", most_bytes),
            # What was asked twice would be late, and load on a server in trouble.
            ("grpc.enable_retries", 0),
            # A proxy is another machine.
            ("grpc.enable_http_proxy", 0),
            # Each replica behind a headless service gets its share.
            ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ]
        # One thread asks, another closes.
        self._changing = threading.Lock()
        self._closed = False
        self._channel = self._open()

    def ask(self, path: str, request: bytes) -> bytes:
        """Raises grpc.RpcError: there is no answer."""
        with self._changing:
            if not self._closed and self._followed and self._followed.value is not self._credentials:
                self._channel.close()
                self._credentials = self._followed.value
                self._channel = self._open()
        call: Any = self._channel.unary_unary(path)
        answer: bytes = call(request, timeout=ANSWER_SECONDS, metadata=((MARK, "1"),))
        return answer

    def close(self) -> None:
        """Ends the call under way too."""
        with self._changing:
            self._closed = True
            self._channel.close()

    def _open(self) -> grpc.Channel:
        if self._credentials is None:
            return grpc.insecure_channel(self._target, self._options)
        return grpc.secure_channel(self._target, self._credentials, self._options)


class Mirror:
    """Copies a share of the calls to a shadow, and counts how its answers compare."""

    def __init__(self, model: str, service: str, link: Link, share: float) -> None:
        """`service` is the full name in the proto, `share` 0 to 1."""
        methods = methods_of(service)
        self._methods = {method.name: method for method in (methods.one, methods.batch)}
        self._link = link
        self._share = share
        self._backlog = Backlog()
        self._comparer = Comparer(service)
        self._metrics = ShadowMetrics(model, self._comparer)
        self._thread = threading.Thread(target=self._send_all, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends nothing any more, and waits for nothing."""
        for call in self._backlog.close():
            self._metrics.count_call(call.method, "dropped")
        self._link.close()

    def is_left_within(self, seconds: float) -> bool:
        """Whether its thread ends in time, once it was stopped."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def tap(self, method: str, handle: Handle) -> Handle:
        """What handles calls of a unary method as before, and leaves copies of a share of those that it answered.

        Calls that fail leave none: there is no answer to compare, and nobody knows what is in their message.
        """

        def tapped(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            if not self._takes(context):
                return handle(requests, context)
            messages = _Kept(requests)
            response = handle(messages, context)
            if not self._backlog.put(Call(method, messages.last, response)):
                self._metrics.count_call(method, "dropped")
            return response

        return tapped

    def _takes(self, context: grpc.ServicerContext) -> bool:
        """Whether a call is to be copied, by chance alone."""
        return random.random() < self._share and all(key != MARK for key, _ in context.invocation_metadata())  # noqa: S311 - a sample

    def _send_all(self) -> None:
        while (call := self._backlog.take()) is not None:
            self._send(call)

    def _send(self, call: Call) -> None:
        """Never raises: the thread goes on whatever the shadow does."""
        try:
            answer = self._link.ask(self._methods[call.method].path, call.request)
        except grpc.RpcError as error:
            self._metrics.count_call(call.method, "failed", error.code())
        except Exception:  # noqa: BLE001 - gRPC has many, of a channel that was closed and others
            self._metrics.count_call(call.method, "failed", grpc.StatusCode.UNKNOWN)
        else:
            self._compare(call, answer)

    def _compare(self, call: Call, answer: bytes) -> None:
        try:
            comparison, version = self._read(call, answer)
        except Exception:  # noqa: BLE001 - whatever bytes came
            self._metrics.count_call(call.method, "incomparable", grpc.StatusCode.OK)
            return
        self._metrics.count(comparison)
        self._metrics.show(version)
        self._metrics.count_call(call.method, "compared", grpc.StatusCode.OK)

    def _read(self, call: Call, answer: bytes) -> tuple[Comparison, ModelVersion]:
        if len(answer) > MOST_TIMES_LONGER * len(call.response) + SPARE_BYTES:
            raise IncomparableError("one is far longer than the other")
        parse = self._methods[call.method].response.FromString
        response: Any = parse(answer)
        return self._comparer.compare(call.method, parse(call.response), response), response.model_version


class _Kept:
    """A call's messages, of which it keeps the last as it passes."""

    def __init__(self, messages: Iterator[bytes]) -> None:
        self._messages = messages
        self.last = b""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self.last = next(self._messages)
        return self.last


def shadow_credentials(settings: Settings) -> Followed[grpc.ChannelCredentials] | None:
    """What the connection to the shadow is secured with: in clear text None, else with our own certificate, if any.

    Raises:
        SettingsError: the files cannot be used.
    """
    if settings.shadow_ca is None:
        return None
    own = (settings.tls_certificate, settings.tls_key) if settings.tls_certificate and settings.tls_key else ()
    return Followed("REGULARS_SHADOW_CA", (settings.shadow_ca, *own), _read)


def _read(contents: tuple[bytes, ...]) -> grpc.ChannelCredentials:
    authorities, *own = contents
    check_authorities("REGULARS_SHADOW_CA", authorities)
    certificate, key = own or (None, None)
    return grpc.ssl_channel_credentials(authorities, key, certificate)
