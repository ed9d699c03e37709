"""Declared keys of a TOML file: each is a dataclass field that knows its kind, its default and its meaning.

One declaration serves three readers: the parser below, the error messages, and the printed reference.
"""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from features.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Section = TypeVar("Section")

MOST = 1000
MOST_CUSTOMERS = 1_000_000_000
MOST_DAYS = 36_500
"""A century: what lies beyond is a slip, and dates soon end."""


@dataclass(frozen=True)
class Kind:
    """What a key's value must be. `read` returns what to keep, or raises ValueError."""

    name: str
    read: Callable[[Any], Any]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004 - the one signal of a wrong kind, whatever is wrong with it
    return tuple(_text(item) for item in value)


def _text_or_texts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value.strip() else _texts(value)


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError
    return value


def _share(value: object) -> float:
    if not isinstance(value, float) or not 0.0 < value < 1.0:
        raise ValueError
    return value


def _date(value: object) -> dt.date:
    # A timestamp is a date to Python, and says more than is asked.
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise ValueError  # noqa: TRY004 - as above
    return value


TEXT = Kind("text", _text)
COLUMN = Kind("column", _text)
COLUMNS = Kind("list of columns", _texts)
COLUMN_OR_COLUMNS = Kind("column or list of columns", _text_or_texts)
NAMES = Kind("list of names", _texts)
COUNT = Kind(f"whole number from 1 to {MOST}", lambda value: _whole(value, MOST))
CUSTOMERS = Kind(f"whole number from 1 to {MOST_CUSTOMERS}", lambda value: _whole(value, MOST_CUSTOMERS))
DAYS = Kind(f"whole number of days from 1 to {MOST_DAYS}", lambda value: _whole(value, MOST_DAYS))
FOLDER = Kind("folder", lambda value: Path(_text(value)))
FILE = Kind("file", lambda value: Path(_text(value)))
SHARE = Kind("number above 0 and below 1", _share)
DATE = Kind("date such as 2027-12-31, without quotes", _date)


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(value: object) -> object:
        if value not in words:
            raise ValueError
        return value

    return Kind("text: " + " or ".join(f'"{word}"' for word in words), read)


def key(kind: Kind, meaning: str, *, default: object = MISSING, shown: str = "") -> Any:  # noqa: ANN401 - as `field`
    """Declare a dataclass field as a TOML key; without a default it is required.

    Args:
        kind: what the value must be.
        meaning: one line for the reference.
        default: the value of an absent key.
        shown: how the reference prints the default, where the value itself would not tell.
    """
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "shown": shown})


def read_section(section: type[Section], values: object, *, name: str, file: Path) -> Section:
    """Build `section`, a dataclass of declared keys, from the parsed TOML table called `name`.

    Raises:
        ProjectError: not a table, an unknown key, a missing required key, or a value of another kind.
    """
    declared = {declared.name: declared for declared in fields(section)}  # type: ignore[arg-type] # a dataclass type
    if not isinstance(values, dict):
        raise ProjectError(file, name, "is a value where a table is expected", f"Write it as [{name}]")
    for given in values:
        if given not in declared:
            raise unknown_key(file, given, within=name, valid=declared)
    for wanted in declared.values():
        if wanted.default is MISSING and wanted.name not in values:
            raise ProjectError(
                file,
                f"{name}.{wanted.name}",
                "is required and missing",
                f"Add it under [{name}]: {_kind(wanted)}, {_meaning(wanted)}",
            )
    return section(**{given: _read(declared[given], values[given], name, file) for given in values})


def unknown_key(file: Path, given: str, *, within: str, valid: Iterable[str]) -> ProjectError:
    """The error for a key nobody declared, naming the nearest one that exists."""
    valid = list(valid)
    prefix = f"{within}." if within else ""
    near = difflib.get_close_matches(given, valid, n=1)
    remedy = f"The nearest key is {prefix}{near[0]}" if near else f"Valid here: {', '.join(valid)}"
    return ProjectError(file, f"{prefix}{given}", "is not a known key", remedy)


def reference_rows(section: type, *, name: str) -> list[str]:
    """One markdown table row a key: key, kind, default, meaning."""
    return [
        f"| `{name}.{declared.name}` | {_kind(declared)} | {_default(declared)} | {_meaning(declared)} |"
        for declared in fields(section)
    ]


def _read(declared: Field[Any], value: object, section: str, file: Path) -> object:
    try:
        return declared.metadata["kind"].read(value)
    except ValueError:
        problem = f"is {value!r}, and must be a {_kind(declared)}"
        remedy = f"Set it to {_meaning(declared)}"
        raise ProjectError(file, f"{section}.{declared.name}", problem, remedy) from None


def _kind(declared: Field[Any]) -> str:
    return str(declared.metadata["kind"].name)


def _meaning(declared: Field[Any]) -> str:
    return str(declared.metadata["meaning"])


def _default(declared: Field[Any]) -> str:
    if declared.default is MISSING:
        return "required"
    if declared.metadata["shown"]:
        return str(declared.metadata["shown"])
    return f"`{declared.default}`" if declared.default not in (None, "", ()) else "none"
