"""Who is audited: the customers of one date, scored by the registered bundle itself, and the groups they belong to."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audits.errors import AuditError
from audits.inputs import Design
from features.engine import run
from features.snapshot import data_window, labelled_snapshot, to_arrow
from model_registry.columns import Columns
from model_registry.frame import columns_from_arrow
from model_registry.schema import Status
from model_registry.servable import Servable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis
    from numpy.typing import NDArray

    from features.tables import CustomerTables
    from model_registry.bundle import Bundle, Manifest

UNKNOWN = "unknown"
"""The group of those of whom an attribute is not known. It is shown, and nobody is compared with it."""

MOST_NUMBERS = 12
"""Numbers with more distinct values than this are put into bands."""

MOST_GROUPS = 50
QUARTILES = (0.25, 0.5, 0.75)
NOT_SCORED = {
    Status.INSUFFICIENT_HISTORY: "too short a history for the model",
    Status.INACTIVE: "not active enough for the model",
    Status.NO_CONSENT: "no consent",
}
REFUSED = "an input is missing that the model never missed in training, so a server refuses them"


@dataclass(frozen=True)
class Partition:
    """Customers parted into groups by an attribute, or by two of them.

    `codes` (N,) are places in `groups`, -1 where a customer belongs to none. `UNKNOWN` comes last, and only where an
    attribute stands alone. `banding` says how numbers became groups.
    """

    name: str
    groups: tuple[str, ...]
    codes: NDArray[np.intp]
    banding: str = ""
    crossed: bool = False

    def rows(self, group: str) -> NDArray[np.intp]:
        """The customers of a group, as places in the population."""
        return np.flatnonzero(self.codes == self.groups.index(group))

    def places(self, groups: tuple[str, ...]) -> NDArray[np.intp]:
        """Places (N,) among `groups`, one beyond the last for everybody else."""
        own = {self.groups.index(group): place for place, group in enumerate(groups)}
        return np.array([own.get(code, len(groups)) for code in self.codes.tolist()], np.intp)

    def apart(self, group: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Who belongs to a group, and who to another that is known, both (N,)."""
        members = self.codes == self.groups.index(group)
        return members, (self.codes >= 0) & (self.codes < len(self.known)) & ~members

    @property
    def known(self) -> tuple[str, ...]:
        """The groups without `UNKNOWN`."""
        return tuple(group for group in self.groups if group != UNKNOWN)

    @property
    def reference(self) -> str:
        """The largest known group, which the others are compared with; empty where all are unknown."""
        sizes = np.bincount(self.codes[self.codes >= 0], minlength=len(self.groups))
        return max(self.known, key=lambda group: sizes[self.groups.index(group)], default="")


@dataclass(frozen=True)
class Population:
    """N scored customers; every array has N entries.

    `inputs` are what the model was given of them, and no sensitive attribute is among those. `scores` and `bands`
    (places among an output's bands, -1 where it has none) are by output name, `labels` by label. `excluded` counts, by
    reason, who was asked about and not scored. `date` is that of the snapshot, and the labels are of the `horizon_days`
    after it; 0 where they have no date, or nothing is foreseen. `before` is what the champion says of the same
    customers, by output: NaN where it says nothing of them, empty where there is no champion beside.
    """

    date: dt.date
    horizon_days: int
    manifest: Manifest
    bundle_digest: str
    customer_ids: NDArray[np.object_]
    inputs: Columns
    scores: Mapping[str, NDArray[np.float64]]
    bands: Mapping[str, NDArray[np.int8]]
    labels: Mapping[str, NDArray[np.float64]]
    attributes: tuple[Partition, ...]
    excluded: Mapping[str, int]
    before: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.customer_ids)

    @cached_property
    def design(self) -> Design:
        """The inputs as numbers. Worked out where something fails, and only there."""
        return Design.of(self.inputs, self.manifest.schema)

    def beside(self, champion: Population) -> Population:
        """The same, with what the champion says of these customers; nothing where it was asked of another date."""
        if champion.date != self.date:
            return self
        ids, theirs = (pa.array(one.customer_ids, pa.string()) for one in (self, champion))
        places = pc.index_in(ids, theirs).to_numpy(zero_copy_only=False)
        known = ~np.isnan(places)
        found = np.where(known, places, 0).astype(np.intp)
        return replace(
            self, before={name: np.where(known, values[found], np.nan) for name, values in champion.scores.items()}
        )

    @property
    def digest(self) -> str:
        """SHA-256 over who was audited, their scores, labels and groups."""
        digest = hashlib.sha256("\0".join(self.customer_ids.tolist()).encode())
        for arrays in (self.scores, self.labels):
            for name in sorted(arrays):
                digest.update(f"\0{name}\0".encode() + arrays[name].tobytes())
        for one in self.attributes:
            digest.update("\0".join(("", one.name, *one.groups, "")).encode() + one.codes.astype(np.int64).tobytes())
        return digest.hexdigest()


