"""How the scores of a run lie against those of the customers whom its models were tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_registry.drift import is_sufficient, shift

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from model_registry.schema import Distribution
    from services.batch.scorers import Model


@dataclass(frozen=True)
class OutputDrift:
    """Shares of the scored customers in the B bins that training froze of an output: `then` and `now` (B,)."""

    model: str
    output: str
    then: tuple[float, ...]
    now: tuple[float, ...]
    psi: float
    limit: float
    is_sufficient: bool

    @property
    def moved(self) -> bool:
        """As a drift audit would judge it, which concludes nothing from few customers."""
        return self.is_sufficient and self.psi > self.limit

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "output": self.output,
            "psi": self.psi,
            "limit": self.limit,
            "moved": self.moved,
            "then": self.then,
            "now": self.now,
        }


def drifts_of(models: Iterable[Model], bins: Mapping[str, Sequence[int]]) -> tuple[OutputDrift, ...]:
    """The drift of every output of which there are frozen bins: those of an earlier release tell none.

    `bins` are the counts of scored customers by output; one that nobody has a score of has not drifted anywhere.
    """
    return tuple(_drifts(models, bins))


def _drifts(models: Iterable[Model], bins: Mapping[str, Sequence[int]]) -> Iterator[OutputDrift]:
    for model in models:
        for output in model.schema.outputs:
            counts = bins.get(output.name, ())
            if output.distribution is not None and any(counts):
                yield _drift(model.name, output.name, output.distribution, counts)


def _drift(model: str, output: str, frozen: Distribution, counts: Sequence[int]) -> OutputDrift:
    customers = sum(counts)
    now = tuple(count / customers for count in counts)
    # Whoever is scored has every output.
    moved = shift((*frozen.shares, frozen.missing), (*now, 0.0), frozen.customers, customers)
    enough = is_sufficient(frozen.customers, customers)
    return OutputDrift(model, output, frozen.shares, now, moved.psi, moved.limit, enough)
