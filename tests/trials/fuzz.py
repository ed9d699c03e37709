"""Bytes that no caller should send: mutated messages to every method, garbage instead of HTTP/2."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import psutil
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from regulars.scoring.v1 import scoring_pb2
from services.core.errors import STATUS_TABLE
from tests.support.bundles import SAMPLES
from tests.trials.faulty_server import FAULT
from tests.trials.harness import Result, Usage, at_least, at_most, say, told
from tests.trials.http2 import DATA, HEADERS, PREFACE, SETTINGS, Answer, Pool, frame, framed, headers
from tests.trials.requests import Asked, customers, said
from tests.trials.servers import FAULTY, WORST_GROWTH_MB, resident_mb, serving

if TYPE_CHECKING:
    from pathlib import Path

    from google.rpc import status_pb2

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    messages: int
    """To each of the four servers."""
    garbage: int
    """Connections of bytes that are no HTTP/2, to each."""
    seed: int = 20_261_122


FULL, QUICK = Size(messages=50_000, garbage=2_500), Size(messages=400, garbage=40)
CONTROL = Size(messages=400, garbage=0)

CALLERS = 24
DEADLINE_SECONDS = 10.0
"""Thousands of times longer than any of these messages takes."""
PATIENCE_SECONDS = 30.0
"""After the deadline a call ends whatever the server does, unless it is lost."""
MOST_KEPT = 50
"""Of each kind of fault: at least all that is under way when a server ends."""
CHECK_EVERY = 1_000
"""Messages between two that must be answered as ever."""
RESPELLED, ASTRAY, ENVELOPED = 0.6, 0.08, 0.08
"""Shares of the cases whose values are spoilt, that go to a wrong method, whose five bytes before the message lie."""
LISTENING_SECONDS = 0.05
"""How long a connection of garbage is listened to."""
GARBAGE_AT_ONCE = 16

CODES = {kind.code for kind in STATUS_TABLE} | {
    *(grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)
}
"""The table's, and gRPC's own: for a method that is not there, and for the health of a service that is not there."""

TEXTS = {kind.text for kind in STATUS_TABLE}
TEXTS_OF_GRPC = re.compile(
    r"""
    | Method\ not\ found!
    | ((CLIENT|SERVER):\ )?Received\ message\ larger\ than\ max.*
    | Compression\ bit\ set\ but\ no\ encoding\ configured
    | "b''"\ requires\ exactly\ one\ request\ message\.
    | the\ server\ reset\ the\ stream
    """,
    re.VERBOSE,
)
"""What gRPC's core says before a method is reached; it knows no exception of ours."""

LEAK = re.compile(rb'Traceback|Exception|\w+Error\b|File "|\.py\b')
"""What no answer may hold."""


@dataclass(frozen=True)
class Case:
    """A call that no honest caller makes: these bytes, in the place of messages, to this method."""

    path: str
    data: bytes


@dataclass
class Findings:
    """What the answers were, and what was wrong with them."""

    folder: Path
    seed: int
    codes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def note(self, model: str, number: int, case: Case, answer: Answer | None, fault: str) -> None:
        kind = fault.partition(":")[0]
        self.faults[kind] += 1
        if self.faults[kind] > MOST_KEPT:
            return
        report = {
            "seed": self.seed,
            "model": model,
            "number": number,
            "path": case.path,
            "data": case.data.hex(),
            "fault": fault,
            "answer": None if answer is None else [answer.code.name, answer.text, answer.body.hex()],
        }
        (self.folder / f"{model}-{number}.json").write_text(json.dumps(report, indent=1))


