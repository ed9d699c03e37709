"""What the suite goes through, act by act: the trouble, and who must be told of it.

An act's trouble is a context manager: what it does before its `yield` goes wrong, what it does after mends it. In
between the rehearsal waits until every alarm of the act fires; afterwards until none of them does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from audits.publishing import AUDITS, job_of
from audits.publishing import Result as Audited
from cli.models import MODELS
from model_registry import publishing
from model_registry.bundle import MODEL_FILE, Golden, read_bundle, write_bundle
from model_registry.mlflow_registry import BUNDLE_ARTIFACT, DIGEST_TAG
from model_registry.registry import CHAMPION
from model_registry.release import RELEASE_FILE, bundle_folder
from services.batch.publishing import JOB as BATCH
from services.batch.publishing import Result as Scored
from services.core.settings import Settings
from tests.rehearsal.callers import ONE, STREAM, TABLE
from tests.rehearsal.stage import WORKERS
from tests.rehearsal.tempo import FASTER
from tests.rehearsal.watch import Alarm
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from model_registry.release import Release
    from tests.rehearsal.crowd import Crowded
    from tests.rehearsal.stage import Stage

    Trouble = Callable[[Stage, "Notes"], AbstractContextManager[None]]

CALM_SECONDS = 30.0
KILLS = 3
KILL_SECONDS = 4.0
"""Between two kills: a worker that died starts again meanwhile."""
DAMAGED = "damaged"
LONG_AGO_SECONDS = 40 * 86_400 / FASTER
"""Longer than any audit or batch run may stay away, in the time of the rules."""
CROWD = 10
"""Callers for each call that the lane admits."""
FOLLOW_SECONDS = 60.0
"""How long callers may wait for a version that was promoted; it takes seconds."""


@dataclass(frozen=True)
class Note:
    """Something beside the alarms that an act looked at."""

    what: str
    expected: str
    seen: str
    passed: bool


@dataclass
class Notes:
    written: list[Note] = field(default_factory=list)

    def equal(self, what: str, expected: object, seen: object) -> None:
        self.written.append(Note(what, str(expected), str(seen), expected == seen))

    def holds(self, what: str, expected: str, seen: object, *, passed: bool) -> None:
        self.written.append(Note(what, expected, str(seen), passed))


@dataclass(frozen=True)
class Act:
    """`fires` must fire while the trouble lasts and be silent once it is mended; `leaves` must fire by then and stays.
    `may` are alarms that the same trouble may set off, by how long it lasted; `lingers` are those of them whose windows
    outlast the rehearsal. All others stay silent. Calls of `failing` models may fail, of all others none does.
    """

    title: str
    trouble: Trouble
    fires: tuple[Alarm, ...] = ()
    leaves: tuple[Alarm, ...] = ()
    may: tuple[Alarm, ...] = ()
    lingers: tuple[Alarm, ...] = ()
    failing: tuple[str, ...] = ()


@contextmanager
def calm(stage: Stage, notes: Notes) -> Iterator[None]:
    time.sleep(CALM_SECONDS)
    yield
    for model, caller in stage.callers.by_model.items():
        answered = {what: caller.answered[what] for what in (ONE, TABLE, STREAM)}
        notes.holds(f"calls of {model} that were answered", "of every sort", answered, passed=all(answered.values()))


@contextmanager
def promotion_and_rollback(stage: Stage, notes: Notes) -> Iterator[None]:
    caller, shown = stage.callers.by_model["churn"], [stage.version_in_metrics("churn")]
    for command, version in (("promote", "2"), ("rollback", "1")):
        stage.workshop.regulars(command, "churn", "--wait", stage.servers["churn"].metrics, log="promotion")
        eventually(partial(_last_is, caller.heard, version), f"version {version} to answer", FOLLOW_SECONDS)
        eventually(lambda: stage.version_in_metrics("churn") != shown[-1], "another version in the metrics")
        shown.append(stage.version_in_metrics("churn"))
    yield
    notes.equal("versions that answered callers of churn", ["1", "2", "1"], caller.heard)
    notes.equal("versions of churn in its metrics", ["1", "2", "1"], shown)


@contextmanager
def jobs_missed(stage: Stage, notes: Notes) -> Iterator[None]:
    """Audits and the batch run came last long ago; then they come."""
    shop, models = stage.workshop, ",".join(sorted(MODELS))
    for audit in AUDITS:
        long_ago = Audited(audit, "churn", "", time.time() - LONG_AGO_SECONDS, 1.0)
        publishing.push(long_ago, stage.gateway, job_of(audit), {"model": "churn"})
    scored = Scored(models, time.time() - LONG_AGO_SECONDS, 1.0, 0, {})
    publishing.push(scored, stage.gateway, BATCH, scored.grouping)
    yield
    pushing = ("--push", stage.gateway)
    # What they find in so few households is for people; a status beyond these is a failure.
    shop.regulars("audit", "fairness", f"churn@{CHAMPION}", *pushing, log="audits", statuses=(0, 1))
    input_of = ("--input", str(shop.customers))
    shop.regulars("audit", "drift", "churn", *input_of, *pushing, log="audits", statuses=(0, 1, 3))
    score = ("score", "all", "--bundles", str(stage.bundles), "--output", str(shop.folder / "scores"))
    shop.regulars(*score, *input_of, *pushing, log="batch")
    scored_by = eventually(lambda: stage.labels("regulars_batch_rows > 0", "model") or None, "the batch run's figures")
    notes.equal("models whose batch scores Prometheus knows", sorted(MODELS), sorted(set(scored_by)))


@contextmanager
def folder_damaged(stage: Stage, notes: Notes) -> Iterator[None]:
    """A release whose graph is cut off, in the servers' folder; the follower finds it and mends it by itself."""
    released, refused = stage.release("churn"), stage.refused_swaps("churn")
    # Should the follower look before the servers do, it is damaged once more.
    eventually(partial(_damage, stage, released, refused), "a refused release")
    yield
    eventually(lambda: stage.release("churn") == released, "the follower to mend the folder")
    notes.equal("version of churn that answered all along", "1", stage.callers.by_model["churn"].heard[-1])