def closing_date(tables: CustomerTables, horizon_days: int, as_of: dt.date | None) -> dt.date:
    """The latest snapshot whose labels have closed by `as_of`, or else by the data's last midnight.

    Raises:
        AuditError: the data ends before `as_of`, or begins too late.
    """
    first, last = data_window(tables)
    stand = as_of or last.date()
    if stand > last.date() + dt.timedelta(days=1):
        raise AuditError(
            f"the data ends on {last.date()}, so labels up to {stand} have not closed; give an earlier --as-of"
        )
    date = stand - dt.timedelta(days=horizon_days)
    if date <= first.date():
        raise AuditError(
            f"the data begins on {first.date()}, and labels of {horizon_days} days that have closed by {stand} need a "
            "snapshot before that; give a later --as-of, or audit when there is more data"
        )
    return date


def read_population(
    tables: CustomerTables, bundle: Bundle, answers: ibis.Table, date: dt.date, horizon_days: int
) -> Population:
    """Scores everybody in `answers` as of `date` and joins the sensitive attributes, which no model sees.

    Args:
        tables: the canonical tables.
        bundle: the registered bundle.
        answers: `customer` and labels. Who gave no consent is left out, where the project maps consent.
        date: the snapshot's.
        horizon_days: how long after it the labels closed.

    Raises:
        AuditError: no sensitive attribute is mapped or it has too many groups, or nobody is scored.
        FrameError: the tables no longer tell what the model needs.
        ScoringError: the model fails.
    """
    if tables.customers is None or not tables.sensitive:
        raise AuditError(
            "no sensitive attribute is mapped, so there are no groups to compare; list columns of the customers table "
            "in tables.customers.sensitive"
        )
    servable = Servable(bundle)
    snapshot = to_arrow(labelled_snapshot(tables, date, answers))
    columns = columns_from_arrow(snapshot, servable.schema)
    served = ~(np.isnan(columns.numeric) & ~_nullable(servable)).any(axis=1)
    scores = servable.score(Columns(columns.numeric[served], columns.categorical[served]))
    scored = scores.statuses == Status.OK
    if not scored.any():
        raise AuditError(f"the model scores nobody of {date}; give another --as-of")
    chosen = np.flatnonzero(served)[scored]
    rows = snapshot.take(chosen)
    excluded = {text: int((scores.statuses == status).sum()) for status, text in NOT_SCORED.items()}
    excluded[REFUSED] = int((~served).sum())
    return Population(
        date=date,
        horizon_days=horizon_days,
        manifest=bundle.manifest,
        bundle_digest=bundle.digest,
        customer_ids=np.array(rows.column("customer_id").to_pylist(), object),
        inputs=Columns(columns.numeric[chosen], columns.categorical[chosen]),
        scores={name: values[scored].astype(np.float64) for name, values in scores.values.items()},
        bands={name: places[scored] for name, places in scores.bands.items()},
        labels={
            name: rows.column(name).to_numpy().astype(np.float64) for name in answers.columns if name != "customer"
        },
        attributes=attributes_of(tables.customers, tables.sensitive, rows.column("customer_id")),
        excluded={reason: count for reason, count in excluded.items() if count},
    )


def crossings(attributes: Sequence[Partition]) -> list[Partition]:
    """Every two attributes crossed, of those customers of whom both are known."""
    return [_crossed(one, other) for at, one in enumerate(attributes) for other in attributes[at + 1 :]]


