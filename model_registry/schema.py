"""What a model takes and gives: the part of a bundle that requests are checked against."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

FeatureKind = Literal["numeric", "categorical"]

QUANTILES = 1001
"""Entries of an output's reference: 0 % to 100 % in steps of a tenth."""


class Status(IntEnum):
    """Whether a customer was scored. The numbers are those of `regulars.scoring.v1.ScoreStatus`."""

    OK = 1
    INSUFFICIENT_HISTORY = 2
    INACTIVE = 3
    NO_CONSENT = 4


SHARES_TOLERANCE = 1e-6
"""How far from one the shares of a distribution may sum: they are divisions, written as decimals."""


@dataclass(frozen=True)
class Distribution:
    """How the values of `customers` customers were spread when the model was tested: what drift is measured against.

    A number lies in the bin that begins at the last of `edges` it reaches, so there is one bin more than edges.
    Categories have no edges: each of the vocabulary is a bin. `shares` are those of the bins; with those of the
    customers who miss the value, and of those whose category training had not seen, they sum to one.

    Raises:
        ValueError: the shares are none, or the edges do not ascend.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float
    unseen: float
    customers: int

    def __post_init__(self) -> None:
        # Comparisons that NaN fails too.
        if not all(low < high for low, high in pairwise(self.edges)) or any(map(math.isnan, self.edges)):
            raise ValueError("the edges of a distribution do not ascend")
        parts = (*self.shares, self.missing, self.unseen)
        if not (all(part >= 0 for part in parts) and abs(math.fsum(parts) - 1) <= SHARES_TOLERANCE):
            raise ValueError("the shares of a distribution do not sum to one")
        if self.customers < 1:
            raise ValueError("a distribution is that of one customer at least")


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    `minimum` and `maximum` are the range of a numeric feature in training, `vocabulary` the categories of a
    categorical one; both warn, never refuse. A feature that is not `nullable` was never missing in training. One with a
    minimum alone rises with time for everybody. `distribution` is that of the customers whom the model was tested on;
    bundles of older releases have none.
    """

    name: str
    kind: FeatureKind
    unit: str = ""
    description: str = ""
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    vocabulary: tuple[str, ...] = ()
    distribution: Distribution | None = None

    @property
    def ages(self) -> bool:
        """Whether it rises with time for everybody, so that a value above all that training saw says nothing."""
        return self.minimum is not None and self.maximum is None


@dataclass(frozen=True)
class Band:
    """A named band of an output: its values reach `threshold` but not that of the next band."""

    name: str
    threshold: float


@dataclass(frozen=True)
class Output:
    """One output of a model.

    `reference` holds the `QUANTILES` quantiles of the output over the reference base; percentiles are
    read off it. `bands` go from low to high. `category` is the business's category that the output speaks of, if it
    speaks of one. `distribution` is as a feature's.
    """

    name: str
    unit: str
    bands: tuple[Band, ...] = ()
    reference: tuple[float, ...] = ()
    category: str = ""
    distribution: Distribution | None = None


@dataclass(frozen=True)
class PopulationRule:
    """Customers whose `feature` lies outside the limits (or is missing) get `status` instead of a score."""

    feature: str
    status: Status
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Schema:
    """The inputs and outputs of a model, in the order of its graph.

    Raises:
        ValueError: no customer could be scored by it.
    """

    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    population: tuple[PopulationRule, ...] = ()

    def __post_init__(self) -> None:
        _refuse_duplicates("feature", [feature.name for feature in self.features])
        _refuse_duplicates("output", [output.name for output in self.outputs])
        for feature in self.features:
            if feature.kind not in get_args(FeatureKind):
                raise ValueError(f"feature {feature.name} is of the unknown kind {feature.kind}")
            categories = len(feature.vocabulary) if feature.kind == "categorical" else None
            _check_bins(feature.name, feature.distribution, categories)
        for output in self.outputs:
            _check_output(output)
        numeric = {feature.name for feature in self.numeric}
        for rule in self.population:
            if rule.feature not in numeric:
                raise ValueError(f"a population rule reads {rule.feature}, which is no numeric feature")

    @cached_property
    def numeric(self) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if feature.kind == "numeric")

    @cached_property
    def categorical(self) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if feature.kind == "categorical")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what a caller can notice: names, kinds, nullability, outputs.

        Ranges, vocabularies and thresholds move with every retrain and refuse nothing, so they stay out.
        """
        contract = {
            "inputs": [[feature.name, feature.kind, feature.nullable] for feature in self.features],
            "outputs": [[output.name, output.unit, output.category] for output in self.outputs],
        }
        return hashlib.sha256(json.dumps(contract).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `data` is not a schema.
        """
        return cls(
            features=tuple(
                Feature(
                    **{
                        **feature,
                        "vocabulary": tuple(feature["vocabulary"]),
                        "distribution": _distribution(feature.get("distribution")),
                    }
                )
                for feature in data["features"]
            ),
            outputs=tuple(
                Output(
                    name=output["name"],
                    unit=output["unit"],
                    bands=tuple(Band(**band) for band in output["bands"]),
                    reference=tuple(output["reference"]),
                    category=output["category"],
                    distribution=_distribution(output.get("distribution")),
                )
                for output in data["outputs"]
            ),
            population=tuple(
                PopulationRule(**{**rule, "status": Status(rule["status"])}) for rule in data["population"]
            ),
        )


def _refuse_duplicates(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"a {what} stands twice in the schema: {', '.join(names)}")


def _distribution(data: dict[str, Any] | None) -> Distribution | None:
    if data is None:
        return None
    return Distribution(**{**data, "edges": tuple(data["edges"]), "shares": tuple(data["shares"])})


def _check_bins(name: str, distribution: Distribution | None, categories: int | None = None) -> None:
    """`categories` are those of the vocabulary; None where values are numbers."""
    if distribution is None:
        return
    bins = len(distribution.edges) + 1 if categories is None else categories
    if len(distribution.shares) != bins or (categories is not None and distribution.edges):
        raise ValueError(f"the distribution of {name} does not have a share for each of its {bins} bins")


def _check_output(output: Output) -> None:
    _check_bins(output.name, output.distribution)
    if len(output.reference) not in {0, QUANTILES}:
        raise ValueError(f"output {output.name} has {len(output.reference)} reference quantiles, not {QUANTILES}")
    # Comparisons that NaN fails too.
    if not all(low <= high for low, high in pairwise(output.reference)):
        raise ValueError(f"the reference quantiles of output {output.name} do not ascend")
    if not all(low.threshold < high.threshold for low, high in pairwise(output.bands)):
        raise ValueError(f"the bands of output {output.name} do not ascend")