def _damage(stage: Stage, released: Release, refused: float) -> bool:
    folder = stage.bundles / "churn"
    if stage.release("churn") == released:
        shutil.copytree(bundle_folder(stage.bundles, "churn", released.digest), folder / DAMAGED, dirs_exist_ok=True)
        _cut_off(folder / DAMAGED)
        draft = folder / ".damaged"
        draft.write_text(json.dumps(asdict(replace(released, digest=DAMAGED))))
        draft.replace(folder / RELEASE_FILE)
    return stage.refused_swaps("churn") > refused


def _cut_off(bundle: Path) -> None:
    """Takes a byte off its graph."""
    graph = bundle / MODEL_FILE
    graph.write_bytes(graph.read_bytes()[:-1])


@contextmanager
def registry_damaged(stage: Stage, notes: Notes) -> Iterator[None]:
    """Version 2 is cut off in the registry and becomes champion; then it is whole again."""
    caller, later = stage.callers.by_model["churn"], stage.workshop.version("churn", "2")
    with stage.workshop.downloaded(later) as whole, stage.workshop.downloaded(later) as cut:
        _cut_off(cut)
        stage.workshop.registry.attach(later, cut, BUNDLE_ARTIFACT)
        stage.workshop.regulars("rollback", "churn", log="promotion")
        heard = len(caller.heard)
        yield
        notes.equal("other versions that callers of churn heard meanwhile", [], caller.heard[heard:])
        stage.workshop.registry.attach(later, whole, BUNDLE_ARTIFACT)
    eventually(partial(_last_is, caller.heard, "2"), "version 2 to answer", FOLLOW_SECONDS)
    stage.workshop.regulars("rollback", "churn", log="promotion")
    eventually(partial(_last_is, caller.heard, "1"), "version 1 to answer", FOLLOW_SECONDS)


@contextmanager
def version_wrong(stage: Stage, notes: Notes) -> Iterator[None]:
    """Version 2 is exchanged for a bundle that is whole and does not give the scores that it says it gives."""
    caller, shop, later = stage.callers.by_model["churn"], stage.workshop, stage.workshop.version("churn", "2")
    with shop.downloaded(later) as folder:
        bundle = read_bundle(folder)
        expected = {name: scores + 0.5 for name, scores in bundle.golden.expected.items()}
        wrong = folder.parent / "wrong"
        digest = write_bundle(wrong, bundle.manifest, bundle.model, Golden(bundle.golden.columns, expected))
        shop.registry.attach(later, wrong, BUNDLE_ARTIFACT)
    shop.registry.record("churn", "2", {DIGEST_TAG: digest})
    shop.regulars("rollback", "churn", log="promotion")
    heard = len(caller.heard)
    yield
    notes.equal("other versions that callers of churn heard meanwhile", [], caller.heard[heard:])
    shop.regulars("rollback", "churn", log="promotion")


