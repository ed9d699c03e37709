"""How features, training, audits and scoring grow with the customers, tenfold by tenfold, over generated shops.

Every figure is of one command as its user starts it: its time, and the most memory that it and its children held.

REGULARS_LARGEST=1000000 ./dev bench growth          by default; ten million take most of an hour and some 20 GB of disk
"""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.batch import REGULARS, peak_mb
from benchmarks.harness import Figure
from benchmarks.serving import environment

SMALLEST = 10_000
LARGEST = int(os.environ.get("REGULARS_LARGEST", "1000000"))

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
class Command:
    """One command's cost over a shop."""

    seconds: float
    megabytes: float


def measure() -> list[Figure]:
    sizes = [SMALLEST * 10**power for power in range(round(math.log10(LARGEST / SMALLEST)) + 1)]
    figures: list[Figure] = []
    costs: dict[str, list[tuple[int, Command]]] = {}
    for customers in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lines = write_shop(folder, customers)
            figures.append(Figure(f"{customers:,} customers", lines, "lines"))
            for step, arguments in STEPS.items():
                cost = run(folder, arguments)
                costs.setdefault(step, []).append((customers, cost))
                note = f"{cost.megabytes:,.0f} MB at its peak"
                figures.append(Figure(f"{step}, {customers:,} customers", cost.seconds, "s", note=note))
    return [*figures, *(exponent(step, measured) for step, measured in costs.items() if len(measured) > 1)]


STEPS = {
    "features": ("features", "build", "--as-of", AS_OF, "--out", "features.parquet"),
    "training of churn": ("train", "churn", "--as-of", AS_OF),
    "fairness audit": ("audit", "fairness", "churn", "--as-of", AS_OF),
    "promotion": ("promote", "churn", "--override", "fairness audit", "--by", "benchmark", "--reason", "growth"),
    "sync": ("sync", "churn@champion", "--to", ".regulars/bundles"),
    "scoring": ("score", "churn", "--input", "features.parquet", "--output", "scores"),
    "drift audit": ("audit", "drift", "churn", "--input", "features.parquet"),
}


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


def run(folder: Path, arguments: tuple[str, ...]) -> Command:
    """An audit may come to any verdict, which is its exit status; nothing else may fail."""
    started = time.perf_counter()
    log = folder / "log.txt"
    with (
        log.open("w") as written,
        subprocess.Popen(
            [str(REGULARS), *arguments], cwd=folder, env=environment(), stdout=written, stderr=written
        ) as process,
    ):
        megabytes = peak_mb(process)
    if process.returncode != 0 and arguments[0] != "audit":
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return Command(time.perf_counter() - started, megabytes)


def exponent(step: str, measured: list[tuple[int, Command]]) -> Figure:
    """Of the last tenfold, in which start-up counts least: 1 is time that grows as the customers do."""
    (few, less), (many, more) = measured[-2:]
    grown = math.log(more.seconds / less.seconds) / math.log(many / few)
    held = math.log(more.megabytes / less.megabytes) / math.log(many / few)
    return Figure(
        f"{step}, exponent of time", grown, "", note=f"of memory {held:.2f}, from {few:,} to {many:,} customers"
    )
