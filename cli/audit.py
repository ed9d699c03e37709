"""audit: drift of a model's inputs and scores, fairness between groups, their reports and metrics."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from audits.drift import Verdict, audit_drift
from audits.drift_report import advice, drift_page
from audits.job import audit_fairness
from audits.population import attributes_of
from audits.publishing import drift_result, fairness_result, push
from audits.publishing import retire as retire_model
from audits.statistics import Verdict as Judged
from audits.wording import advice as fairness_advice
from audits.wording import details, summary, tolerated
from cli.console import Steps, err, out, table
from cli.errors import CommandError
from cli.models import MODELS
from features.project import load_project
from features.stamp import stamp_of
from features.tables import open_tables
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.publishing import write_textfile
from model_registry.registry import CANDIDATE, CHAMPION, named_version, registered_bundle
from model_registry.servable import Servable
from services.batch.intake import read_customers
from services.batch.rejected import ID

if TYPE_CHECKING:
    import argparse

    import pyarrow as pa

    from audits.drift import DriftReport, Movement
    from audits.fairness import Finding
    from audits.population import Partition
    from audits.publishing import Result
    from audits.report import Report
    from features.project import Project
    from model_registry.registry import RegisteredVersion, Registry

STATUSES = {Verdict.STABLE: 0, Verdict.DRIFTED: 1, Verdict.INSUFFICIENT: 3}
"""Exit statuses. 2 is that of a mistake in the command."""

PAGE_FILE = "drift.html"
RECORD_FILE = "drift.json"
ATTACHED = "audits/drift"
"""Where a run keeps its drift audits, each under the day of the customers' features."""

SHOWN = 20
"""Findings on the screen; the report tells of all."""

COLOURS = {True: "green", False: "red"}


def drift(options: argparse.Namespace) -> int:
    """Exit status by verdict, see `STATUSES`."""
    steps = Steps()
    project = load_project(options.project)
    registry = MlflowRegistry(options.registry or project.registry.tracking_uri, must_exist=True)
    version, servable = _load(registry, options.target)
    steps(f"reading {options.input}")
    customers = read_customers([str(options.input)], servable.schema)
    as_of = stamp_of(options.input) or dt.datetime.now(tz=dt.UTC).date()
    started = time.perf_counter()
    partitions = _partitions(project, options.by, customers)
    steps(f"comparing {customers.num_rows:,} customers as of {as_of}")
    report = audit_drift(servable, version.version, customers, as_of, partitions)
    seconds = time.perf_counter() - started
    _show(report)
    _keep(report, registry, version, options.out)
    _publish(drift_result(report, time.time(), seconds), options)
    return STATUSES[report.verdict]


def fairness(options: argparse.Namespace) -> int:
    """Exit status 0 where the verdict is PASS, 1 where something fails or is undecided and nobody answers for it."""
    steps = Steps()
    project = load_project(options.project)
    registry = MlflowRegistry(options.registry or project.registry.tracking_uri, must_exist=True)
    model, reference = _named(options.target, CANDIDATE)
    started = time.perf_counter()
    report = audit_fairness(
        project,
        registry,
        model,
        reference,
        today=dt.datetime.now(tz=dt.UTC).date(),
        as_of=options.as_of,
        out=options.out,
        progress=steps,
    )
    _show_fairness(report)
    _publish(fairness_result(report, time.time(), time.perf_counter() - started), options)
    return 0 if report.verdict is Judged.PASS else 1


def retire(options: argparse.Namespace) -> int:
    retire_model(options.model, options.push)
    out.print(f"the gateway holds nothing of the audits of {options.model} any more")
    return 0


def _named(target: str, default: str) -> tuple[str, str]:
    """Model, and alias or version, of MODEL[@ALIAS]."""
    model, _, reference = target.partition("@")
    if model not in MODELS:
        raise CommandError(f"there is no model {model}; there are {', '.join(MODELS)}")
    return model, reference or default


