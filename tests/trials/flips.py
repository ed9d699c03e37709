"""Releases change under load: nobody is failed, nobody gets one version's name with another's answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.bundles import SAMPLES
from tests.support.polling import PATIENCE_SECONDS
from tests.trials.harness import Result, Usage, at_least, at_most, percentile, say, told
from tests.trials.http2 import Pool
from tests.trials.requests import Asked, Owed, customers, release_forest, release_variant, said
from tests.trials.servers import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from model_registry.release import Release
    from services.methods import Method
    from tests.support.server import ServerProcess
    from tests.trials.http2 import Answer


@dataclass(frozen=True)
class Size:
    flips: int
    """Of each of the four models."""
    calm_seconds: float
    every_seconds: float
    """From one release to the next."""


FULL, QUICK = Size(flips=50, calm_seconds=5.0, every_seconds=0.3), Size(4, 0.5, 0.1)

ROWS = 64
CALLERS = 3
"""For one customer at a time; one more asks for tables, one streams them."""
PAUSE_SECONDS = 0.01
"""Between two calls of a caller: they are a load, no overload."""
SEEDS = {"odd": 0.25, "even": 0.75}
"""What makes the two versions two models."""
WORST_RATIO = 2.0


@dataclass
class Watched:
    """What the callers of one model saw."""

    owed: dict[str, Owed]
    versions: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    seconds: list[float] = field(default_factory=list)

    def see(self, method: Method, answer: Answer, row: int | None = None) -> None:
        """`row` is the customer's, None for the table of all."""
        self.seconds.append(answer.seconds)
        messages = answer.messages()
        if answer.ok and messages:
            self.compare(method, messages[0], row)
        else:
            self.failed[f"{answer.code.name} {answer.text}"] += 1

    def compare(self, method: Method, message: bytes, row: int | None = None) -> None:
        version, bits = said(method, message)
        owed = self.owed[version]
        self.versions[version] += 1
        self.mixed += bits != (owed.table if row is None else owed.rows[row])


@dataclass(frozen=True)
class Flipped:
    """One model's callers before and while its versions changed, and how the server counted."""

    calm: Watched
    flipping: Watched
    swaps: float
    refused: float

    @property
    def ratio(self) -> float:
        return percentile(self.flipping.seconds, 99) / percentile(self.calm.seconds, 99)


def run(size: Size, folder: Path) -> list[Result]:
    flipped = {model: _try(model, size, folder) for model in SAMPLES}
    watched = [side for tried in flipped.values() for side in (tried.calm, tried.flipping)]
    failed = sum((side.failed for side in watched), Counter[str]())
    return [
        at_least(
            "swaps", sum(tried.swaps for tried in flipped.values()), len(SAMPLES) * size.flips, note="of four models"
        ),
        at_most("releases refused", sum(tried.refused for tried in flipped.values()), 0),
        told("answers compared", sum(side.versions.total() for side in watched)),
        at_most("calls failed", failed.total(), 0, note=str(dict(failed)) if failed else ""),
        at_most(
            "answers that are not, to the last bit, those of the version they name", sum(s.mixed for s in watched), 0
        ),
        *(_latency(model, tried) for model, tried in flipped.items()),
        at_least("control: answers mixed if the two names were exchanged", _exchanged(flipped["churn"]), 1),
    ]


def _latency(model: str, tried: Flipped) -> Result:
    calm, flipping = (percentile(side.seconds, 99) * 1000 for side in (tried.calm, tried.flipping))
    return at_most(
        f"{model}: p99 while swapping to before",
        tried.ratio,
        WORST_RATIO,
        "x",
        f"{flipping:.1f} ms, {calm:.1f} ms before",
    )


