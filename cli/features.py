"""features build: every customer's features at a date, as a Parquet file that `regulars score` takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.console import Steps, out
from cli.errors import CommandError
from features.project import load_project
from features.snapshot import snapshot, to_arrow
from features.stamp import stamped
from features.tables import open_tables

if TYPE_CHECKING:
    import argparse
    import datetime as dt
    from collections.abc import Callable

    import pyarrow as pa

    from features.project import Project

NAMES = ("customer_id", "consent")
"""Columns that are no features."""


def build(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    customers = customers_as_of(load_project(options.project), options.as_of, Steps())
    seconds = time.perf_counter() - started
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draft = options.out.with_name(f".{options.out.name}")
    pq.write_table(customers, draft)
    draft.replace(options.out)
    features = [name for name in customers.schema.names if name not in NAMES]
    out.print(f"{customers.num_rows:,} customers x {len(features)} features in {seconds:.2f} s: {options.out}")
    silent = _without_consent(customers)
    if silent:
        out.print(f"{silent:,} of them gave no consent: they are named, and none of their features is told")
    return 0


def customers_as_of(project: Project, as_of: dt.date, progress: Callable[[str], None]) -> pa.Table:
    """Every customer's features at a date, with the date; `progress` is told each step.

    Raises:
        FeaturesError: the project's tables cannot be used as they are.
        CommandError: there is nobody, or nobody who gave consent.
    """
    progress(f"opening the tables of {project.name}")
    tables = open_tables(project)
    progress(f"building features as of {as_of}")
    customers = to_arrow(snapshot(tables, as_of))
    silent = _without_consent(customers)
    if not customers.num_rows:
        raise CommandError(f"no customer had an order before {as_of}: give a date within your data")
    if silent == customers.num_rows:
        raise CommandError(
            f"none of {silent:,} customers gave consent: see that ids are written alike in all tables, and that "
            "tables.customers.consent is the right column"
        )
    return stamped(customers, as_of)


def _without_consent(customers: pa.Table) -> int:
    """How many customers gave no consent, where they were asked."""
    if "consent" not in customers.schema.names:
        return 0
    silent: int = customers.filter(~pc.field("consent")).num_rows
    return silent