def _load(registry: Registry, target: str) -> tuple[RegisteredVersion, Servable]:
    """The version that the target names, and its bundle, verified."""
    model, reference = _named(target, CHAMPION)
    version = named_version(registry, model, reference)
    if version is None:
        raise CommandError(f"{model} has no {reference}; see 'regulars models'")
    return version, Servable(registered_bundle(registry, version))


def _partitions(project: Project, names: list[str] | None, customers: pa.Table) -> tuple[Partition, ...]:
    """The customers parted by the chosen sensitive attributes; nothing where none is mapped and none is asked for."""
    mapped = project.tables.customers.sensitive if project.tables.customers else ()
    unknown = [name for name in names or () if name not in mapped]
    if unknown:
        raise CommandError(
            f"--by names {', '.join(unknown)}, which tables.customers.sensitive does not list; "
            f"it lists {', '.join(mapped) or 'nothing'}"
        )
    chosen = mapped if names is None else tuple(names)
    return attributes_of(open_tables(project).customers, chosen, customers.column(ID)) if chosen else ()


def _show(report: DriftReport) -> None:
    moved = (*report.drifted_outputs, *report.drifted_inputs)
    if moved:
        table("moved", ("", "PSI", "limit", "missing then", "now", "never seen"), map(_row, moved))
    colour = COLOURS[report.verdict is Verdict.STABLE]
    out.print(
        f"{report.model} version {report.version}: [{colour}]{report.verdict}[/]; "
        f"{len(report.drifted_outputs)} of {len(report.outputs)} outputs and {len(report.drifted_inputs)} of "
        f"{len(report.inputs)} inputs moved among {report.scored:,} scored customers of {report.customers:,}"
    )
    for line in advice(report):
        out.print(f"- {line}", markup=False)


def _row(moved: Movement) -> tuple[str, ...]:
    shares = (moved.missing.then, moved.missing.now, moved.outside)
    return moved.name, f"{moved.psi:.3f}", f"{moved.limit:.3f}", *(f"{share:.1%}" for share in shares)


def _show_fairness(report: Report) -> None:
    """What blocks, then the verdict: what passes is for the page."""
    blocking = [one for one in report.audit.findings if one.blocks]
    if blocking:
        rows = [_finding_row(one) for one in blocking[:SHOWN]]
        table("what blocks", ("finding", "figure [95 % interval]", "tolerated", "verdict"), rows)
    if len(blocking) > SHOWN:
        out.print(f"{len(blocking) - SHOWN:,} more block; the report tells of all")
    colour = COLOURS[report.verdict is Judged.PASS]
    out.print(f"{report.model} version {report.version}: [{colour}]{report.verdict}[/]. {summary(report)}")
    for line in details(report):
        out.print(f"- {line}", markup=False)
    out.print(f"what to do: {fairness_advice(report)}", markup=False)
    err.print(f"report: {report.place}/fairness.html of run {report.audit.population.manifest.run_id}", markup=False)


def _finding_row(finding: Finding) -> tuple[str, ...]:
    figure = str(finding.figure) if finding.tolerance else ""
    return escape(finding.name), figure, tolerated(finding.tolerance), finding.verdict.value


def _keep(report: DriftReport, registry: Registry, version: RegisteredVersion, out_folder: Path | None) -> None:
    """With what the version's training left behind, and in a folder where one is given."""
    place = f"{ATTACHED}/{report.as_of}"
    with tempfile.TemporaryDirectory() as folder:
        _write(report, Path(folder))
        registry.attach(version, Path(folder), place)
    err.print(f"report: {place}/{PAGE_FILE} of run {version.run_id}")
    if out_folder is not None:
        _write(report, out_folder)
        err.print(f"report: {out_folder / PAGE_FILE}")


def _write(report: DriftReport, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_text(json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
    (folder / PAGE_FILE).write_text(drift_page(report))


def _publish(result: Result, options: argparse.Namespace) -> None:
    if options.push:
        push(result, options.push)
    if options.textfile:
        write_textfile(result, options.textfile)
