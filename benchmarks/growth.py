"""How features, training, audits and scoring grow with the customers, tenfold by tenfold, over generated shops.

Every figure is of one command as its user starts it: its time, and the most memory that it and its children held. What
breaks is a figure too, with the reason; whatever does not need it goes on.

REGULARS_LARGEST=10000000 ./dev bench growth          by default a million
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from benchmarks.batch import REGULARS, peak_mb
from benchmarks.harness import Figure
from benchmarks.serving import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALLEST = 10_000
LARGEST = int(os.environ.get("REGULARS_LARGEST", "1000000"))

LONGEST_SECONDS = 5400.0
"""A command that takes longer counts as broken: a night has room for a few of these, and no more."""

DISK_A_CUSTOMER = 4_000
"""Bytes, of which tables, features and scores take 600; the rest is for what DuckDB lays aside."""

AS_OF = "2024-12-01"

PROJECT = """
[project]
name = "Generated shop"
currency = "EUR"

[tables.transactions]
source = "lines.parquet"
customer = "customer"
time = "paid_at"
amount = "amount"
order = "order"
category = "category"

[tables.customers]
source = "customers.parquet"
customer = "customer"
sensitive = ["region"]

[churn]
horizon_days = 30
active_days = 90

[training]
snapshots = 6
spacing_days = 30
"""

# Everybody begins on a day of the first half year, orders at a pace of their own, and leaves or does not: what one
# can learn is the pace and the silence. Chance is a hash of who and what, so a shop of ten times the size begins with
# the customers of the smaller one.
CUSTOMERS = """
    CREATE TABLE customers AS
    SELECT customer,
           chance(customer, 1) * 180 AS first_day,
           least(366, first_day + 40 - 250 * ln(chance(customer, 2))) AS last_day,
           4 + 60 * chance(customer, 3) ** 2 AS gap,
           'region ' || (hash(customer, 4) % 5)::VARCHAR AS region
    FROM (SELECT range AS customer FROM range(?))
"""
LINES = """
    SELECT customer,
           TIMESTAMP '2024-01-01'
               + to_seconds((86400 * (first_day + (number + chance(customer, 100 + number)) * gap))::BIGINT) AS paid_at,
           customer * 1000 + number AS "order",
           'category ' || (hash(customer, number, line) % 8)::VARCHAR AS category,
           round(exp(1 + 2 * chance(customer, 5) + chance(customer * 1000 + number, 6 + line)), 2) AS amount
    FROM (SELECT *, unnest(range((1 + (last_day - first_day) / gap)::BIGINT)) AS number FROM customers)
    CROSS JOIN (SELECT range AS line FROM range(2))
    WHERE first_day + (number + 1) * gap < 366
"""


@dataclass(frozen=True)
class Step:
    """A command of the suite, and the steps without which there is nothing for it to work on.

    One that `judges` tells its verdict by its exit status, which may be any.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    judges: bool = False


@dataclass(frozen=True)
class Cost:
    """What a command took. `broke` says why it came to no end, where it did not."""

    seconds: float
    megabytes: float
    broke: str = ""

    @property
    def note(self) -> str:
        return self.broke or f"{self.megabytes:,.0f} MB at its peak"


OVERRIDE = ("--override", "fairness audit", "--by", "benchmark", "--reason", "growth")
STEPS = (
    Step("features", ("features", "build", "--as-of", AS_OF, "--out", "features.parquet")),
    Step("training of churn", ("train", "churn", "--as-of", AS_OF)),
    Step("fairness audit", ("audit", "fairness", "churn", "--as-of", AS_OF), ("training of churn",), judges=True),
    Step("promotion", ("promote", "churn", *OVERRIDE), ("training of churn",)),
    Step("sync", ("sync", "churn@champion", "--to", ".regulars/bundles"), ("promotion",)),
    Step("scoring", ("score", "churn", "--input", "features.parquet", "--output", "scores"), ("features", "sync")),
    Step(
        "drift audit",
        ("audit", "drift", "churn", "--input", "features.parquet"),
        ("features", "promotion"),
        judges=True,
    ),
)


def measure() -> list[Figure]:
    figures: list[Figure] = []
    costs: dict[str, list[tuple[int, Cost]]] = {}
    for customers in sizes():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            figures.append(of_shop(folder, customers))
            if math.isnan(figures[-1].value):
                break
            for step, cost in costs_of(folder, STEPS):
                costs.setdefault(step.name, []).append((customers, cost))
                figures.append(Figure(f"{step.name}, {customers:,} customers", cost.seconds, "s", note=cost.note))
                tell(figures[-1])
    whole = {step: [(size, cost) for size, cost in measured if not cost.broke] for step, measured in costs.items()}
    return [*figures, *(exponent(step, measured) for step, measured in whole.items() if len(measured) > 1)]


