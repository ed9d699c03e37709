"""features build: every customer's features at a date, as a Parquet file that `regulars score` takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from cli.console import Steps, out
from cli.errors import CommandError
from features.project import load_project
from features.snapshot import snapshot, to_arrow
from features.tables import open_tables

if TYPE_CHECKING:
    import argparse


def build(options: argparse.Namespace) -> int:
    steps = Steps()
    project = load_project(options.project)
    steps(f"opening the tables of {project.name}")
    tables = open_tables(project)
    steps(f"building features as of {options.as_of}")
    started = time.perf_counter()
    features = to_arrow(snapshot(tables, options.as_of))
    seconds = time.perf_counter() - started
    if not features.num_rows:
        raise CommandError(
            f"no customer had an order before {options.as_of}: give a date within your data, and see that ids are "
            "written alike in all tables, and that consent, where it is mapped, was given"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draft = options.out.with_name(f".{options.out.name}")
    pq.write_table(features, draft)
    draft.replace(options.out)
    out.print(
        f"{features.num_rows:,} customers x {features.num_columns - 1} features in {seconds:.2f} s: {options.out}"
    )
    return 0
