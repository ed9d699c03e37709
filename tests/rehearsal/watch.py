"""What Prometheus said, second by second: which alert fired for whom, from when until when."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.support.prometheus import Prometheus

LOOK_SECONDS = 0.25
GAP_SECONDS = 2.5
"""Evaluations are a second apart; what was not firing for longer has resolved in between."""

_SERVICE = re.compile(r"regulars\.(\w+)\.v\d+\.")


class Alarm(NamedTuple):
    """An alert, and whom it is about: a model, or nobody in particular."""

    alert: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.alert} ({self.subject})" if self.subject else self.alert


class Spell(NamedTuple):
    """An alarm that fired from one moment to another, in Unix time."""

    alarm: Alarm
    began: float
    ended: float


@dataclass
class Watch:
    """`models` are those that addresses belong to."""

    prometheus: Prometheus
    models: Mapping[str, str]

    def firing(self) -> set[Alarm]:
        return {self._alarm(one.labels) for one in self.prometheus.alerts() if one.state == "firing"}

    def wait_until(self, firing: Iterable[Alarm], seconds: float) -> bool:
        """Until all of them fire."""
        wanted = set(firing)
        return self._wait(lambda: wanted <= self.firing(), seconds)

    def wait_until_silent(self, alarms: Iterable[Alarm], seconds: float) -> bool:
        """Until none of them fires."""
        unwanted = set(alarms)
        return self._wait(lambda: not unwanted & self.firing(), seconds)

    def spells(self, seconds: float) -> list[Spell]:
        """What fired within the last so many seconds, in order."""
        query = urllib.parse.urlencode({"query": f'ALERTS{{alertstate="firing"}}[{seconds:.0f}s]'})
        with urllib.request.urlopen(f"{self.prometheus.url}/api/v1/query?{query}", timeout=PATIENCE_SECONDS) as answer:
            found = json.load(answer)["data"]["result"]
        moments: dict[Alarm, set[float]] = {}
        for series in found:
            moments.setdefault(self._alarm(series["metric"]), set()).update(at for at, _ in series["values"])
        spells = [Spell(alarm, *span) for alarm, times in moments.items() for span in spans(sorted(times))]
        return sorted(spells, key=lambda spell: spell.began)

    def _alarm(self, labels: Mapping[str, str]) -> Alarm:
        return Alarm(labels["alertname"], subject_of(labels, self.models))

    @staticmethod
    def _wait(is_so: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (there := is_so()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return there


def subject_of(labels: Mapping[str, str], models: Mapping[str, str]) -> str:
    """The model that labels tell of, or the models of a batch run; an address stands for its model."""
    service = _SERVICE.match(labels.get("grpc_service", ""))
    named = labels.get("model") or labels.get("models")
    return named or (service[1] if service else models.get(labels.get("instance", ""), ""))


def spans(times: Sequence[float], gap: float = GAP_SECONDS) -> list[tuple[float, float]]:
    """First and last of each run of moments, in order, that lie no further apart than `gap`."""
    found: list[tuple[float, float]] = []
    for at in times:
        if found and at - found[-1][1] <= gap:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found