def sizes() -> list[int]:
    """Those that fit on the disk.

    Raises:
        OSError: one of them does not.
    """
    powers = range(math.floor(math.log10(LARGEST / SMALLEST) + 1e-9) + 1)
    needed, free = LARGEST * DISK_A_CUSTOMER, shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise OSError(
            f"{LARGEST:,} customers need {needed / 1e9:.0f} GB below {tempfile.gettempdir()}, and {free / 1e9:.0f} GB "
            "are free; set TMPDIR, or a smaller REGULARS_LARGEST"
        )
    return [SMALLEST * 10**power for power in powers]


def of_shop(folder: Path, customers: int) -> Figure:
    """Writes a shop, and tells how large it is, or why it could not be written."""
    name = f"{customers:,} customers"
    try:
        figure = Figure(name, write_shop(folder, customers), "lines")
    except (duckdb.Error, OSError) as error:
        figure = Figure(name, math.nan, "lines", note=f"breaks: {error}".partition("\n")[0])
    tell(figure)
    return figure


def costs_of(
    folder: Path, steps: Sequence[Step], program: Sequence[str] = (str(REGULARS),)
) -> Iterator[tuple[Step, Cost]]:
    """Each step in its turn; one that needs what broke is not run."""
    broken: list[str] = []
    for step in steps:
        if missing := [name for name in step.needs if name in broken]:
            cost = Cost(math.nan, math.nan, f"not run without {' and '.join(missing)}")
        else:
            cost = run(folder, step, program)
        if cost.broke:
            broken.append(step.name)
        yield step, cost


def tell(figure: Figure) -> None:
    """Says a figure at once: the largest shops take hours."""
    line = f"{time.strftime('%H:%M:%S')}  {figure.name}: {figure.value:,.4g} {figure.unit}  {figure.note}"
    print(line.rstrip(), file=sys.stderr, flush=True)


def write_shop(folder: Path, customers: int) -> int:
    """Tables of so many customers and a project over them; returns the lines."""
    (folder / "regulars.toml").write_text(PROJECT)
    with duckdb.connect(str(folder / "shop.duckdb")) as shop:
        shop.execute("CREATE MACRO chance(who, what) AS (hash(who, what) % 1000003 + 1) / 1000004.0")
        shop.execute(CUSTOMERS, [customers])
        shop.execute(f"COPY (SELECT customer, region FROM customers) TO '{folder / 'customers.parquet'}'")
        lines = shop.execute(f"COPY ({LINES}) TO '{folder / 'lines.parquet'}'").fetchone()
    (folder / "shop.duckdb").unlink()
    assert lines is not None
    return int(lines[0])


def run(folder: Path, step: Step, program: Sequence[str], longest: float = LONGEST_SECONDS) -> Cost:
    """A step in the shop's folder, to its end or until it breaks."""
    started = time.perf_counter()
    log = folder / "log.txt"
    with (
        log.open("w") as written,
        subprocess.Popen(
            [*program, *step.arguments],
            cwd=folder,
            env=environment(),
            stdout=written,
            stderr=written,
            start_new_session=True,
        ) as process,
    ):
        # Where memory ends, the command is to go, and not who measures it.
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
        watch = threading.Timer(longest, _end, (process.pid,))
        watch.start()
        try:
            megabytes = peak_mb(process)
        finally:
            # Whoever interrupts the benchmark ends the command too, and its children with it.
            watch.cancel()
            _end(process.pid)
    seconds = time.perf_counter() - started
    broke = f"not done after {longest:,.0f} s" if seconds >= longest else why_broken(process.returncode, log, step)
    return Cost(seconds, megabytes, broke and f"breaks: {broke}, at {megabytes:,.0f} MB")


def why_broken(status: int, log: Path, step: Step) -> str:
    """Why a command with this exit status came to no end; nothing where it did."""
    if status < 0:
        where = ", which is what happens where memory ends" if -status == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-status).name}{where}"
    text = log.read_text(errors="replace").strip()
    last = text.splitlines()[-1] if text else "without a word"
    failed = "Traceback (most recent call last)" in text or last.startswith("regulars ")
    if status == 0 or (step.judges and not failed):
        return ""
    return f"exit status {status}, {last}"


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def exponent(step: str, measured: list[tuple[int, Cost]]) -> Figure:
    """Of the last tenfold, in which start-up counts least: 1 is time that grows as the customers do."""
    (few, less), (many, more) = measured[-2:]
    grown = math.log(more.seconds / less.seconds) / math.log(many / few)
    held = math.log(more.megabytes / less.megabytes) / math.log(many / few)
    return Figure(
        f"{step}, exponent of time", grown, "", note=f"of memory {held:.2f}, from {few:,} to {many:,} customers"
    )