def _try(model: str, size: Size, folder: Path) -> Flipped:
    release = _releaser(folder, model)
    asked = Asked(model, customers(ROWS))
    owed = {version: asked.owed(folder, release(version)) for version in SEEDS}
    with serving(folder, model, poll_seconds=0.01) as server, Usage(server) as usage:
        calm, flipping = asyncio.run(_flip(server, asked, owed, release, size))
        swaps = server.metric("regulars_swaps_total", outcome="served") - 1
        refused = server.metric("regulars_swaps_total", outcome="refused")
    say(f"{model}: {dict(flipping.versions)}, failed {dict(flipping.failed)}, mixed {flipping.mixed}; {usage.note}")
    return Flipped(calm, flipping, swaps, refused)


def _exchanged(tried: Flipped) -> int:
    """How many differences a comparison under the wrong names finds: that they can be told apart at all."""
    odd, even = tried.calm.owed.values()
    return sum(one != other for one, other in zip(odd.rows, even.rows, strict=True))


def _releaser(bundles: Path, model: str) -> Callable[[str], Release]:
    """Releases the model's version of that name: of churn a model of a trained one's size."""
    if model == "churn":
        return lambda version: release_forest(bundles, version, seed=int(SEEDS[version] * 4))
    return lambda version: release_variant(bundles, model, version, SEEDS[version])


async def _flip(
    server: ServerProcess, asked: Asked, owed: dict[str, Owed], release: Callable[[str], Release], size: Size
) -> tuple[Watched, Watched]:
    """What callers saw for a while with one version, and while the versions took turns."""
    calm, flipping = Watched(owed), Watched(owed)
    pool = Pool(server.port)
    async with _callers(pool, asked, calm):
        await asyncio.sleep(size.calm_seconds)
    async with _callers(pool, asked, flipping):
        for flip in range(size.flips):
            version = tuple(SEEDS)[flip % 2]
            await asyncio.to_thread(release, version)
            await _served(pool, asked, version)
            await asyncio.sleep(size.every_seconds)
    pool.close()
    return calm, flipping


async def _served(pool: Pool, asked: Asked, version: str) -> None:
    """Waits until the version answers."""
    one = asked.methods.one
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < deadline:
        answer = await pool.call(one.path, asked.rows[0])
        if answer.ok and said(one, answer.messages()[0])[0] == version:
            return
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError(f"version {version} was released and not served within {PATIENCE_SECONDS:.0f} s")


@asynccontextmanager
async def _callers(pool: Pool, asked: Asked, watched: Watched) -> AsyncIterator[None]:
    """Callers of all three methods, until the block ends."""
    stopping = asyncio.Event()
    rows = itertools.cycle(range(ROWS))
    one, batch = asked.methods.one, asked.methods.batch

    async def for_one() -> None:
        while not stopping.is_set():
            row = next(rows)
            watched.see(one, await pool.call(one.path, asked.rows[row]), row)
            await asyncio.sleep(PAUSE_SECONDS)

    async def for_tables() -> None:
        while not stopping.is_set():
            watched.see(batch, await pool.call(batch.path, asked.table))
            await asyncio.sleep(PAUSE_SECONDS)

    callers = [for_one() for _ in range(CALLERS)] + [for_tables(), _stream(pool, asked, watched, stopping)]
    tasks = [asyncio.create_task(caller) for caller in callers]
    yield
    stopping.set()
    await asyncio.gather(*tasks)


async def _stream(pool: Pool, asked: Asked, watched: Watched, stopping: asyncio.Event) -> None:
    """One stream, open through all swaps."""
    method = asked.methods.stream
    stream = (await pool.connection()).start(method.path)
    for sequence in itertools.count():
        if stopping.is_set():
            stream.send_raw(b"", end=True)
            break
        stream.send(asked.stream_table(sequence))
        message = await stream.receive()
        if message is None:
            break
        watched.compare(method, message)
        await asyncio.sleep(PAUSE_SECONDS)
    answer = await stream.done
    if not answer.ok:
        watched.failed[f"stream {answer.code.name} {answer.text}"] += 1
