"""What training found out about a version, and what promotion decides on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

EVIDENCE_FILE = "evidence.json"


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Parity:
    """The parity certificate: largest deviation of the exported graph from the native model, by kind of rows.

    `deviations` are absolute for probabilities and relative for quantities; none may exceed `limit`.
    """

    deviations: dict[str, float]
    rows: int
    limit: float

    @property
    def passed(self) -> bool:
        # A certificate without figures certifies nothing.
        return bool(self.deviations) and all(deviation <= self.limit for deviation in self.deviations.values())

    @property
    def largest(self) -> float:
        return max(self.deviations.values(), default=math.nan)


@dataclass(frozen=True)
class Comparison:
    """A paired comparison on the test snapshot: how much better than `other` by `metric`; positive is better.

    `margin` is how far below zero the interval may reach: 0 demands better, more than 0 demands not worse.
    """

    other: str
    metric: str
    difference: Interval
    margin: float = 0.0

    @property
    def passed(self) -> bool:
        return self.difference.low > -self.margin


@dataclass(frozen=True)
class Requirement:
    """A figure on the test snapshot that must lie within limits, whatever anything else reaches."""

    metric: str
    figure: float
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool:
        # NaN fails both comparisons.
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= self.figure <= high


@dataclass(frozen=True)
class Evidence:
    """All of it. `champion` is the comparison with the version that was champion during training, if any.

    `grade` sums the quality up in one word.
    """

    parity: Parity
    metrics: dict[str, Interval]
    baselines: tuple[Comparison, ...]
    champion: Comparison | None
    champion_version: str
    bundle_digest: str
    requirements: tuple[Requirement, ...] = ()
    grade: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evidence:
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            parity=Parity(**data["parity"]),
            metrics={name: Interval(**interval) for name, interval in data["metrics"].items()},
            baselines=tuple(_comparison(entry) for entry in data["baselines"]),
            champion=_comparison(data["champion"]) if data["champion"] else None,
            champion_version=data["champion_version"],
            bundle_digest=data["bundle_digest"],
            requirements=tuple(Requirement(**entry) for entry in data["requirements"]),
            grade=data["grade"],
        )


def _comparison(data: dict[str, Any]) -> Comparison:
    return Comparison(data["other"], data["metric"], Interval(**data["difference"]), data["margin"])
