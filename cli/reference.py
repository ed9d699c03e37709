"""Writes the reference tables of the documentation anew out of the code that they describe: `python -m cli.reference`.

Each stands between two markers, `<!-- settings -->` and `<!-- /settings -->`; the rest of its file is left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from features.project import project_reference
from services.core import errors, metrics, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[1]

REFERENCES: dict[str, Callable[[], str]] = {
    "project keys": project_reference,
    "settings": settings.reference,
    "errors": errors.reference,
    "metrics": metrics.reference,
}

DOCUMENTS = {
    ROOT / "README.md": ("project keys", "settings", "errors"),
    ROOT / "docs" / "metrics.md": ("metrics",),
}
"""Which tables stand where."""


def section(name: str) -> str:
    """A table with its markers, as it stands in its document."""
    return f"<!-- {name} -->\n\n{REFERENCES[name]().strip()}\n\n<!-- /{name} -->"


def refresh(text: str, names: Iterable[str]) -> str:
    """The text with these sections anew.

    Raises:
        ValueError: a marker does not stand there exactly once, or its end stands before it.
    """
    for name in names:
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"{begin} and, after it, {end} must each stand there once")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + section(name) + after
    return text


def main() -> int:
    for document, names in DOCUMENTS.items():
        document.write_text(refresh(document.read_text(), names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
