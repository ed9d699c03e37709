"""What can be wrong with what a business gives us.

    FeaturesError
    ├── ProjectError   the project file: a key that is missing, unknown, or of another kind
    └── TableError     the tables it names: a source, a table, a column or a value
        └── TooLittleError   sound as they are, and too little for this one question

Every text names the key to correct, the problem and the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FeaturesError(Exception):
    """The project or its tables cannot be used as they are."""


class ProjectError(FeaturesError):
    """A project file that cannot be used."""

    def __init__(self, file: Path, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {key} {problem}. {remedy}.")
        self.file = file
        self.key = key


class TableError(FeaturesError):
    """A table that cannot be used; `key` is the key of the project file that maps it."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key} {problem}. {remedy}.")
        self.key = key


class TooLittleError(TableError):
    """What was asked needs a table that is not mapped, or more than the tables hold. Nothing is broken."""
