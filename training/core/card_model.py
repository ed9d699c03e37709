"""What the card says of the model itself: what it learnt from and looks at, what it gives and takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.page import (
    NOTHING,
    Html,
    bar,
    code,
    element,
    figure,
    joined,
    number,
    paragraph,
    percent,
    span,
    table,
)
from training.core.timeline import drawing, spans
from training.core.wording import CLUSTER, amounts, meaning, measured_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model_registry.bundle import Manifest
    from model_registry.schema import Feature, Output
    from training.core.dataset import Dataset, Rows

SHOWN_FEATURES = 15
LOW, MIDDLE, HIGH = 100, 500, 900
"""Places in an output's reference, which goes from 0 to 1,000."""


def data(dataset: Dataset) -> Html:
    """How the data was parted, drawn where it has dates, and how many and how much each part holds."""
    lines = spans(dataset)
    caption = (
        "Each line is a snapshot. Features see what lies left of the dot; the bar is the days whose outcomes are "
        "looked at."
    )
    return joined(
        paragraph(_split(dataset)),
        figure(drawing(lines), caption, "timeline") if lines else Html(),
        table("The two parts of the data", ["What", "Training", "Test"], _parts(dataset)),
    )


def _split(dataset: Dataset) -> str:
    window = dataset.window
    if not dataset.has_time_axis:
        return (
            "The outcome carries no date, so there is no time axis: customers were split at random, stratified by "
            "outcome, and the model was tuned by cross-validation. Nothing here shows how it fares on a later date."
        )
    if dataset.across_customers:
        return (
            f"The history holds a single snapshot, {window.test_snapshot}, so customers were split at random: the test "
            "part is other customers of the same days. How much happens in those days the model knows already, and "
            "nothing here shows how it fares on a later date."
        )
    return (
        f"Snapshots from {window.first_snapshot} to {window.last_snapshot} trained, {window.test_snapshot} tested. "
        "Features use only what lies before a snapshot, and every outcome of the training snapshots was known when "
        "the test snapshot opened."
    )


def _parts(dataset: Dataset) -> Iterator[list[str]]:
    parts = (dataset.train, dataset.test)
    yield ["Rows", *(f"{len(part):,}" for part in parts)]
    yield ["Customers", *(f"{len(set(part.customer_ids)):,}" for part in parts)]
    for label in dict.fromkeys(label for part in parts for label in part.labels):
        shares = all(_is_outcome(part.labels[label]) for part in parts if label in part.labels)
        title = f"Share with {label}" if shares else f"Mean {label}"
        yield [title, *(_mean(part, label, shares=shares) for part in parts)]


def _is_outcome(values: NDArray[np.float32]) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _mean(part: Rows, label: str, *, shares: bool) -> str:
    if label not in part.labels or not len(part):
        return NOTHING
    mean = float(part.labels[label].mean(dtype=np.float64))
    return percent(mean) if shares else number(mean)


def importances(shares: Mapping[str, float], outputs: Sequence[Output]) -> Html:
    """The features that the trees of the first output split on most; nothing where there are none."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN_FEATURES]
    if not ranked:
        return Html()
    largest = ranked[0][1] or 1.0
    rows = [[code(name), percent(share), bar(share / largest)] for name, share in ranked]
    of = f" in the trees of {outputs[0].name}" if len(outputs) > 1 else ""
    return joined(
        paragraph(
            f"Shares of the loss that splits on a feature removed{of}, largest first. Related features share theirs, "
            "and none is a cause."
        ),
        table("Importances", ["Feature", "Share", "Beside the largest"], rows),
    )


def outputs(manifest: Manifest) -> Html:
    """What each output says, how it is spread over the test customers, and its bands."""
    return joined(*(_output(output, manifest) for output in manifest.schema.outputs))


def _output(output: Output, manifest: Manifest) -> Html:
    return joined(
        element("h3", code(output.name)),
        paragraph(f"{meaning(output, manifest)}. {_usual(output)}"),
        _bands(output),
    )


def _usual(output: Output) -> str:
    if not output.reference:
        return ""
    low, middle, high = amounts([output.reference[at] for at in (LOW, MIDDLE, HIGH)], output.unit)
    return (
        f"Of the test customers the middle one has {middle}, a tenth have less than {low} and a tenth more than {high}."
    )


def _bands(output: Output) -> Html:
    header = ["Segment", "Id"] if output.name == CLUSTER else ["Band", f"From{measured_in(output)}"]
    rows = [[band.name, limit] for band, limit in zip(output.bands, _limits(output), strict=True)]
    if not output.reference:
        return table(f"Bands of {output.name}", header, rows)
    shared = [[*row, share] for row, share in zip(rows, _band_shares(output), strict=True)]
    return table(f"Bands of {output.name}", [*header, "Of the test customers"], shared)


def _limits(output: Output) -> list[str]:
    thresholds = [band.threshold for band in output.bands]
    return [f"{one:g}" for one in thresholds] if output.name == CLUSTER else amounts(thresholds, output.unit)


def _band_shares(output: Output) -> list[str]:
    """How many customers of the reference reach each band and not the next."""
    reached = 1.0 - np.searchsorted(output.reference, [band.threshold for band in output.bands]) / len(output.reference)
    return [percent(share) for share in -np.diff(reached, append=0.0)]


def inputs(features: Sequence[Feature]) -> Html:
    """What a request must bring."""
    rows = [
        [code(one.name), one.unit or one.kind, one.description, _range(one), "yes" if one.nullable else "no"]
        for one in features
    ]
    return table("Inputs", ["Name", "Unit", "Meaning", "Seen in training", "May be missing"], rows)


def _range(feature: Feature) -> str:
    if feature.kind == "categorical":
        return f"{len(feature.vocabulary):,} categories"
    if feature.minimum is None:
        return "never known"
    if feature.maximum is None:
        return f"from {number(feature.minimum)}"
    return span(feature.minimum, feature.maximum)