def run(size: Size, folder: Path) -> list[Result]:
    findings = Findings(folder, size.seed)
    began = time.perf_counter()
    growth = [_try(model, size, findings) for model in SAMPLES]
    spent = time.perf_counter() - began
    faults = findings.faults
    total, connections = len(SAMPLES) * size.messages, len(SAMPLES) * size.garbage
    kept = f"kept in .trials/{folder.name}" if faults.total() else ""
    return [
        told("mutated messages", total, note=f"seed {size.seed}, {total / spent:,.0f} a second; {_spread(findings)}"),
        told("connections of garbage", connections),
        at_most("exits of a server", faults["exit"], 0, note=kept),
        at_most("answers UNKNOWN or of no row of the error table", faults["code"], 0),
        at_most("answers with an exception's text", faults["text"] + faults["leak"], 0),
        at_most("calls without an answer before their deadline", faults["lost"], 0),
        at_most("connections worn out by calls that the server never let go", faults["worn"], 0),
        at_most("honest calls in between answered otherwise than before", faults["honest"], 0),
        at_most("failures of ours in the log", faults["bug"], 0),
        at_most("growth of a server's memory", max(growth), WORST_GROWTH_MB, "MB", "from the middle to the end"),
        *_controls(size, folder),
    ]


def _try(model: str, size: Size, findings: Findings, **faulty: Any) -> float:
    """Sends every case of one model; the growth of its server in MB, infinite where it has ended."""
    SAMPLES[model].release(findings.folder, "1")
    with serving(findings.folder, model, **faulty) as server, Usage(server) as usage:
        try:
            grown = asyncio.run(_fuzz(model, server.port, size, findings, server))
        except (OSError, psutil.Error):
            # Nobody answers any more. The cases that were under way are kept.
            grown = float("inf")
        findings.faults["exit"] += server.process.poll() is not None
    # A score that is not finite is what such customers ask for; any other exception is a bug.
    findings.faults["bug"] += sum(event["exception"] != "ScoringError" for event in server.events("a call failed"))
    (findings.folder / f"{model}.log").write_text(server.text())
    say(f"{model}: {dict(findings.codes)}, faults {dict(findings.faults)}, grew {grown:.1f} MB; {usage.note}")
    return grown


def _controls(size: Size, folder: Path) -> list[Result]:
    found = {}
    for fault in ("candour", "frailty"):
        (folder / fault).mkdir()
        found[fault] = Findings(folder / fault, size.seed)
        _try("churn", CONTROL, found[fault], entry=FAULTY, environment={FAULT: fault})
    kept = len(list((folder / "frailty").glob("churn-*.json")))
    return [
        at_least("control: faults found in a server that lets exceptions out", found["candour"].faults.total(), 1),
        at_least(
            "control: exits found of a server that dies of a table without ids", found["frailty"].faults["exit"], 1
        ),
        at_least("control: messages kept that were under way when it died", kept, 1),
    ]


def _spread(findings: Findings) -> str:
    total = sum(findings.codes.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in findings.codes.most_common(5))


async def _fuzz(model: str, port: int, size: Size, findings: Findings, server: ServerProcess) -> float:
    """Sends every case of one model; the growth of its server in MB."""
    kinds = _kinds(model)
    numbers = iter(range(size.messages))
    warm = [0.0]
    pool = Pool(port)
    asked = Asked(model, customers(4))
    honest = await _honest(pool, asked)

    async def caller() -> None:
        for number in numbers:
            case = make_case(kinds, Random(f"{size.seed} {model} {number}"))
            answer = await _send(pool, case, findings)
            fault = "lost: no answer" if answer is None else find_fault(answer, kinds.get(case.path))
            findings.codes["none" if answer is None else answer.code.name] += 1
            if fault:
                findings.note(model, number, case, answer, fault)
            if number % CHECK_EVERY == 0 and await _honest(pool, asked) != honest:
                findings.note(model, number, case, answer, "honest: an honest call was answered otherwise")
            if number == size.messages // 2:
                warm[0] = resident_mb(server)
            if number % 10_000 == 0:
                say(f"{model}: {number:,} of {size.messages:,}")

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await _send_garbage(model, port, size, findings)
    if await _honest(pool, asked) != honest:
        findings.faults["honest"] += 1
    pool.close()
    return resident_mb(server) - warm[0]


