"""Writes the reference tables of README.md anew out of the code that they describe: `python -m cli.reference`.

Each stands between two markers, `<!-- settings -->` and `<!-- /settings -->`; the rest of the file is left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from features.project import project_reference
from services.core import errors, settings

README = Path(__file__).parents[1] / "README.md"

REFERENCES = {
    "project keys": project_reference,
    "settings": settings.reference,
    "errors": errors.reference,
}


def section(name: str) -> str:
    """A table with its markers, as it stands in README.md."""
    return f"<!-- {name} -->\n\n{REFERENCES[name]().strip()}\n\n<!-- /{name} -->"


def refresh(text: str) -> str:
    """The text with every section anew.

    Raises:
        ValueError: a marker does not stand there exactly once, or its end stands before it.
    """
    for name in REFERENCES:
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"{begin} and, after it, {end} must each stand once in {README.name}")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + section(name) + after
    return text


def main() -> int:
    README.write_text(refresh(README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