@contextmanager
def registry_gone(stage: Stage, notes: Notes) -> Iterator[None]:
    """PostgreSQL stops, so MLflow cannot answer; when it is back, nobody restarts MLflow or a follower."""
    before = stage.callers.answered.total()
    stage.workshop.database.stop()
    yield
    answered = stage.callers.answered.total() - before
    notes.holds("calls answered without a registry", "> 100", answered, passed=answered > 100)
    stage.workshop.database.start()


@contextmanager
def workers_killed(stage: Stage, notes: Notes) -> Iterator[None]:
    server = stage.servers["clustering"].daemon
    for _ in range(KILLS):
        workers = server.children()
        workers[0].kill()
        eventually(lambda gone=workers[0]: not gone.is_running(), "a worker to die")  # type: ignore[misc]  # bound now
        time.sleep(KILL_SECONDS)
    yield
    eventually(lambda: len(server.children()) == WORKERS, "all workers to be back")


@contextmanager
def server_stopped(stage: Stage, notes: Notes) -> Iterator[None]:
    with stage.callers.without("cltv"):
        stage.servers["cltv"].daemon.end()
        yield
        stage.servers["cltv"].daemon.start()
        stage.servers["cltv"].wait_until_serving("cltv")


@contextmanager
def overload(stage: Stage, notes: Notes) -> Iterator[None]:
    server = stage.servers["churn"]
    callers = CROWD * WORKERS * Settings().interactive_calls
    ports = (str(server.port), str(server.health_port))
    command = [sys.executable, "-m", "tests.rehearsal.crowd", *ports, str(stage.workshop.customers), str(callers)]
    crowd = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield
        printed, _ = crowd.communicate(timeout=PATIENCE_SECONDS)
    finally:
        crowd.kill()
        crowd.wait()
    crowded: Crowded = json.loads(printed)
    unexpected = {code: count for code, count in crowded["codes"].items() if code not in {"OK", "RESOURCE_EXHAUSTED"}}
    notes.equal(f"calls of {callers} callers neither answered nor refused", {}, unexpected)
    answered = crowded["codes"].get("OK", 0)
    seen = f"{answered:,}, 99 % within {crowded['milliseconds']:.0f} ms"
    notes.holds("calls of the crowd that were admitted and answered", "> 1,000", seen, passed=answered > 1000)
    notes.equal(f"of {crowded['checks']:,} health checks meanwhile, not SERVING", 0, crowded["unhealthy"])


def _last_is(heard: list[str], version: str) -> bool:
    return heard[-1] == version


def _about(service: str, *alerts: str) -> tuple[Alarm, ...]:
    return tuple(Alarm(alert, service) for alert in alerts)


SLOW = ("RegularsLatencyBudgetFastBurn", "RegularsLatencyBudgetMediumBurn")

ACTS: tuple[Act, ...] = (
    Act("calm load", calm),
    Act("a promotion under load, and back", promotion_and_rollback),
    Act(
        "audits and a batch run that are overdue",
        jobs_missed,
        fires=(
            *_about("churn", "RegularsDriftAuditMissed", "RegularsFairnessAuditMissed"),
            Alarm("RegularsBatchMissed", ",".join(sorted(MODELS))),
        ),
        # Since the test a month before, more households have redeemed a coupon: an input has moved, and no score.
        leaves=_about("churn", "RegularsInputsDrifted"),
    ),
    Act("a damaged release in the servers' folder", folder_damaged),
    Act("a damaged version in the registry", registry_damaged, fires=_about("churn", "RegularsSyncFailing")),
    Act(
        "a version that is whole and wrong",
        version_wrong,
        fires=_about("churn", "RegularsReleaseRefused", "RegularsBundleStale"),
    ),
    Act(
        "the registry's database is gone",
        registry_gone,
        fires=tuple(Alarm("RegularsSyncFailing", model) for model in MODELS),
    ),
    Act("workers are killed, again and again", workers_killed, fires=_about("clustering", "RegularsWorkersDying")),
    Act("a server is stopped", server_stopped, fires=_about("cltv", "RegularsModelNotServed", "RegularsTargetDown")),
    # How slow the admitted get depends on the machine, and whether six hours are up on how long it takes to fire.
    Act(
        "ten times the calls that are admitted",
        overload,
        fires=_about("churn", "RegularsErrorBudgetFastBurn", "RegularsCallsRejected"),
        may=_about("churn", "RegularsErrorBudgetMediumBurn", "RegularsCallsQueue", *SLOW),
        lingers=_about("churn", "RegularsErrorBudgetSlowBurn", "RegularsLatencyBudgetSlowBurn"),
        failing=("churn",),
    ),
)