async def _honest(pool: Pool, asked: Asked) -> object:
    answer = await pool.call(asked.methods.one.path, asked.rows[0], PATIENCE_SECONDS)
    return said(asked.methods.one, answer.messages()[0]) if answer.ok else answer.code


async def _send(pool: Pool, case: Case, findings: Findings) -> Answer | None:
    """The answer, or None where none came."""
    while True:
        connection = await pool.connection()
        stream = connection.start(case.path, DEADLINE_SECONDS)
        stream.send_raw(case.data, end=True)
        try:
            answer = await asyncio.wait_for(stream.done, PATIENCE_SECONDS)
        except TimeoutError:
            return None
        if not answer.unseen:
            return answer
        # Far fewer calls are in flight than a connection may carry: the server has not let go of earlier ones.
        findings.faults["worn"] += not connection.closing
        connection.closing = True


def find_fault(answer: Answer, asked: _Kind | None) -> str | None:
    """What is wrong with an answer, its kind before a colon; `asked` is the method, where there is such a one."""
    if answer.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"lost: not answered within {DEADLINE_SECONDS:.0f} s"
    if answer.code not in CODES:
        return f"code: {answer.code.name}"
    if answer.text not in TEXTS and not TEXTS_OF_GRPC.fullmatch(answer.text):
        return f"text: {answer.text}"
    details = answer.trailers.get("grpc-status-details-bin", b"")
    if LEAK.search(details):
        return "leak: the details hold what looks like an exception"
    return _find_fault_of_messages(answer, asked.response) if asked and asked.response else None


def _find_fault_of_messages(answer: Answer, response: type[Message]) -> str | None:
    for message in answer.messages():
        try:
            read: Any = response.FromString(message)
        except DecodeError:
            return "code: an answer that is no message of its method"
        if "error" in response.DESCRIPTOR.fields_by_name and read.HasField("error"):
            error: status_pb2.Status = read.error
            if error.code not in {code.value[0] for code in CODES} or error.message not in TEXTS:
                return f"text: {error.code} {error.message}"
            if LEAK.search(error.SerializeToString()):
                return "leak: the details of a table's error hold what looks like an exception"
    return None


@dataclass(frozen=True)
class _Kind:
    """One method: messages that honest callers send, how likely it is chosen, and its types where they are ours."""

    path: str
    honest: list[bytes]
    weight: int
    request: type[Message]
    response: type[Message] | None = None


def _kinds(model: str) -> dict[str, _Kind]:
    asked = [Asked(model, customers(rows, seed=rows)) for rows in (1, 3, 40)]
    service, methods = asked[0].service, asked[0].methods
    ours = (
        (methods.one, [row for some in asked for row in some.rows[:8]]),
        (methods.batch, [some.table for some in asked]),
        (methods.stream, [some.stream_table(sequence) for sequence, some in enumerate(asked)]),
    )
    checks = [health_pb2.HealthCheckRequest(service=name).SerializeToString() for name in ("", service)]
    reflections = [
        reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString(),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=service).SerializeToString(),
    ]
    kinds = [
        *(_Kind(method.path, honest, 8, method.request, method.response) for method, honest in ours),
        _Kind("/regulars.scoring.v1.ModelService/GetModel", [b""], 2, scoring_pb2.GetModelRequest),
        _Kind("/grpc.health.v1.Health/Check", checks, 1, health_pb2.HealthCheckRequest),
        _Kind(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            *(reflections, 1, reflection_pb2.ServerReflectionRequest),
        ),
    ]
    return {kind.path: kind for kind in kinds}


