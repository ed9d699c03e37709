"""Groups by the segment that a model puts customers into: what clustering is audited by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audits.fairness import Gated
from audits.policy import CLUSTER_RATIO, CRAMERS_V
from audits.reach import contingency, rate
from audits.statistics import Association, Difference, PartOfWhole, Rate, chance, interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from audits.inputs import Design
    from audits.mitigation import Option
    from audits.policy import Policy
    from audits.population import Partition, Population
    from audits.refit import Refit
    from audits.statistics import Estimate, Tolerance
    from model_registry.evidence import Interval

FAR = "distance"
"""The output whose highest band holds those who resemble no segment."""

KEPT = "kept"
KEPT_GAP = "kept_gap"


@dataclass(frozen=True)
class Segments:
    """Implements `Yardstick` for an output whose bands are segments.

    `places` (N,) are places in `segments`; `unusual` (N,) are those who lie far from the middle of theirs. `kept` (N,)
    says who is in the segment that the champion has them in, of those whom it puts into one, who are `compared` (N,);
    nobody is where there is no champion.
    """

    name: str
    title: str
    segments: tuple[str, ...]
    places: NDArray[np.int8]
    unusual: NDArray[np.bool_]
    compared: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    minimum: int
    minimum_expected: int

    @classmethod
    def of(cls, population: Population, policy: Policy, output: str, *, title: str) -> Segments:
        """The output `output`."""
        bands = {one.name: one.bands for one in population.manifest.schema.outputs}
        # A segment's number outlives retraining; its name and its place may not.
        now = population.scores[output]
        before = population.before.get(output, np.full(len(population), np.nan))
        return cls(
            name=output,
            title=title,
            segments=tuple(band.name for band in bands[output]),
            places=population.bands[output],
            unusual=population.bands[FAR] == len(bands[FAR]) - 1,
            compared=~np.isnan(before),
            kept=now == before,
            minimum=policy.minimum_customers,
            minimum_expected=policy.minimum_outcomes,
        )

    @property
    def least(self) -> str:
        return f"{self.minimum} customers, {self.minimum_expected} of whom are expected in the segment"

    @property
    def meanings(self) -> Mapping[str, str]:
        return {
            **{name: f"In {name}" for name in self.segments},
            "unusual": "Far from the middle of the segment",
            KEPT: "Keep the champion's segment",
            KEPT_GAP: "Keep it, less the reference group",
        }

    @property
    def shares(self) -> frozenset[str]:
        return frozenset(self.meanings) - {KEPT_GAP}

    def counts(self, rows: NDArray[np.intp]) -> dict[str, int]:
        return {"customers": len(rows)}

    def enough(self, rows: NDArray[np.intp]) -> bool:
        return len(rows) >= self.minimum

    def figures(self, rows: NDArray[np.intp], reference: NDArray[np.intp] | None) -> dict[str, Interval]:
        if not self.enough(rows):
            return {}
        sizes = np.bincount(self.places[rows], minlength=len(self.segments)).tolist()
        told: dict[str, Estimate] = {
            **{name: Rate(size, len(rows)) for name, size in zip(self.segments, sizes, strict=True)},
            "unusual": rate(self.unusual[rows]),
            **self._stability(rows, reference),
        }
        return {name: interval(estimate) for name, estimate in told.items()}

    def gated(self, partition: Partition) -> Iterator[Gated]:
        groups = self._judged(partition)
        if len(groups) < 2:  # noqa: PLR2004 - nothing to compare
            return
        table = self._table(partition, groups)
        if len(self.segments) > 1 and not partition.crossed:
            yield Gated(CRAMERS_V, "", Association(table), int(table.sum()))
        everybody = self._table(partition, partition.known).sum(axis=0)
        for group, sizes in zip(groups, table, strict=True):
            rest = everybody - sizes
            for place, segment in enumerate(self.segments):
                # Expected and not found: a group that is missing from a segment is what is looked for.
                if sizes.sum() * everybody[place] < self.minimum_expected * everybody.sum():
                    continue
                part = Rate(int(sizes[place]), int(sizes.sum()))
                ratio = PartOfWhole(part, Rate(int(rest[place]), int(rest.sum())))
                yield Gated(CLUSTER_RATIO, group, ratio, int(sizes.sum()), part=segment)

    def chance(self, partition: Partition) -> dict[str, float]:
        """Of the segments together, and of who keeps theirs."""
        groups = self._judged(partition)
        kept = [self._of_compared(partition.rows(group)) for group in groups]
        stability = {KEPT: chance(contingency(kept))} if self.compared.any() else {}
        return {CRAMERS_V: chance(self._table(partition, groups)), **stability}

    def options(self, partition: Partition, metric: str) -> tuple[Option, ...]:  # noqa: ARG002 - a campaign has no say in segments
        return ()

    def refits(
        self,
        partition: Partition,  # noqa: ARG002 - no answer tells which segments would be the right ones
        metric: str,  # noqa: ARG002 - as above
        group: str,  # noqa: ARG002 - as above
        tolerance: Tolerance,  # noqa: ARG002 - as above
        design: Design,  # noqa: ARG002 - as above
    ) -> tuple[Refit, ...]:
        return ()

    def _stability(self, rows: NDArray[np.intp], reference: NDArray[np.intp] | None) -> dict[str, Estimate]:
        """How many keep their segment, of as many as are enough to tell."""
        kept = self._of_compared(rows)
        if len(kept) < self.minimum:
            return {}
        theirs = self._of_compared(reference) if reference is not None else kept[:0]
        gap = {KEPT_GAP: Difference(rate(kept), rate(theirs))} if len(theirs) >= self.minimum else {}
        return {KEPT: rate(kept), **gap}

    def _of_compared(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        return self.kept[rows][self.compared[rows]]

    def _judged(self, partition: Partition) -> tuple[str, ...]:
        return tuple(group for group in partition.known if self.enough(partition.rows(group)))

    def _table(self, partition: Partition, groups: tuple[str, ...]) -> NDArray[np.int64]:
        """Groups in rows, segments in columns."""
        sizes = [np.bincount(self.places[partition.rows(group)], minlength=len(self.segments)) for group in groups]
        return np.array(sizes, np.int64).reshape(-1, len(self.segments))
