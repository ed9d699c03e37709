"""Holds the served model and follows the released one: load, replay the golden rows, swap one reference.

Laws: a bad release never displaces a good one. Whoever asks gets one `Served` and keeps it for the whole request;
the old one lives until its last request is done. Availability is announced after it is true.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_registry.bundle import BundleError, Manifest, read_bundle
from model_registry.release import Release, bundle_folder, read_release
from model_registry.servable import Servable
from regulars.scoring.v1 import scoring_pb2
from services.core.codec import Codec
from services.core.description import describe
from services.core.errors import NO_MODEL, Refusal
from services.core.metrics import MODEL_INFO, SERVED_SINCE, SWAPS, forget_info

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.core.answers import ScoreAnswers

RETRY_SECONDS = 5.0
"""A release that failed to load is tried again after this long: its folder may have been repaired."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """One loaded version: everything that a request needs, in one reference."""

    servable: Servable
    codec: Codec
    manifest: Manifest
    version: scoring_pb2.ModelVersion
    description: scoring_pb2.Model
    answers: ScoreAnswers[Any, Any]


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
    ) -> None:
        """`answers` raises BundleError on a bundle that the service cannot answer with."""
        self._bundles = bundles
        self._model = model
        self._max_rows = max_rows
        self._answers = answers
        self._on_available = on_available
        self._served: Served | None = None
        self._release: Release | None = None
        self._failed: tuple[Release | None, float] | None = None
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
        """Looks once, then keeps looking in a thread of its own."""
        self._poll_seconds = poll_seconds
        self.look()
        if self._served is None:
            fields = {"model": self._model, "folder": str(self._bundles.resolve() / self._model)}
            _log.warning("nothing to serve yet, following the folder", extra={"fields": fields})
        self._follower.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._follower.is_alive():
            self._follower.join()

    def look(self) -> None:
        """Swaps in the released version if it is another one than the served; never raises."""
        release: Release | None = None
        try:
            release = read_release(self._bundles, self._model)
            if release is None or release == self._release or self._failed_lately(release):
                return
            self._swap(release)
        except Exception as error:  # noqa: BLE001 - whatever a bad release does, the good one serves on
            if self._failed_lately(release):
                return
            self._failed = (release, time.monotonic())
            SWAPS.labels(self._model, "refused").inc()
            reason = str(error) if isinstance(error, BundleError) else type(error).__name__
            fields = {
                "model": self._model,
                "version": release and release.version,
                "reason": reason,
                "serving": self._served and self._served.version.version,
            }
            _log.exception("release refused", extra={"fields": fields})

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.look()

    def _failed_lately(self, release: Release | None) -> bool:
        if self._failed is None:
            return False
        failed, at = self._failed
        return failed == release and time.monotonic() - at < RETRY_SECONDS

    def _swap(self, release: Release) -> None:
        started = time.perf_counter()
        served = self._load(release)
        first = self._served is None
        before, self._served, self._release, self._failed = self._served, served, release, None
        if first:
            self._on_available()
        self._publish(served, before)
        fields = {"model": self._model, "version": release.version, "digest": release.digest}
        fields["seconds"] = f"{time.perf_counter() - started:.3f}"
        _log.info("serving", extra={"fields": fields})

    def _load(self, release: Release) -> Served:
        bundle = read_bundle(bundle_folder(self._bundles, self._model, release.digest))
        if bundle.digest != release.digest or bundle.manifest.name != self._model:
            raise BundleError(f"the bundle is not the one that release {release.version} names")
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
        codec = Codec(servable.schema, self._max_rows)
        return Served(servable, codec, bundle.manifest, version, describe(bundle.manifest), answers)

    def _publish(self, served: Served, before: Served | None) -> None:
        if before is not None and _info_labels(before) != _info_labels(served):
            forget_info(*_info_labels(before))
        MODEL_INFO.labels(*_info_labels(served)).set(1)
        SERVED_SINCE.labels(self._model).set_to_current_time()
        SWAPS.labels(self._model, "served").inc()


def _info_labels(served: Served) -> tuple[str, str, str, str, str]:
    version = served.version
    return (version.name, version.version, version.alias, version.bundle_digest[:12], served.manifest.trained_at)
