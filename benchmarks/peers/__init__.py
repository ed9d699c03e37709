"""Regulars beside the systems that one would otherwise take: the same model, machine, cores and load for all.

./dev bench peers                    all of it, some 35 minutes
PEERS="Triton MLServer" ./dev bench peers    Regulars and these, a round of each, printed and not written

Each system runs in an environment of its own (`requirements/peer-*.txt`) on one core, with the settings that its
documentation gives to whoever wants it fast; the load runs on another. What each answers is compared with the scores
of the graph before anything is measured, and so is the length of every answer while it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.harness import Page


def measure() -> Page:
    # The peers' clients import this package in environments that hold nothing of ours.
    from benchmarks.peers.comparison import compare  # noqa: PLC0415

    return compare()