def make_case(kinds: dict[str, _Kind], random: Random) -> Case:
    """Chooses a method and an honest message, and spoils its values, its bytes, or both; some go astray as well."""
    (kind,) = random.choices(list(kinds.values()), [kind.weight for kind in kinds.values()])
    message = random.choice(kind.honest)
    respelled = random.random() < RESPELLED
    if respelled:
        message = _respell(message, kind.request, random)
    for _ in range(random.randint(0, 1) if respelled else random.randint(1, 2)):
        message = random.choice(MUTATIONS)(message, random, kinds)
    path = random.choice(_wrong_paths(kind.path, kinds)) if random.random() < ASTRAY else kind.path
    return Case(path, _enveloped(message, random) if random.random() < ENVELOPED else framed(message))


TEXT_EXTREMES = ("", "\0", "x" * 5000, "größe", "\U0001f600", "nan", "frequency", "channel", "web")
NUMBER_EXTREMES = (float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 3.5e38, 5e-324, -0.0, 0.0, 1e9)
WHOLE_EXTREMES = (0, -1, 1, 7, 2**31 - 1, -(2**31))


def _respell(message: bytes, request: type[Message], random: Random) -> bytes:
    """The same kind of message with values that no honest caller gives."""
    read = request.FromString(message)
    for _ in range(random.randint(1, 3)):
        _spoil(read, random)
    return read.SerializeToString()


def _spoil(message: Any, random: Random) -> None:
    """Spoils one value of the message, however deep it lies."""
    if not message.DESCRIPTOR.fields:
        return
    field = random.choice(message.DESCRIPTOR.fields)
    held = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = random.choice([*held, *TEXT_EXTREMES])
        held[key] = _extreme(field.message_type.fields_by_name["value"], random)
    elif not field.is_repeated:
        if field.message_type is not None:
            _spoil(held, random)
        else:
            setattr(message, field.name, _extreme(field, random))
    elif field.message_type is not None:
        if held and random.random() < 0.7:
            _spoil(random.choice(held), random)
        else:
            held.extend([random.choice(held) if held else field.message_type._concrete_class()])
    elif held and random.random() < 0.7:
        held[random.randrange(len(held))] = _extreme(field, random)
    else:
        held.extend([_extreme(field, random)] * random.randint(1, 100))


def _extreme(field: FieldDescriptor, random: Random) -> str | float:
    if field.type == FieldDescriptor.TYPE_STRING:
        return random.choice(TEXT_EXTREMES)
    if field.type in {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE}:
        return random.choice(NUMBER_EXTREMES)
    return random.choice(WHOLE_EXTREMES)


