"""Holds the served model and follows the released one: load, replay the golden rows, swap one reference.

Laws: a bad release never displaces a good one. Whoever asks gets one `Served` and keeps it for the whole request;
the old one lives until its last request is done. Availability is announced after it is true.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_registry.bundle import BundleError, Manifest, read_bundle
from model_registry.release import SHOWN_DIGITS, Release, bundle_folder, read_release
from model_registry.servable import Servable
from regulars.scoring.v1 import scoring_pb2
from services.core.codec import Codec
from services.core.description import describe
from services.core.errors import NO_MODEL, Refusal
from services.core.memory import give_back_memory
from services.core.metrics import MODEL_INFO, SERVED_SINCE, SWAPS, TRAINED, forget_info, unix_time
from services.core.open_inference_codec import TensorCodec
from services.core.pace import Pace
from services.core.score_metrics import ScoreMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.core.answers import ScoreAnswers

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
"""A release that was refused is tried again, ever later: its folder may be repaired, or not be seen whole yet on a
network volume."""

LOADING_SWITCH_SECONDS = 0.0005
"""How long a thread of Python's may go on while others wait and a bundle is being loaded; usual are 5 milliseconds."""

STOP_SECONDS = 1.0
"""The longest that the end of a server waits for a bundle that is being loaded."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """One loaded version: everything that a request needs, in one reference."""

    servable: Servable
    codec: Codec
    tensors: TensorCodec
    manifest: Manifest
    version: scoring_pb2.ModelVersion
    description: scoring_pb2.Model
    answers: ScoreAnswers[Any, Any]
    metrics: ScoreMetrics
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True)
class _Trouble:
    """A release that was refused, or None if none could be read."""

    release: Release | None
    reason: str
    pause: float
    retry_at: float


class ModelManager:
    """Serves the released version of one model out of a folder."""

    def __init__(
        self,
        bundles: Path,
        model: str,
        *,
        max_rows: int,
        answers: Callable[[Manifest], ScoreAnswers[Any, Any]],
        on_available: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answers` raises BundleError on a bundle that the service cannot answer with; `clock` counts seconds."""
        self._bundles = bundles
        self._model = model
        self._max_rows = max_rows
        self._answers = answers
        self._on_available = on_available
        self._clock = clock
        # At 0 from the start: a counter that appears with its first refusal hides that from every rate.
        self._swaps = {outcome: SWAPS.labels(model, outcome) for outcome in ("served", "refused")}
        self._served: Served | None = None
        self._release: Release | None = None
        self._trouble: _Trouble | None = None
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="follow-release", daemon=True)
        self._poll_seconds = 0.0

    def served(self) -> Served:
        """The version to score with, from now to the end of one request.

        Raises:
            Refusal: NO_MODEL.
        """
        served = self._served
        if served is None:
            raise Refusal(NO_MODEL)
        return served

    def start(self, poll_seconds: float) -> None:
        """Looks, and keeps looking, in a thread of its own."""
        self._poll_seconds = poll_seconds
        self._follower.start()

    @property
    def has_looked(self) -> bool:
        """Whether the first look after the start is over."""
        return self._looked.is_set()

    def stop(self) -> bool:
        """Ends the following; False where a bundle that is being loaded holds it up for too long."""
        self._stopping.set()
        if self._follower.is_alive():
            self._follower.join(STOP_SECONDS)
        return not self._follower.is_alive()

    def look(self) -> None:
        """Swaps in the released version if it is another one than the served; never raises."""
        release: Release | None = None
        try:
            release = self._released()
            if release == self._release:
                self._recover()
            elif release is not None and not self._rests(release):
                self._swap(release)
        except Exception as error:  # noqa: BLE001 - whatever a bad release does, the good one serves on
            if not self._rests(release):
                self._refuse(release, error)

    def _follow(self) -> None:
        self.look()
        self._looked.set()
        if self._served is None:
            fields = {"model": self._model, "folder": str(self._bundles.resolve() / self._model)}
            _log.warning("nothing to serve yet, following the folder", extra={"fields": fields})
        tidied = None
        while not self._stopping.wait(self._poll_seconds):
            if self._served is not tidied:
                # Not sooner: calls that hold the version before it end meanwhile.
                tidied = self._served
                give_back_memory()
            self.look()

    def _released(self) -> Release | None:
        release = read_release(self._bundles, self._model)
        if release is None and self._release is not None:
            raise BundleError(f"{self._bundles / self._model}: its release is gone; sync {self._model} again")
        return release

    def _recover(self) -> None:
        """What is released is what is served, perhaps again."""
        if self._trouble is not None:
            self._trouble = None
            _log.info("the served release is back", extra={"fields": {"model": self._model}})

    def _rests(self, release: Release | None) -> bool:
        """Whether that release was refused so lately that it is not tried again yet."""
        trouble = self._trouble
        return trouble is not None and trouble.release == release and self._clock() < trouble.retry_at

    def _refuse(self, release: Release | None, error: Exception) -> None:
        """Counts every refusal, and tells of it when it begins and when its reason changes."""
        before, pause = self._trouble, FIRST_RETRY_SECONDS
        if before is not None and before.release == release:
            pause = min(before.pause * 2, LONGEST_RETRY_SECONDS)
        bug = f"{type(error).__name__} while it was loaded; see the trace, or retrain {self._model}"
        reason = str(error) if isinstance(error, BundleError) else bug
        self._trouble = _Trouble(release, reason, pause, self._clock() + pause)
        self._swaps["refused"].inc()
        if before is None or (before.release, before.reason) != (release, reason):
            fields = {
                "model": self._model,
                "version": release and release.version,
                "reason": reason,
                "serving": self._served and self._served.version.version,
            }
            _log.error("release refused", exc_info=error, extra={"fields": fields})

    def _swap(self, release: Release) -> None:
        started = time.perf_counter()
        fields = {"model": self._model, "version": release.version, "digest": release.digest}
        _log.info("loading", extra={"fields": fields})
        with _giving_way():
            served = self._load(release)
        first = self._served is None
        before, self._served, self._release, self._trouble = self._served, served, release, None
        if first:
            self._on_available()
        self._publish(served, before)
        took = f"{time.perf_counter() - started:.3f}"
        _log.info("serving", extra={"fields": {**fields, "seconds": took}})

    def _load(self, release: Release) -> Served:
        folder = bundle_folder(self._bundles, self._model, release.digest)
        bundle = read_bundle(folder)
        if bundle.digest != release.digest:
            raise BundleError(f"{folder}: holds another bundle than its name says; sync {self._model} again")
        if bundle.manifest.name != self._model:
            raise BundleError(f"{folder}: is a bundle of {bundle.manifest.name}; sync {self._model} again")
        answers = self._answers(bundle.manifest)
        servable = Servable(bundle)
        servable.replay()
        version = scoring_pb2.ModelVersion(
            name=self._model,
            version=release.version,
            alias=release.alias,
            bundle_digest=release.digest,
            schema_digest=servable.schema.digest,
        )
        return Served(
            servable=servable,
            codec=Codec(servable.schema, self._max_rows),
            tensors=TensorCodec(servable.schema, self._max_rows),
            manifest=bundle.manifest,
            version=version,
            description=describe(bundle.manifest),
            answers=answers,
            metrics=ScoreMetrics(self._model, servable.schema),
        )

    def _publish(self, served: Served, before: Served | None) -> None:
        if before is not None and _info_labels(before) != _info_labels(served):
            forget_info(MODEL_INFO, *_info_labels(before))
        MODEL_INFO.labels(*_info_labels(served)).set(1)
        SERVED_SINCE.labels(self._model).set_to_current_time()
        TRAINED.labels(self._model).set(unix_time(served.manifest.trained_at))
        self._swaps["served"].inc()


@contextmanager
def _giving_way() -> Iterator[None]:
    """Lets calls interrupt this thread sooner: at every turn they would wait for the interval that is usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(LOADING_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _info_labels(served: Served) -> tuple[str, str, str, str, str]:
    version = served.version
    return (
        version.name,
        version.version,
        version.alias,
        version.bundle_digest[:SHOWN_DIGITS],
        served.manifest.trained_at,
    )
