"""What a run of 'regulars score' came to: who was scored, how the scores are spread, and whether they have moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from cli.console import out, table
from model_registry.release import SHOWN_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from services.batch.place import Place
    from services.batch.run import Summary
    from services.batch.scorers import Model
    from services.batch.summary import OutputDrift


def show(summary: Summary, models: Sequence[Model], output: Place) -> None:
    table("scores", ("", ""), _run(summary, output))
    table("who was scored", ("model", "version", "status", "customers", "share"), _statuses(summary))
    if summary.bands:
        table("where scores lie", ("column", "", "customers", "share"), _bands(summary, models))
    if summary.drifts:
        headers = ("output", "PSI", "limit", "bins, % points")
        table("scores against those of the customers whom the models were tested on", headers, _drifts(summary))
    for line in notes(summary, models):
        out.print(f"- {line}", markup=False)


def notes(summary: Summary, models: Sequence[Model]) -> Iterator[str]:
    """What has moved, and why of some scores nobody can tell."""
    for one in summary.drifts:
        if one.moved:
            version = summary.identity.models[one.model]["version"]
            yield (
                f"{one.output} has moved (PSI {one.psi:.3f}, limit {one.limit:.3f}): 'regulars audit drift "
                f"{one.model}@{version} --input FILE' tells which inputs did"
            )
    few = dict.fromkeys(one.model for one in summary.drifts if not one.is_sufficient)
    if few:
        yield f"too few customers to tell whether scores have moved: {', '.join(few)}"
    unknown = [model.name for model in models if any(output.distribution is None for output in model.schema.outputs)]
    if unknown:
        yield (
            "whether scores have moved is unknown without frozen bins, because an earlier release trained or serves "
            f"the model: {', '.join(unknown)}"
        )


def _run(summary: Summary, output: Place) -> Iterator[tuple[str, str]]:
    yield "rows", f"{summary.rows:,}"
    if summary.scored_now < summary.rows:
        yield "done before", f"{summary.rows - summary.scored_now:,}"
    if summary.rejected:
        yield "set aside", f"{summary.rejected:,} ({summary.rejected_share:.2%})"
    yield "seconds", f"{summary.seconds:.2f}"
    if summary.scored_now:
        yield "rows a second", f"{summary.scored_now / summary.seconds:,.0f}"
    yield "folder", escape(str(output))


def _statuses(summary: Summary) -> Iterator[tuple[str, ...]]:
    for model, statuses in summary.statuses.items():
        made = summary.identity.models[model]
        named = model, f"{made['version']} ({made['digest'][:SHOWN_DIGITS]})"
        for status, count in statuses.items():
            yield *named, status.lower(), *_counted(count, statuses)
            named = "", ""


def _bands(summary: Summary, models: Sequence[Model]) -> Iterator[tuple[str, ...]]:
    """From low to high, where the models tell."""
    order = [band.name for model in models for output in model.schema.outputs for band in output.bands]
    for column, bands in summary.bands.items():
        name = escape(column)
        for band in sorted(bands, key=lambda band: order.index(band) if band in order else len(order)):
            yield name, escape(band), *_counted(bands[band], bands)
            name = ""


def _counted(count: int, counts: Mapping[str, int]) -> tuple[str, str]:
    return f"{count:,}", f"{count / sum(counts.values()):.1%}"


def _drifts(summary: Summary) -> Iterator[tuple[str, ...]]:
    for one in summary.drifts:
        moved = f"[red]{one.psi:.3f}[/]" if one.moved else f"{one.psi:.3f}"
        yield escape(one.output), moved, f"{one.limit:.3f}", " ".join(_points(one))


def _points(drift: OutputDrift) -> Iterator[str]:
    """What each bin has won or lost."""
    for then, now in zip(drift.then, drift.now, strict=True):
        points = round(100 * (now - then))
        yield f"{points:+}" if points else "0"
