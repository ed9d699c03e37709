"""Customers who are to be forgotten: a list that every table is read through, as if it had never held them.

The list holds plain ids, one a line, and nothing else. Hashing them would hide little, because ids are few enough to be
tried one by one by whoever has the salt, and it would keep engines from leaving customers out where the tables are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

OWNER_ONLY = 0o600


def read_forgotten(path: Path) -> frozenset[str]:
    """The ids of the list; nobody where there is none."""
    return frozenset(ids_of(path.read_text(encoding="utf-8"))) if path.exists() else frozenset()


def ids_of(text: str) -> list[str]:
    """One id a line; empty lines are passed over."""
    # Not `splitlines`, which also ends lines at characters that an id may hold.
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line]


def remember_to_forget(path: Path, customers: Iterable[str]) -> int:
    """Adds customers to the list, which only its owner may read; returns how many were not on it.

    Lines are added at its end and none is rewritten, so that two who add at once lose nobody.
    """
    new = sorted(set(customers) - read_forgotten(path))
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(OWNER_ONLY)
        with path.open("a", encoding="utf-8", newline="") as file:
            # Whoever wrote the last line by hand may have left it open.
            file.write("".join(f"\n{customer}" for customer in new) + "\n")
    return len(new)
