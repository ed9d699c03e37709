"""A fairness audit from a registered version to its report, which stays with the version.

resolve ─ download ─ score the customers of one date ─ the same for the champion ─ compare ─ report ─ attach
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audits.errors import AuditError
from audits.fairness import FairnessAudit, audit, judge
from audits.fairness_page import fairness_page
from audits.policy import Policy
from audits.population import closing_date, read_population
from audits.report import Report, Rival
from features.tables import open_tables
from model_registry.bundle import BundleError
from model_registry.clearance import verdict_notes
from model_registry.frame import FrameError
from model_registry.readings import ScoringError
from model_registry.registry import CHAMPION, named_version, registered_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from audits.fairness import ModelAudit
    from audits.population import Population
    from features.project import Project
    from features.tables import CustomerTables
    from model_registry.bundle import Bundle
    from model_registry.registry import RegisteredVersion, Registry
    from model_registry.schema import Schema

PAGE_FILE = "fairness.html"
RECORD_FILE = "fairness.json"
SNAPSHOT_NOTE = "regulars.fairness_snapshot"
AUDITED_NOTE = "regulars.fairness_audited_on"
POLICY_NOTE = "regulars.fairness_policy"


def audit_fairness(
    project: Project,
    registry: Registry,
    model: str,
    reference: str,
    *,
    today: dt.date,
    as_of: dt.date | None = None,
    out: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Audits the version of `model` that `reference` names, and leaves report and verdict with it.

    Args:
        project: the business.
        registry: where versions live.
        model: the model's name.
        reference: an alias of the model, or the number of a version.
        today: waivers that expire on it do not count.
        as_of: answers have closed by this day; None stands at the last midnight of the data.
        out: a folder that gets the report too.
        progress: called with a short line at every step.

    Raises:
        AuditError: there is nothing to audit; says why and what to do.
        FeaturesError: the project's tables cannot be used as they are.
        FrameError, ScoringError, BundleError: the version cannot score them.
        RegistryError: the registry fails.
    """
    version = named_version(registry, model, reference)
    if version is None:
        raise AuditError(f"{model} has no {reference}; see 'regulars models' for the aliases there are")
    auditor = _Auditor(
        project,
        open_tables(project),
        declaration(model),
        Policy.of(project.audits, project.waivers, model, today),
        as_of,
    )
    progress(f"scoring with {model} version {version.version}")
    population = auditor.population(registered_bundle(registry, version))
    champion = registry.resolve(model, CHAMPION)
    rival = None
    if champion is not None and champion.version != version.version:
        progress(f"auditing champion version {champion.version} beside it")
        rival = _audit_champion(auditor, registry, champion)
        population = population.beside(rival.audit.population) if rival.audit else population
    report = Report(
        business=project.name,
        model=model,
        version=version.version,
        audited_on=today,
        audit=auditor.audit(population),
        champion=rival,
        remarks=_remarks(population, auditor),
    )
    progress("writing the report")
    _leave(registry, version, report, out)
    return report


def declaration(model: str) -> ModelAudit:
    """How a model says that it is audited: `AUDIT` of the module that bears its name."""
    declared: ModelAudit = importlib.import_module(f"audits.{model}").AUDIT
    return declared


class _Auditor:
    """Audits bundles of one model by the same tables, policy and day."""

    def __init__(
        self,
        project: Project,
        tables: CustomerTables,
        declared: ModelAudit,
        policy: Policy,
        as_of: dt.date | None,
    ) -> None:
        self._project = project
        self._tables = tables
        self._declared = declared
        self._policy = policy
        self._as_of = as_of
        self.dated = declared.dated(tables)
        self.foresees = declared.foresees

    def population(self, bundle: Bundle) -> Population:
        horizon = bundle.manifest.horizon_days if self.foresees else 0
        tables = replace(self._tables, categories=_categories(bundle.manifest.schema))
        date = closing_date(tables, horizon, self._as_of) if self.dated else self._as_of or _today()
        answers = self._declared.answers(tables, self._project, date, horizon)
        return read_population(tables, bundle, answers, date, horizon)

    def audit(self, population: Population) -> FairnessAudit:
        return audit(population, self._declared.yardsticks(population, self._policy), self._policy)

    def judge(self, population: Population) -> FairnessAudit:
        """The findings alone, which is all that is shown of a champion."""
        findings = judge(population, self._declared.yardsticks(population, self._policy), self._policy)
        return FairnessAudit(population, self._policy, (), findings)


def _categories(schema: Schema) -> tuple[str, ...]:
    """Those that a version was trained for; the project's may have changed since.

    One that it does not speak of, because it was not foreseen well enough, is still among its inputs.
    """
    spoken_of = [output.category for output in schema.outputs]
    given = [feature.name.partition("[")[2].removesuffix("]") for feature in schema.features]
    return tuple(dict.fromkeys(category for category in (*spoken_of, *given) if category))


def _audit_champion(auditor: _Auditor, registry: Registry, champion: RegisteredVersion) -> Rival:
    try:
        population = auditor.population(registered_bundle(registry, champion))
        return Rival(champion.version, auditor.judge(population))
    except (AuditError, BundleError, FrameError, ScoringError) as error:
        return Rival(champion.version, None, str(error))


def _remarks(population: Population, auditor: _Auditor) -> tuple[str, ...]:
    """Where the model may have known the answers that it is held against."""
    if not auditor.dated:
        text = (
            "The outcome carries no date, so most of these customers were trained on: levels look better here than "
            "they are for new ones."
        )
        return (text,)
    last = population.manifest.training_window.last_snapshot
    horizon = dt.timedelta(days=population.horizon_days)
    if not horizon or not last or dt.date.fromisoformat(last) + horizon <= population.date:
        return ()
    text = (
        f"The model was trained on snapshots up to {last}, so it knew some of the answers that it is held against "
        f"here. Give an --as-of from {dt.date.fromisoformat(last) + 2 * horizon} on."
    )
    return (text,)


def _leave(registry: Registry, version: RegisteredVersion, report: Report, out: Path | None) -> None:
    """Both files on the run, and the verdict on the version, which comes last: it is never without its report."""
    with tempfile.TemporaryDirectory() as folder:
        _write(report, Path(folder))
        registry.attach(version, Path(folder), report.place)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        _write(report, out)
    notes = {
        **verdict_notes(version, report.verdict.value, report.audit.waived),
        SNAPSHOT_NOTE: report.audit.population.date.isoformat(),
        AUDITED_NOTE: report.audited_on.isoformat(),
        POLICY_NOTE: report.audit.policy.digest,
    }
    registry.record(version.name, version.version, notes)


def _write(report: Report, folder: Path) -> None:
    (folder / RECORD_FILE).write_text(json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
    (folder / PAGE_FILE).write_text(fairness_page(report))


def _today() -> dt.date:
    return dt.datetime.now(tz=dt.UTC).date()
