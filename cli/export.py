"""export: a list for a marketing tool out of scores."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from rich.markup import escape

from cli.console import err, out, table
from cli.errors import CommandError
from cli.main import PROJECT_FILE
from features.forgotten import ids_of, read_forgotten
from features.project import load_project
from services.batch.export import Exported, Wanted
from services.batch.export import export as write_list
from services.batch.filters import Percent
from services.batch.place import Place
from services.batch.rejected import ID

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path


def export(options: argparse.Namespace) -> int:
    """Whoever is to be forgotten or not to be contacted is never on the list."""
    wanted = Wanted(
        where=options.where,
        order_by=options.order_by,
        ascending=options.ascending,
        top=_top(options.top) if options.top else None,
        columns=_names(options.columns) if options.columns else (),
        names=dict(map(_renaming, options.names)),
        excepted=_excepted(options.excepted),
        forgotten=_forgotten(options.project),
    )
    made = write_list([Place(folder) for folder in options.scores], Place(options.out), wanted)
    _report(made, wanted, options.out)
    return 0


def _top(text: str) -> int | Percent:
    try:
        if text.endswith("%"):
            return Percent.read(text.removesuffix("%"))
        most = int(text)
    except ValueError as error:
        raise CommandError(f"--top {text}: {error}; write for example --top 500 or --top 10%") from None
    if most < 1:
        raise CommandError(f"--top {text} leaves nobody; write for example --top 500 or --top 10%")
    return most


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them; one that holds a comma stands in quotes."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True)))


def _renaming(text: str) -> tuple[str, str]:
    """A column and what it is to be called."""
    name, found, column = text.partition("=")
    if not (found and name and column):
        raise CommandError(f"--as {text} is not NAME=COLUMN; write for example --as 'Risk=churn_probability'")
    return column, name


def _excepted(files: Iterable[Path]) -> frozenset[str]:
    # Spreadsheets put a mark before the first line.
    return frozenset(customer for file in files for customer in ids_of(file.read_text("utf-8-sig"))) - {ID}


def _forgotten(project: Path) -> frozenset[str]:
    """Those on the project's list; scores may lie where there is no project."""
    if project == PROJECT_FILE and not project.exists():
        err.print(f"[dim]there is no {project} here, so no list of customers to forget was read[/]")
        return frozenset()
    return read_forgotten(load_project(project).privacy.forgotten)


def _report(made: Exported, wanted: Wanted, written: str) -> None:
    counts = made.counts
    rows = [(f"{made.rows:,}", f"of {counts.customers:,} customers"), *_left_out(made, wanted)]
    rows.append(("order", escape(made.order)))
    if made.where:
        rows.append(("filter", escape(made.where)))
    rows.append(("written", escape(f"{written}, and where it comes from: {written}.json")))
    table("list", ("", ""), rows)
    if wanted.excepted and not counts.excepted:
        out.print("nobody of --except was left out for it: see that ids are written there as in the scores")
    if made.formulas:
        out.print(
            f"{made.formulas:,} ids begin with =, +, - or @, and a spreadsheet would take them for formulas: import "
            "the list as text, or write .parquet"
        )


def _left_out(made: Exported, wanted: Wanted) -> list[tuple[str, str]]:
    """Why others are not on the list."""
    counts = made.counts
    reasons = (
        (counts.forgotten, "are to be forgotten"),
        (counts.no_consent, "gave no consent"),
        (counts.excepted, f"are not to be contacted, of {len(wanted.excepted):,} ids that --except names"),
        (counts.without_score, "have no score by which to choose or to order"),
        (counts.not_chosen, "are not in the filter"),
        (counts.chosen - made.rows, "come after those of --top"),
    )
    return [(f"{count:,}", reason) for count, reason in reasons if count]
