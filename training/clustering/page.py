"""The persona page: each segment in the words of those who write to it, and its figures for everybody else."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from model_registry.page import (
    NOTHING,
    Html,
    bullets,
    element,
    estimate,
    figure,
    heading,
    joined,
    number,
    page,
    paragraph,
    percent,
    sections,
    stacked,
    strong,
    subsection,
    table,
    tiles,
)
from training.clustering.plots import MOVES, SIZES, migration_matrix, sizes_and_value
from training.clustering.space import FREQUENCY, MONETARY, RECENCY
from training.core.drawing import to_svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_registry.evidence import Interval
    from training.clustering.pipeline import Segmentation
    from training.clustering.portraits import Gallery, Migration, Portrait

PAGE_FILE = "personas.html"
RECORD_FILE = "segments.json"

MENTIONED = 0.05
"""Moves of a smaller share of a segment's customers are noise to a reader."""


def personas_page(gallery: Gallery, story: Sequence[str], *, horizon_days: int, currency: str) -> str:
    """The page. It loads nothing and runs nothing."""
    title = "Customer segments"
    parts = {
        f"{persona.name} ({number})": _segment(gallery, place, horizon_days, currency)
        for place, (number, persona) in enumerate(zip(gallery.ids, gallery.personas, strict=True))
    }
    return page(
        title,
        heading(title),
        paragraph(
            f"{gallery.everybody.customers:,} customers as of {gallery.migration.after}, by how recently, how often "
            f"and for how much they order. What they did in the {horizon_days} days after that is shown beside. A "
            "segment keeps its number for as long as it lives."
        ),
        sections(
            {
                "At a glance": _overview(gallery, horizon_days, currency),
                "What changed since the last model": bullets(story),
                **parts,
                "Who moved": _moves(gallery.migration, gallery.names),
                "How to read this": _reading(horizon_days),
            }
        ),
    )


def record(fitted: Segmentation, gallery: Gallery) -> dict[str, Any]:
    """All of it as data: what was tried, where the segments come from, what they are like, who moved."""
    lineage = fitted.lineage
    return {
        "tried": [
            {
                "segments": one.k,
                "stability": one.stability,
                "recovery": one.recovery,
                "smallest_share": one.smallest,
                "silhouette": one.silhouette,
                "passes": one.passes,
                "chosen": one.k == fitted.chosen.k,
            }
            for one in fitted.tried
        ],
        "lineage": {
            "former_ids": lineage.former,
            "births": lineage.births,
            "deaths": lineage.deaths,
            "splits": lineage.splits,
            "merges": lineage.merges,
            "kept_share": lineage.kept,
            "highest_id": lineage.highest,
            "shared_customers": lineage.shared.tolist(),
            "story": fitted.story,
        },
        "segments": [
            {"id": number, "name": persona.name, **_known(asdict(portrait))}
            for number, persona, portrait in zip(gallery.ids, gallery.personas, gallery.portraits, strict=True)
        ],
        "migration": {
            "from": gallery.migration.before,
            "to": gallery.migration.after,
            "ids": gallery.ids,
            "customers": gallery.migration.counts.tolist(),
            "shares": gallery.migration.shares.tolist(),
        },
    }


def _overview(gallery: Gallery, horizon_days: int, currency: str) -> Html:
    header = [
        "Segment",
        "Number",
        "Customers",
        "Share",
        f"Share of the revenue of the {horizon_days} days",
        f"Revenue a customer{_in(currency)}",
        f"No order in the {horizon_days} days",
    ]
    rows = [
        [strong(name), str(identity), *_overview_figures(portrait)]
        for name, identity, portrait in zip(gallery.names, gallery.ids, gallery.portraits, strict=True)
    ]
    everybody = ["All customers", "", *_overview_figures(gallery.everybody)]
    return joined(
        table("Segments at a glance", header, [*rows, everybody]),
        figure(to_svg(sizes_and_value(gallery)), SIZES, "sizes"),
    )


def _overview_figures(portrait: Portrait) -> list[str]:
    return [
        f"{portrait.customers:,}",
        percent(portrait.share),
        percent(portrait.revenue_share),
        stacked(portrait.value),
        _percent_interval(portrait.silent),
    ]


