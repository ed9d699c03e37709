"""Drift: whether the customers of today are those whom a model was made for.

Values are counted in the bins that training froze in the bundle, and shares are compared as `model_registry.drift`
says.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audits.errors import AuditError
from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.distributions import count_numbers, count_texts
from model_registry.drift import is_sufficient, shift
from model_registry.frame import columns_from_arrow
from model_registry.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from audits.population import Partition
    from model_registry.bundle import Manifest
    from model_registry.columns import Scores
    from model_registry.schema import Distribution, Feature, Output, Schema
    from model_registry.servable import Servable

MINIMUM_CELL = 30
"""A smaller group is not shown: its figures would be noise, and speak of persons."""

RARE_SHARE = 0.01
"""Categories that fewer customers had are counted together: each alone tells nothing."""

STALE_HORIZONS = 2
"""After so many horizons, the answers of a whole one have come in that the model neither learnt from nor was tested
on."""

CONSENT = "consent"
REFUSED = "REFUSED"
"""Customers whom a server refuses: they miss an input that was never missing in training, or it is infinite."""

MISSING = "missing"
RARE = "rare or never seen"


class Verdict(StrEnum):
    """What an audit comes to."""

    STABLE = "STABLE"
    DRIFTED = "DRIFTED"
    INSUFFICIENT = "INSUFFICIENT"


@dataclass(frozen=True)
class Bin:
    """Shares of customers when the model was made, and now."""

    name: str
    then: float
    now: float


@dataclass(frozen=True)
class Movement:
    """How the values of one input or output have moved among the customers who are scored.

    `missing` are those who miss the value, `outside` those of them whose value training never saw: beyond its range, or
    a category of its own. An input that `ages` rises with time for everybody; that it moves is no news.
    """

    name: str
    unit: str
    bins: tuple[Bin, ...]
    missing: Bin
    psi: float
    limit: float
    outside: float = 0.0
    ages: bool = False

    @property
    def drifted(self) -> bool:
        return self.psi > self.limit and not self.ages


@dataclass(frozen=True)
class Group:
    """Customers of one sensitive group. A group of fewer than `MINIMUM_CELL` has no figures.

    `scored` is the share of those who are scored. Of these, `missing` is the share of inputs that are missing,
    `outside` that of customers with a value that training never saw, and `psi` how far the first output lies from that
    of all whom the model was tested on.
    """

    attribute: str
    group: str
    customers: int | None = None
    scored: float | None = None
    missing: float | None = None
    outside: float | None = None
    psi: float | None = None


@dataclass(frozen=True)
class Age:
    """How old a model is on the day that the customers' features stand at.

    Its answers closed on `learnt_until`, `days` ago; both are None where there is no time axis.
    """

    trained_at: str
    learnt_until: str | None
    days: int | None
    horizon_days: int

    @property
    def stale(self) -> bool:
        return self.days is not None and self.days >= STALE_HORIZONS * self.horizon_days


@dataclass(frozen=True)
class DriftReport:
    """What an audit found.

    `as_of` is the day of the features of `customers`, whom `statuses` counts; `tested_on` are those whom the model was
    tested on.
    """

    model: str
    version: str
    digest: str
    as_of: str
    customers: int
    tested_on: int
    statuses: dict[str, int]
    inputs: tuple[Movement, ...]
    outputs: tuple[Movement, ...]
    groups: tuple[Group, ...]
    age: Age

    @property
    def scored(self) -> int:
        return self.statuses.get(Status.OK.name, 0)

    @property
    def drifted_inputs(self) -> tuple[Movement, ...]:
        """Furthest beyond their limits first."""
        return _ranked(self.inputs)

    @property
    def drifted_outputs(self) -> tuple[Movement, ...]:
        """As above."""
        return _ranked(self.outputs)

    @property
    def is_sufficient(self) -> bool:
        return is_sufficient(self.tested_on, self.scored)

    @property
    def verdict(self) -> Verdict:
        if not self.is_sufficient:
            return Verdict.INSUFFICIENT
        return Verdict.DRIFTED if self.drifted_inputs or self.drifted_outputs else Verdict.STABLE

    def to_json(self) -> dict[str, Any]:
        """For machines: the fields, and what follows from them."""
        data = asdict(self)
        for part in ("inputs", "outputs"):
            for entry, movement in zip(data[part], getattr(self, part), strict=True):
                entry["drifted"] = movement.drifted
        data["age"]["stale"] = self.age.stale
        return {"audit": "drift", "verdict": self.verdict.value, **data}


def audit_drift(
    servable: Servable,
    version: str,
    table: pa.Table,
    as_of: dt.date,
    partitions: Sequence[Partition] = (),
) -> DriftReport:
    """Compares a table of customers with those whom the model was made for.

    Args:
        servable: the model.
        version: its number in the registry.
        table: the model's inputs by name, and `consent` where customers were asked.
        as_of: the day that the features stand at.
        partitions: the table's customers parted by sensitive attributes.

    Raises:
        AuditError: the bundle has no frozen bins, or no customer is scored.
        FrameError: the table does not fit the model.
        ScoringError: the graph failed.
    """
    schema = servable.schema
    _require_bins(servable.manifest, version)
    columns = columns_from_arrow(table, schema)
    people = _Scored.of(servable, columns, _consent(table))
    if not len(people.columns):
        raise AuditError("no customer of the table is scored by the model, so there is nothing to compare")
    return DriftReport(
        model=servable.manifest.name,
        version=version,
        digest=servable.digest,
        as_of=as_of.isoformat(),
        customers=len(columns),
        tested_on=_frozen(schema.outputs[0]).customers,
        statuses=dict(Counter(people.statuses.tolist()).most_common()),
        inputs=tuple(_inputs(schema, people)),
        outputs=tuple(_output(output, people.values[output.name]) for output in schema.outputs),
        groups=tuple(group for partition in partitions for group in _groups(partition, schema, people)),
        age=_age(servable.manifest, as_of),
    )


@dataclass(frozen=True)
class _Scored:
    """Who of N customers is scored. `statuses` (N,) are names; all else is of those M who are scored.

    `rows` (M,) are their places among the N; `strange` (M,) is where a feature's value is one that training never saw,
    for features with such values.
    """

    statuses: NDArray[np.object_]
    rows: NDArray[np.intp]
    columns: Columns
    values: Mapping[str, NDArray[np.float32]]
    strange: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, servable: Servable, columns: Columns, consent: NDArray[np.bool_]) -> _Scored:
        statuses = np.where(consent, REFUSED, Status.NO_CONSENT.name).astype(object)
        asked = np.flatnonzero(consent & _servable(servable.schema, columns))
        scores = servable.score(_taken(columns, asked))
        statuses[asked] = [Status(status).name for status in scores.statuses]
        inside = np.flatnonzero(scores.statuses == Status.OK)
        return cls(
            statuses=statuses,
            rows=asked[inside],
            columns=_taken(columns, asked[inside]),
            values={name: values[inside] for name, values in scores.values.items()},
            strange={name: mask[inside] for name, mask in _strange(scores).items()},
        )

    @property
    def odd(self) -> NDArray[np.bool_]:
        """Who has any value that training never saw (M,)."""
        found = np.zeros(len(self.rows), np.bool_)
        for mask in self.strange.values():
            found |= mask
        return found


def _strange(scores: Scores) -> dict[str, NDArray[np.bool_]]:
    """Where a value of a feature is one that training never saw; features without any are left out."""
    found = {}
    for warning in scores.warnings:
        mask = np.zeros(len(scores), np.bool_)
        mask[warning.rows] = True
        found[warning.feature] = mask
    return found


def _require_bins(manifest: Manifest, version: str) -> None:
    described: tuple[Feature | Output, ...] = (*manifest.schema.features, *manifest.schema.outputs)
    if any(one.distribution is None for one in described):
        raise AuditError(
            f"version {version} of {manifest.name} carries no frozen bins: an earlier release trained it; "
            f"run 'regulars train {manifest.name}' and promote what comes out"
        )


def _consent(table: pa.Table) -> NDArray[np.bool_]:
    if CONSENT not in table.column_names:
        return np.ones(table.num_rows, np.bool_)
    given = pc.fill_null(table.column(CONSENT).cast(pa.bool_()), fill_value=False)
    return np.array(given.to_pylist(), np.bool_)


def _servable(schema: Schema, columns: Columns) -> NDArray[np.bool_]:
    """Whom a server would score or give a status, and not refuse."""
    required = np.array([not feature.nullable for feature in schema.numeric], np.bool_)
    bad = np.isinf(columns.numeric) | (np.isnan(columns.numeric) & required)
    return np.asarray(~bad.any(axis=1))


def _taken(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    return Columns(columns.numeric[rows], columns.categorical[rows])


def _inputs(schema: Schema, people: _Scored) -> Iterator[Movement]:
    numeric, categorical = iter(people.columns.numeric.T), iter(people.columns.categorical.T)
    for feature in schema.features:
        strange = people.strange.get(feature.name)
        outside = 0.0 if strange is None else float(strange.mean())
        if feature.kind == "numeric":
            numbers = next(numeric)
            bins, missing = _number_bins(_frozen(feature), numbers), float(np.isnan(numbers).mean())
        else:
            texts = next(categorical)
            bins, missing = _text_bins(feature, texts), float((texts == MISSING_CATEGORY).mean())
        yield replace(_moved(feature, bins, missing, len(people.rows)), outside=outside, ages=feature.ages)


def _output(output: Output, values: NDArray[np.float32]) -> Movement:
    frozen = _frozen(output)
    bins = _number_bins(frozen, values)
    if output.bands and frozen.edges == tuple(band.threshold for band in output.bands[1:]):
        bins = [replace(one, name=band.name) for band, one in zip(output.bands, bins, strict=True)]
    return _moved(output, bins, 0.0, len(values))


def _moved(described: Feature | Output, bins: list[Bin], missing: float, customers: int) -> Movement:
    frozen = _frozen(described)
    absent = Bin(MISSING, frozen.missing, missing)
    then, now = zip(*((one.then, one.now) for one in (*bins, absent)), strict=True)
    moved = shift(then, now, frozen.customers, customers)
    return Movement(described.name, described.unit, tuple(bins), absent, moved.psi, moved.limit)


def _number_bins(frozen: Distribution, values: NDArray[np.float32]) -> list[Bin]:
    shares = count_numbers(values, frozen.edges) / len(values)
    return [*map(Bin, _ranges(frozen.edges), frozen.shares, shares.tolist())]


def _text_bins(feature: Feature, values: NDArray[np.object_]) -> list[Bin]:
    frozen = _frozen(feature)
    counts, unseen = count_texts(values, feature.vocabulary)
    then, now = np.array(frozen.shares), counts / len(values)
    common = then >= RARE_SHARE
    bins = [Bin(feature.vocabulary[at], float(then[at]), float(now[at])) for at in np.flatnonzero(common)]
    others = float(then[~common].sum()) + frozen.unseen, float(now[~common].sum()) + unseen / len(values)
    return [*bins, Bin(RARE, *others)] if any(others) else bins


def _ranges(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["any"]
    inner = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:.4g}", *inner, f"{edges[-1]:.4g} and more"]


def _groups(partition: Partition, schema: Schema, people: _Scored) -> Iterator[Group]:
    first = schema.outputs[0]
    odd = people.odd
    for name in partition.groups:
        members = partition.rows(name)
        inside = np.flatnonzero(np.isin(people.rows, members))
        if len(inside) < MINIMUM_CELL:
            yield Group(partition.name, name)
            continue
        yield Group(
            partition.name,
            name,
            customers=len(members),
            scored=len(inside) / len(members),
            missing=_missing_share(_taken(people.columns, inside)),
            outside=float(odd[inside].mean()),
            psi=_output(first, people.values[first.name][inside]).psi,
        )


def _missing_share(columns: Columns) -> float:
    missing = np.isnan(columns.numeric).sum() + (columns.categorical == MISSING_CATEGORY).sum()
    return float(missing / (columns.numeric.size + columns.categorical.size))


def _age(manifest: Manifest, as_of: dt.date) -> Age:
    tested = manifest.training_window.test_snapshot
    if not tested:
        return Age(manifest.trained_at, None, None, manifest.horizon_days)
    closed = dt.date.fromisoformat(tested) + dt.timedelta(days=manifest.horizon_days)
    return Age(manifest.trained_at, closed.isoformat(), (as_of - closed).days, manifest.horizon_days)


def _frozen(described: Feature | Output) -> Distribution:
    assert described.distribution is not None, "looked at in the beginning"
    return described.distribution


def _ranked(movements: tuple[Movement, ...]) -> tuple[Movement, ...]:
    moved = [one for one in movements if one.drifted]
    return tuple(sorted(moved, key=lambda one: one.psi / one.limit, reverse=True))
