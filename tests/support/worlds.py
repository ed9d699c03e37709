"""Worlds whose truth is known: customers in groups, a model that is honest or is not, and what happened."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from audits.policy import Policy
from audits.population import UNKNOWN, Partition, Population
from features.sections import Audits
from model_registry.bundle import Manifest, TrainingWindow
from model_registry.columns import Columns
from model_registry.schema import Band, Feature, Output, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from features.sections import Waiver

DATE = dt.date(2024, 3, 1)
TODAY = dt.date(2024, 5, 1)
SHARES = {"gender": {"f": 0.55, "m": 0.45}, "region": {"north": 0.4, "east": 0.3, "south": 0.2, "west": 0.1}}
"""The groups, and how large they are."""

RISKS = (Band("LOW", 0.0), Band("MEDIUM", 0.17), Band("HIGH", 0.5))
CHURN = (Output("churn_probability", "probability", RISKS),)
PROPENSITY = (Output("purchase_probability", "probability"),)
CLTV = (Output("expected_value", "EUR"), Output("lower_bound", "EUR"), Output("upper_bound", "EUR"))
SEGMENTS = ("Loyal", "New", "Rare", "Gone")
CLUSTERING = (
    Output("cluster_id", "cluster", tuple(Band(name, 1.0 + place) for place, name in enumerate(SEGMENTS))),
    Output("distance", "scaled units", (Band("USUAL", 0.0), Band("UNUSUAL", 0.95))),
)
PAYING = 0.75
"""The share of customers who spend anything."""


def policy(waivers: Iterable[Waiver] = (), **changed: float) -> Policy:
    """The default policy for churn, or a changed one."""
    return Policy.of(Audits(**changed), waivers, "churn", TODAY)  # type: ignore[arg-type]  # counts are whole numbers


def partition(name: str, values: Iterable[str]) -> Partition:
    """Groups in alphabetical order, those of whom nothing is known last."""
    texts = np.array(list(values), object)
    known = sorted({text for text in texts if text != UNKNOWN})
    groups = (*known, UNKNOWN) if (texts == UNKNOWN).any() else tuple(known)
    return Partition(name, groups, np.array([groups.index(text) for text in texts], np.intp))


def population(
    outputs: tuple[Output, ...],
    scores: Mapping[str, NDArray[np.float64]],
    labels: Mapping[str, NDArray[np.float64]],
    attributes: Iterable[Partition],
) -> Population:
    """Customers that a model with these outputs has scored."""
    rows = len(next(iter(scores.values())))
    starts = {one.name: np.array([band.threshold for band in one.bands]) for one in outputs}
    return Population(
        date=DATE,
        horizon_days=30,
        manifest=Manifest(
            name="churn",
            schema=Schema((), outputs),
            horizon_days=30,
            training_window=TrainingWindow("2023-06-01", "2024-01-01", "2024-02-01"),
            metrics={},
            run_id="run",
            trained_at="2024-03-01T00:00:00Z",
            dataset_digest="d" * 64,
            code_digest="c" * 64,
        ),
        bundle_digest="b" * 64,
        inputs=Columns(np.empty((rows, 0), np.float32), np.empty((rows, 0), object)),
        customer_ids=np.array([f"c{number:06}" for number in range(rows)], object),
        scores=scores,
        bands={
            name: (np.searchsorted(starts[name], values, side="right") - 1).astype(np.int8)
            for name, values in scores.items()
        },
        labels=labels,
        attributes=tuple(attributes),
        excluded={},
    )


def given(world: Population, **inputs: NDArray[np.float64]) -> Population:
    """The same customers, and what the model was given of them; in worlds without this it was given nothing."""
    schema = replace(world.manifest.schema, features=tuple(Feature(name, "numeric") for name in inputs))
    numeric = np.array(list(inputs.values()), np.float32).T
    columns = Columns(numeric, np.empty((len(world), 0), object))
    return replace(world, inputs=columns, manifest=replace(world.manifest, schema=schema))


def groups(random: np.random.Generator, rows: int) -> tuple[Partition, ...]:
    """Every customer by `SHARES`, whatever else is true of them."""
    return tuple(
        Partition(name, tuple(shares), random.choice(len(shares), rows, p=list(shares.values())).astype(np.intp))
        for name, shares in SHARES.items()
    )


def churn_world(seed: int, rows: int, shift: float = 0.0, group: str = "west") -> Population:
    """A model that knows the risk of everybody, about one in five; `shift` is taken off the log odds of a region.

    Without it, the model is honest: what it says comes true, and no group differs from another.
    """
    said, happened, parted = _foreseen(seed, rows, shift, group)
    return population(CHURN, {CHURN[0].name: said}, {"churned": happened}, parted)


def propensity_world(seed: int, rows: int, shift: float = 0.0, group: str = "west") -> Population:
    """The same of purchases."""
    said, happened, parted = _foreseen(seed, rows, shift, group)
    return population(PROPENSITY, {PROPENSITY[0].name: said}, {"purchased": happened}, parted)


def cltv_world(seed: int, rows: int, shift: float = 0.0, group: str = "west") -> Population:
    """A model that knows what everybody spends on average; of a region it says half of `shift` too little, in logs."""
    random = np.random.default_rng(seed)
    parted = groups(random, rows)
    average = random.lognormal(4.0, 0.8, rows)
    actual = average * random.lognormal(-0.18, 0.6, rows) * (random.random(rows) < PAYING) / PAYING
    expected = average * np.exp(-shift / 2.0 * _is(parted[1], group))
    scores = {"expected_value": expected, "lower_bound": 0.0 * expected, "upper_bound": 3.0 * expected}
    return population(CLTV, scores, {"revenue": actual}, parted)


def clustering_world(seed: int, rows: int, shift: float = 0.0, group: str = "west") -> Population:
    """Segments that customers fall into by chance; `shift` is added to the log odds of the first for a region."""
    random = np.random.default_rng(seed)
    parted = groups(random, rows)
    pull = np.zeros((rows, len(SEGMENTS)))
    pull[:, 0] = shift * _is(parted[1], group)
    places = (pull + random.gumbel(size=pull.shape)).argmax(axis=1)
    scores = {"cluster_id": places + 1.0, "distance": random.random(rows)}
    return population(CLUSTERING, scores, {}, parted)


def mirrored_churn(seed: int, rows: int, mirror: float, *, knows: bool = True) -> Population:
    """Customers of the west leave less often, by two units of log odds, and an input goes along with the west.

    `mirror` says how closely: by how many deviations the west is ahead in it. The model `knows` the risk of everybody,
    so that it seldom reaches the west; or it is told of habits alone, and says too much of the west.
    """
    odds, happened, inputs, parted = _mirrored(seed, rows, mirror)
    said = _chance(odds if knows else inputs["habit"] - 1.0)
    return given(population(CHURN, {CHURN[0].name: said}, {"churned": happened}, parted), **inputs)


def mirrored_propensity(seed: int, rows: int, mirror: float) -> Population:
    """The same of purchases, by a model that knows."""
    odds, happened, inputs, parted = _mirrored(seed, rows, mirror)
    return given(population(PROPENSITY, {PROPENSITY[0].name: _chance(odds)}, {"purchased": happened}, parted), **inputs)


def mirrored_cltv(seed: int, rows: int, mirror: float) -> Population:
    """Customers of the west spend half as much as their habits say, which is all that the model is told of."""
    random = np.random.default_rng(seed)
    parted = groups(random, rows)
    west = _is(parted[1], "west")
    inputs = _inputs(random, west, mirror)
    expected = np.exp(4.0 + 0.6 * inputs["habit"])
    actual = expected * np.where(west, 0.5, 1.0) * random.lognormal(-0.08, 0.4, rows)
    scores = {"expected_value": expected, "lower_bound": 0.0 * expected, "upper_bound": 3.0 * expected}
    return given(population(CLTV, scores, {"revenue": actual}, parted), **inputs)


def _mirrored(
    seed: int, rows: int, mirror: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.float64]], tuple[Partition, ...]]:
    """True log odds (N,), what happened (N,), the inputs, and who the customers are."""
    random = np.random.default_rng(seed)
    parted = groups(random, rows)
    west = _is(parted[1], "west")
    inputs = _inputs(random, west, mirror)
    odds = inputs["habit"] - 1.0 - 2.0 * west
    return odds, (random.random(rows) < _chance(odds)).astype(np.float64), inputs, parted


def _inputs(random: np.random.Generator, west: NDArray[np.bool_], mirror: float) -> dict[str, NDArray[np.float64]]:
    noise = random.normal(size=(3, len(west)))
    return {"habit": 1.2 * noise[0], "mirror": noise[1] + mirror * west, "noise": noise[2]}


def _foreseen(
    seed: int, rows: int, shift: float, group: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[Partition, ...]]:
    """What a model says (N,), what happened (N,), and who the customers are."""
    random = np.random.default_rng(seed)
    parted = groups(random, rows)
    odds = random.normal(-1.9, 1.5, rows)
    happened = (random.random(rows) < _chance(odds)).astype(np.float64)
    return _chance(odds - shift * _is(parted[1], group)), happened, parted


def _is(parted: Partition, group: str) -> NDArray[np.bool_]:
    members: NDArray[np.bool_] = parted.codes == parted.groups.index(group)
    return members


def _chance(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
    return chance