def _segment(gallery: Gallery, place: int, horizon_days: int, currency: str) -> Html:
    persona, portrait = gallery.personas[place], gallery.portraits[place]
    facts = {
        "Of the customers": percent(portrait.share),
        f"Of the revenue of the {horizon_days} days": percent(portrait.revenue_share),
        f"Revenue a customer{_in(currency)}": estimate(portrait.value),
        f"Churn risk: no order in the {horizon_days} days": _percent(portrait.silent.estimate),
    }
    difference = table(
        f"What makes {persona.name} different",
        ["The middle customer", persona.name, "All customers", "Compared"],
        _differences(portrait, gallery.everybody, currency),
    )
    return joined(
        paragraph(persona.who),
        tiles(facts),
        subsection("What to do", paragraph(persona.advice)),
        subsection("What makes them different", difference),
        subsection("Who came and who went", bullets(_flows(gallery, place))),
    )


def _differences(portrait: Portrait, everybody: Portrait, currency: str) -> Iterator[list[str]]:
    words = {
        RECENCY: ("Days since the last order", "long"),
        FREQUENCY: ("Orders so far", "many"),
        MONETARY: (f"Spent so far{_in(currency)}", "much"),
    }
    for column, (name, much) in words.items():
        own, usual = portrait.typical[column], everybody.typical[column]
        # A multiple of nothing, or of a debt, says nothing.
        compared = f"{own / usual:.2g} times as {much}" if own > 0 and usual > 0 else ""
        yield [name, number(own), number(usual), compared]


def _flows(gallery: Gallery, place: int) -> Iterator[str]:
    """Where its customers went, and where those it has now came from."""
    migration = gallery.migration
    left = migration.shares[place]
    gone = [
        f"{percent(left[to])} to {gallery.names[to]}"
        for to in sorted(range(len(left)), key=lambda to: -left[to])
        if to != place and left[to] >= MENTIONED
    ]
    if migration.counts[place].sum():
        yield (
            f"Of those who were in it on {migration.before}, {percent(left[place])} still were on {migration.after}"
            + (f"; {', '.join(gone)}." if gone else ".")
        )
    arrived = migration.counts[:, place]
    came, new = int(arrived.sum() - arrived[place]), int(arrived[-1])
    if came:
        yield f"{came:,} came to it in between" + (f", {new:,} of them with their first order." if new else ".")


def _moves(migration: Migration, names: Sequence[str]) -> Html:
    rows = [
        [row, *(_cell(count, share) for count, share in zip(counts, shares, strict=True))]
        for row, counts, shares in zip(
            [*names, "New customers"], migration.counts.tolist(), migration.shares.tolist(), strict=True
        )
    ]
    return joined(
        paragraph(
            f"Customers by their segment on {migration.before} (rows) and on {migration.after} (columns), both told by "
            f"this model. {percent(migration.stayed)} of those there before are where they were."
        ),
        table("Who moved", ["From", *names], rows),
        figure(to_svg(migration_matrix(migration, names)), MOVES, "migration"),
    )


def _cell(count: int, share: float) -> str:
    return f"{count:,} ({percent(share)})" if count else "0"


def _reading(horizon_days: int) -> Html:
    return bullets(
        [
            "The middle customer has half of the segment below and half above; a few large ones do not move it.",
            f"Revenue and orders are those of the {horizon_days} days that followed; segments knew nothing of them.",
            "Below a figure stands its 95 % interval: what it might have been with other customers of the same kind.",
            f"A customer counts as silent after {horizon_days} days without an order: longer gaps are rare here.",
            "Segments describe. That one brings more than another does not say that a message moves a customer there.",
            "Near the border of two segments a customer is described by both; each answer names the second nearest.",
        ]
    )


def _percent_interval(shown: Interval) -> Html:
    limits = f"[{_percent(shown.low)}, {_percent(shown.high)}]"
    return joined(_percent(shown.estimate), " ", element("span", limits, class_="limits"))


def _percent(share: float) -> str:
    return NOTHING if math.isnan(share) else percent(share)


def _in(currency: str) -> str:
    return f", {currency}" if currency else ""


def _known(value: Any) -> Any:  # noqa: ANN401 - whatever a portrait is made of
    """None for what an empty segment does not have: JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
