"""What segments are called: the nearest of a few characters that marketers know, none twice.

A segment is described by three figures from 0 to 5: how fresh its last order is, counted in horizons (5 is today, 2.5 a
whole horizon of silence, 1 four of them), and the mean fifths of its frequency and its monetary value. Freshness is
absolute: where everybody has been silent for a year, the least silent are not loyal. The other two are relative: what
counts as often differs between shops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FRESHEST = 5.0
NEAR_ENOUGH = 1.0
"""How far, in fifths, a segment may move from its character before it loses the name: campaigns are built on names, so
they stay while they are not untrue."""


@dataclass(frozen=True)
class Persona:
    """A character: its typical figures, who it is, and what to do about it."""

    name: str
    typical: tuple[float, float, float]
    who: str
    advice: str


PERSONAS = (
    Persona(
        "Champions",
        (4.5, 4.5, 4.5),
        "Order lately and often, and spend the most.",
        "Thank them, and show them what is new before all others.",
    ),
    Persona(
        "Loyal",
        (4.2, 3.3, 3.3),
        "Come back steadily and spend well.",
        "Offer what completes their baskets; they need no discount.",
    ),
    Persona(
        "Regulars",
        (4.0, 2.4, 2.4),
        "Order lately, with room for more.",
        "Suggest one more category, or a standing order.",
    ),
    Persona(
        "Promising",
        (3.6, 1.3, 1.3),
        "Ordered lately, but only a few times.",
        "Win the next order soon: a welcome series, a reason to return.",
    ),
    Persona(
        "Big baskets",
        (4.0, 2.3, 4.2),
        "Order seldom, and much at a time.",
        "Remind them when the next large order is due.",
    ),
    Persona(
        "Small baskets",
        (4.2, 4.2, 2.3),
        "Order often, and little at a time.",
        "Make the basket larger: bundles, free delivery above an amount.",
    ),
    Persona(
        "Slowing",
        (2.8, 3.2, 3.2),
        "Good customers who take longer than they used to.",
        "Ask now what is missing, before they have left.",
    ),
    Persona(
        "At risk",
        (1.9, 2.2, 2.2),
        "Silent for longer than is usual.",
        "Make one good offer now; winning them back later costs more.",
    ),
    Persona(
        "Win back",
        (1.3, 4.2, 4.2),
        "Were among the best, and have gone silent.",
        "Write or call in person: they are worth the effort.",
    ),
    Persona(
        "Dormant",
        (0.9, 2.7, 2.9),
        "Used to order, and have been silent for long.",
        "Wake them with what they used to buy.",
    ),
    Persona(
        "Lapsed",
        (0.9, 1.2, 1.2),
        "Ordered little, and long ago.",
        "Spend no more on them than a reminder costs.",
    ),
)


def freshness(silence: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 5 down to 0; `silence` is counted in horizons."""
    return FRESHEST / (1.0 + np.maximum(silence, 0.0))


def personas(profiles: NDArray[np.float64], former: Mapping[int, str]) -> tuple[Persona, ...]:
    """One persona for each segment.

    Args:
        profiles: (k, 3), freshness, frequency and monetary value of each segment.
        former: by place, what the champion called the segments that it had too, each by another name.
    """
    misfits = _misfits(profiles)
    names = [persona.name for persona in PERSONAS]
    known = {place: names.index(name) for place, name in former.items() if name in names}
    chosen = {place: persona for place, persona in known.items() if misfits[place, persona] <= NEAR_ENOUGH}
    places = [place for place in range(len(profiles)) if place not in chosen]
    free = [persona for persona in range(len(PERSONAS)) if persona not in chosen.values()]
    # The least misfit over all, so that no two segments get one name.
    rows, columns = linear_sum_assignment(misfits[np.ix_(places, free)])
    chosen |= {places[row]: free[column] for row, column in zip(rows, columns, strict=True)}
    return tuple(PERSONAS[chosen[place]] for place in range(len(profiles)))


def _misfits(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each segment is from each persona, in fifths: root mean square, (k, personas)."""
    typical = np.array([persona.typical for persona in PERSONAS])
    distances: NDArray[np.float64] = np.sqrt(((profiles[:, None, :] - typical) ** 2).mean(axis=2))
    return distances
