"""A training from tables to candidate: the same steps for every model.

    read ─ check for leaks ─ ask the champion ─ fit and export ─ certify ─ judge
         ─ write the bundle ─ log the run ─ register ─ candidate

Nothing is registered unless all of it succeeds.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from model_registry.registry import CANDIDATE, RegistryError
from training.core.artifacts import write_artifacts
from training.core.champion import ask_champion
from training.core.draft import Draft
from training.core.errors import TrainingError
from training.core.leaks import find_suspects, require_acknowledged
from training.core.parity import certify

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping

    from features.project import Project
    from model_registry.bundle import TrainingWindow
    from model_registry.evidence import Comparison, Evidence, Interval
    from model_registry.registry import RegisteredVersion, Registry
    from training.core.champion import Champion
    from training.core.dataset import Dataset
    from training.core.leaks import Suspect
    from training.core.pipeline import FittedT, Pipeline, Progress
    from training.core.tracking import Tracker


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training.

    `metrics` are on the test part; `others` are those of the baselines and the champion by their names. `seconds`
    are by step; `warnings` are what a person should read.
    """

    version: RegisteredVersion
    metrics: dict[str, Interval]
    others: dict[str, dict[str, Interval]]
    evidence: Evidence
    window: TrainingWindow
    horizon_days: int
    training_rows: int
    test_rows: int
    parameters: Mapping[str, float | int | str]
    seconds: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def baselines(self) -> tuple[Comparison, ...]:
        return self.evidence.baselines

    @property
    def champion(self) -> Comparison | None:
        return self.evidence.champion


def train(
    pipeline: Pipeline[FittedT],
    project: Project,
    registry: Registry,
    tracker: Tracker,
    *,
    as_of: dt.date | None = None,
    progress: Progress = lambda _: None,
) -> TrainingResult:
    """Trains a model and registers it as the candidate.

    Args:
        pipeline: the model.
        project: the business.
        registry: where versions live.
        tracker: where runs live; the same MLflow as the registry.
        as_of: nothing from this day on is read; None stands at the last midnight of the data.
        progress: called with a short line at every step.

    Raises:
        FeaturesError: the project's tables cannot be used as they are.
        TrainingError: no model came out; says why and what to do.
        RegistryError: the registry or the tracker fails.
    """
    clock = Clock(progress)
    with clock.step("read snapshots"):
        dataset = pipeline.dataset(project, as_of)
    with clock.step("check for leaks"):
        suspects = find_suspects(dataset.train, dataset.features)
        require_acknowledged(suspects, project.training.acknowledge_leaks)
    with clock.step("ask the champion"):
        champion = ask_champion(registry, pipeline.name, dataset)
    with _run(tracker, pipeline.name) as run_id:
        with clock.step("fit"):
            fitted = pipeline.fit(dataset, project, champion, progress)
        draft = Draft.of(pipeline.name, dataset, fitted, run_id)
        with clock.step("certify the graph"):
            parity = certify(draft.servable, fitted, dataset.test.columns)
        with clock.step("judge"):
            judgement = pipeline.judge(dataset, fitted, draft.scores(), champion)
        warnings = (*_warnings(dataset, suspects, champion), *fitted.warnings)
        with tempfile.TemporaryDirectory() as folder:
            with clock.step("write the bundle"):
                outcome = write_artifacts(
                    Path(folder), project.name, draft, judgement, parity, champion.version, warnings
                )
            with clock.step("log the run"):
                tracker.finish(run_id, outcome.record)
    with clock.step("register"):
        version = _register_candidate(registry, pipeline.name, run_id, outcome.evidence.bundle_digest)
    return TrainingResult(
        version=version,
        metrics=judgement.metrics,
        others=judgement.others,
        evidence=outcome.evidence,
        window=dataset.window,
        horizon_days=dataset.horizon_days,
        training_rows=len(dataset.train),
        test_rows=len(dataset.test),
        parameters=fitted.parameters,
        seconds=clock.seconds,
        warnings=warnings,
    )


@dataclass
class Clock:
    """Announces steps and measures them."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


@contextmanager
def _run(tracker: Tracker, name: str) -> Iterator[str]:
    """A run that is closed as failed if anything inside fails."""
    run_id = tracker.start(name)
    try:
        yield run_id
    except BaseException as error:
        # What went wrong first is what the caller must hear of.
        with suppress(RegistryError):
            tracker.abandon(run_id, _reason(error))
        raise


def _reason(error: BaseException) -> str:
    # Texts of ours name no customer; those of libraries may quote values, and a registry is read by many.
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, TrainingError | RegistryError | BundleError) else kind


def _register_candidate(registry: Registry, name: str, run_id: str, digest: str) -> RegisteredVersion:
    version = registry.register(name, run_id, digest)
    registry.point(name, CANDIDATE, version.version)
    return registry.get(name, version.version)


def _warnings(dataset: Dataset, suspects: Iterable[Suspect], champion: Champion) -> Iterator[str]:
    yield from dataset.warnings
    if dataset.sample:
        yield f"It learnt from and was tested on {dataset.sample}; training.most_customers sets how many."
    for suspect in suspects:
        yield f"{suspect.feature} alone reaches an AUC of {suspect.auc:.3f} for {suspect.label}; it was acknowledged."
    if champion.warning:
        yield champion.warning
    if dataset.set_aside:
        yield (
            f"{dataset.set_aside:,} test customers were set aside: they miss a feature that training never missed, "
            "and a server refuses them."
        )