def attributes_of(people: ibis.Table, names: Sequence[str], customer_ids: pa.ChunkedArray) -> tuple[Partition, ...]:
    """Parts these customers by sensitive attributes of the customers table.

    Raises:
        AuditError: as `grouped`.
    """
    chosen = run(people.select(*names, customer_id=people.customer.cast("string")))
    places = pc.index_in(customer_ids.combine_chunks(), chosen.column("customer_id").combine_chunks())
    return tuple(grouped(name, chosen.column(name).combine_chunks().take(places)) for name in names)


def grouped(name: str, values: pa.Array) -> Partition:
    """Parts customers by the values of an attribute; nulls, empty texts and the word "unknown" are `UNKNOWN`.

    Numbers of more than `MOST_NUMBERS` values are put into four bands with as many customers each, as far as equal
    numbers allow it.

    Raises:
        AuditError: dates, or more than `MOST_GROUPS` groups.
    """
    if pa.types.is_temporal(values.type):
        raise _unfit(name, "holds dates, and groups of a handful tell nothing", "map an age or a year instead")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_boolean(values.type):
        return _by_text(name, pc.if_else(values, "yes", "no"))
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        return _by_number(name, values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return _by_text(name, values.cast(pa.string()))


def _nullable(servable: Servable) -> NDArray[np.bool_]:
    return np.array([feature.nullable for feature in servable.schema.numeric], bool)


def _by_text(name: str, values: pa.Array) -> Partition:
    texts = [(text or "").strip() for text in values.to_pylist()]
    groups = sorted({text for text in texts if text and text.lower() != UNKNOWN}, key=_natural)
    if len(groups) > MOST_GROUPS:
        raise _unfit(
            name,
            f"has {len(groups):,} values, and at most {MOST_GROUPS} groups are compared",
            "map a coarser column, such as a region instead of a postcode",
        )
    places = {group: place for place, group in enumerate(groups)}
    return _partition(name, groups, np.array([places.get(text, -1) for text in texts], np.intp))


def _by_number(name: str, values: NDArray[np.float64]) -> Partition:
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    banded = len(distinct) > MOST_NUMBERS
    # A band ends with its quartile, so that a number which half of the customers have is a band by itself.
    ends_at = np.unique(np.quantile(values[known], QUARTILES)) if banded else distinct[:-1]
    codes = np.where(known, np.searchsorted(ends_at, values), -1)
    bands = np.unique(codes[known])
    ends = [(values[codes == band].min(), values[codes == band].max()) for band in bands]
    groups = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ends]
    places = np.where(known, np.searchsorted(bands, codes), -1).astype(np.intp)
    banding = f"numbers, in bands between the quartiles of those audited: {', '.join(groups)}" if banded else ""
    return _partition(name, groups, places, banding)


def _partition(name: str, groups: list[str], places: NDArray[np.intp], banding: str = "") -> Partition:
    unknown = places < 0
    if not unknown.any():
        return Partition(name, tuple(groups), places, banding)
    return Partition(name, (*groups, UNKNOWN), np.where(unknown, len(groups), places), banding)


def _crossed(one: Partition, other: Partition) -> Partition:
    known = (one.codes < len(one.known)) & (other.codes < len(other.known))
    pairs = np.where(known, one.codes * len(other.groups) + other.codes, -1)
    found = np.unique(pairs[known])
    groups = tuple(
        f"{one.groups[pair // len(other.groups)]} & {other.groups[pair % len(other.groups)]}" for pair in found
    )
    codes = np.where(known, np.searchsorted(found, pairs), -1).astype(np.intp)
    return Partition(f"{one.name} & {other.name}", groups, codes, crossed=True)


def _natural(text: str) -> tuple[float, bool, str]:
    """Sorts "Under 15K", "15-24K", "100K+" as a person would: by the first number, words before figures."""
    number = re.search(r"\d+", text)
    return float(number[0]) if number else float("inf"), text[0].isdigit(), text


def _unfit(name: str, problem: str, remedy: str) -> AuditError:
    return AuditError(f"tables.customers.sensitive lists {name}, which {problem}; {remedy}")
