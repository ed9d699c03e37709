"""What a model takes and gives: the part of a bundle that requests are checked against."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

FeatureKind = Literal["numeric", "categorical"]


class Status(IntEnum):
    """Whether a customer was scored. The numbers are those of `regulars.scoring.v1.ScoreStatus`."""

    OK = 1
    INSUFFICIENT_HISTORY = 2
    INACTIVE = 3


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

    `reference` holds the 101 quantiles (0 % to 100 %) of the output over the reference base; percentiles are
    read off it. `bands` go from low to high.
    """

    name: str
    unit: str
    bands: tuple[Band, ...] = ()
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class PopulationRule:
    """Customers whose `feature` lies outside the limits (or is missing) get `status` instead of a score."""

    feature: str
    status: Status
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Schema:
    """The inputs and outputs of a model, in the order of its graph."""

    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    population: tuple[PopulationRule, ...] = ()

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
            "outputs": [[output.name, output.unit] for output in self.outputs],
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
                )
                for output in data["outputs"]
            ),
            population=tuple(
                PopulationRule(**{**rule, "status": Status(rule["status"])}) for rule in data["population"]
            ),
        )
