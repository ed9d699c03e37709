"""What a model takes and gives: the part of a bundle that requests are checked against."""

from __future__ import annotations

import hashlib
import json
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


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    `minimum` and `maximum` are the range of a numeric feature in training, `vocabulary` the categories of a
    categorical one; both warn, never refuse. A feature that is not `nullable` was never missing in training.
    """

    name: str
    kind: FeatureKind
    unit: str = ""
    description: str = ""
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    vocabulary: tuple[str, ...] = ()


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
    speaks of one.
    """

    name: str
    unit: str
    bands: tuple[Band, ...] = ()
    reference: tuple[float, ...] = ()
    category: str = ""


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
                Feature(**{**feature, "vocabulary": tuple(feature["vocabulary"])}) for feature in data["features"]
            ),
            outputs=tuple(
                Output(
                    name=output["name"],
                    unit=output["unit"],
                    bands=tuple(Band(**band) for band in output["bands"]),
                    reference=tuple(output["reference"]),
                    category=output["category"],
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


def _check_output(output: Output) -> None:
    if len(output.reference) not in {0, QUANTILES}:
        raise ValueError(f"output {output.name} has {len(output.reference)} reference quantiles, not {QUANTILES}")
    # Comparisons that NaN fails too.
    if not all(low <= high for low, high in pairwise(output.reference)):
        raise ValueError(f"the reference quantiles of output {output.name} do not ascend")
    if not all(low.threshold < high.threshold for low, high in pairwise(output.bands)):
        raise ValueError(f"the bands of output {output.name} do not ascend")