def _flip(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    spoilt = bytearray(message)
    for _ in range(random.randint(1, 8) if spoilt else 0):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _truncate(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    return message[: random.randint(0, len(message))]


def _splice(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    other = random.choice(random.choice(list(kinds.values())).honest)
    return message[: random.randint(0, len(message))] + other[random.randint(0, len(other)) :]


def _lie(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    """Puts a length in the place of a byte: of 0, of one too many, of gigabytes, of a varint without an end."""
    at = random.randint(0, len(message))
    length = random.choice((b"\0", b"\x7f", b"\xff\xff\xff\xff\x07", b"\xff" * 11, b"\x80\x80\x80\x80\x80\x80\x01"))
    return message[:at] + length + message[at + 1 :]


def _insert(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    at = random.randint(0, len(message))
    return message[:at] + random.randbytes(random.randint(1, 40)) + message[at:]


def _repeat(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    return message * random.randint(2, 20)


def _replace(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    return random.randbytes(random.randint(0, 300))


def _nest(message: bytes, random: Random, kinds: dict[str, _Kind]) -> bytes:
    """A message in a message, deeper than a parser follows: groups, opened and seldom closed."""
    depth = random.randint(1, 400)
    return message + b"\x0b" * depth + (b"\x0c" * depth if random.random() < 0.5 else b"")


MUTATIONS = (_flip, _flip, _truncate, _splice, _lie, _insert, _repeat, _replace, _nest)


def _wrong_paths(path: str, kinds: dict[str, _Kind]) -> list[str]:
    service, _, name = path.rpartition("/")
    others = [other for other in kinds if other != path]
    return [*others, f"{service}/{name}s", f"{service}/", f"/{name}", "/", "no/slash", path.lower(), f"{path}/{name}"]


def _enveloped(message: bytes, random: Random) -> bytes:
    """A message whose five bytes before it lie, or that does not come alone."""
    honest = framed(message)
    return random.choice(
        (
            b"\x01" + honest[1:],
            bytes((random.randint(2, 255),)) + honest[1:],
            honest[:1] + random.randbytes(4) + message,
            honest[:1] + (len(message) + random.randint(1, 100)).to_bytes(4) + message,
            honest[:1] + max(0, len(message) - random.randint(1, 100)).to_bytes(4) + message,
            honest[: random.randint(0, 5)],
            honest + honest,
            honest + message[:7],
            b"",
        )
    )


async def _send_garbage(model: str, port: int, size: Size, findings: Findings) -> None:
    numbers = iter(range(size.garbage))
    session = _honest_session(model)

    async def caller() -> None:
        for number in numbers:
            data = make_garbage(session, Random(f"{size.seed} {model} garbage {number}"))
            heard = await _say_garbage(port, data)
            if LEAK.search(heard):
                findings.note(model, number, Case("garbage", data), None, "leak: garbage was answered with a trace")

    await asyncio.gather(*(caller() for _ in range(GARBAGE_AT_ONCE)))


def _honest_session(model: str) -> list[bytes]:
    """The frames of a call as a client sends them."""
    asked = Asked(model, customers(1))
    return [
        PREFACE,
        frame(SETTINGS, 0, 0),
        frame(HEADERS, 4, 1, headers(asked.methods.one.path)),
        frame(DATA, 1, 1, framed(asked.rows[0])),
    ]


def make_garbage(session: list[bytes], random: Random) -> bytes:
    """Bytes for a connection of its own."""
    return random.choice(GARBAGE)(session, random)


def _noise(session: list[bytes], random: Random) -> bytes:
    return random.randbytes(random.randint(1, 2000))


def _noise_after_preface(session: list[bytes], random: Random) -> bytes:
    return PREFACE + _noise(session, random)


def _other_protocol(session: list[bytes], random: Random) -> bytes:
    """HTTP/1.1, or how a TLS client begins."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(512)
    return random.choice((b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", hello))


def _frames_of_every_kind(session: list[bytes], random: Random) -> bytes:
    frames = (
        frame(random.randrange(12), random.randrange(256), random.randrange(8), random.randbytes(random.randrange(20)))
        for _ in range(random.randint(1, 60))
    )
    return b"".join([*session[:2], *frames])


def _unfinished(session: list[bytes], random: Random) -> bytes:
    """A frame that claims megabytes and stays short, or a header block that never ends."""
    head = (2**24 - 1).to_bytes(3) + bytes((random.choice((DATA, HEADERS)), 0)) + (1).to_bytes(4)
    return b"".join(session[:2]) + head + random.randbytes(500)


def _out_of_order(session: list[bytes], random: Random) -> bytes:
    frames = session[1:] * random.randint(1, 3)
    random.shuffle(frames)
    return PREFACE + b"".join(frames)


def _flipped(session: list[bytes], random: Random) -> bytes:
    spoilt = bytearray(b"".join(session))
    for _ in range(random.randint(1, 6)):
        spoilt[random.randrange(len(PREFACE), len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


GARBAGE = (
    *(_noise, _noise_after_preface, _other_protocol, _frames_of_every_kind),
    *(_unfinished, _out_of_order, _flipped, _flipped),
)


async def _say_garbage(port: int, data: bytes) -> bytes:
    """Says it on a connection of its own, and listens for a while."""
    heard = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        async with asyncio.timeout(LISTENING_SECONDS):
            while chunk := await reader.read(65_536):
                heard += chunk
    except (TimeoutError, ConnectionError):
        pass
    writer.transport.abort()
    return heard
