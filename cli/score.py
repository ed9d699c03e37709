"""score: a file of customers into a folder of scores."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.console import err, table
from cli.errors import CommandError
from features.project import load_project
from model_registry.bundle import read_bundle
from model_registry.release import bundle_folder, read_release
from model_registry.schema import Feature, Schema
from model_registry.servable import Servable
from regulars.scoring.v1 import scoring_pb2
from services.batch import job
from services.batch.customers import read_batches
from services.batch.engines import score_locally, score_remotely
from services.client import Security, load_client

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from services.client import AnyClient


def score(options: argparse.Namespace) -> int:
    """Scores through a server if --target is given, otherwise in this process."""
    if options.target and options.bundles:
        raise CommandError("give --target to score through a server, or --bundles to score here; not both")
    versions: set[str] = set()
    if options.target:
        security = Security(ca=options.ca, certificate=options.certificate, key=options.key, token=options.token)
        with load_client(options.model)(options.target, security) as client:
            schema = _served_schema(client, options.model)
            summary = _run(options, schema, partial(score_remotely, client, schema, versions=versions), versions)
    else:
        bundles = options.bundles or load_project(options.project).registry.bundles
        servable, version = _load(bundles, options.model)
        versions.add(version)
        summary = _run(options, servable.schema, partial(score_locally, servable), versions)
    _report(summary, options.output)
    return 0


def _run(options: argparse.Namespace, schema: Schema, engine: job.Engine, versions: set[str]) -> job.Summary:
    rows, batches = read_batches(options.input, schema)
    with _progress() as progress:
        task = progress.add_task("scoring", total=rows)
        return job.run(
            options.model, batches, engine, versions, options.output, lambda done: progress.update(task, completed=done)
        )


def _load(bundles: Path, model: str) -> tuple[Servable, str]:
    release = read_release(bundles, model)
    if release is None:
        raise CommandError(
            f"{bundles} holds no released {model}; run 'regulars sync {model}@champion --to {bundles}', "
            "or give --target for a running server"
        )
    servable = Servable(read_bundle(bundle_folder(bundles, model, release.digest)))
    return servable, f"{release.version} ({release.digest[:12]})"


def _served_schema(client: AnyClient, wanted: str) -> Schema:
    served = client.get_model()
    if served.model_version.name != wanted:
        raise CommandError(f"that server serves {served.model_version.name}, not {wanted}; give the port of {wanted}")
    kinds = {scoring_pb2.FEATURE_KIND_NUMERIC: "numeric", scoring_pb2.FEATURE_KIND_CATEGORICAL: "categorical"}
    return Schema(
        features=tuple(
            Feature(entry.name, kinds[entry.kind], nullable=entry.nullable)  # type: ignore[arg-type]  # the two kinds
            for entry in served.model.inputs
        ),
        outputs=(),
    )


def _progress() -> Progress:
    # Drawn on a terminal only: a pipe gets the summary.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)


def _report(summary: job.Summary, output: Path) -> None:
    rows = [
        ("rows", f"{summary.rows:,}"),
        *((status.lower(), f"{count:,}") for status, count in sorted(summary.statuses.items())),
        ("seconds", f"{summary.seconds:.2f}"),
        ("version", ", ".join(summary.versions)),
        ("scores", str(output / job.SCORES_FILE)),
    ]
    table(f"{summary.model} scores", ("", ""), rows)
