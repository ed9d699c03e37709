"""The alerts as they are, sixty times as fast: a minute of their rules becomes a second.

Hastened is every duration that a rule spells: the windows of its expressions (`[5m]`, `[1h:1m]`, `offset 1d`), `for`,
`keep_firing_for` and the interval of its group; and every limit on how long ago something was or how long it is until
it is, which a rule writes as a number of seconds that a difference with `time()` is compared with
(`time() - … > 26 * 3600`). All other numbers stay: a share, a count, or 25 milliseconds are no passing of time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

FASTER = 60
"""Times."""

_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
# Strings come first, so that nothing within one is taken for a window.
_WINDOW = re.compile(r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<window>\[[^\]]*\]|\boffset\s+-?\w+)""")


# The difference may hold brackets and vectors, and no other comparison.
_AGE = re.compile(r"(?P<difference>\btime\(\)[^<>]*[<>]=?\s*)(?P<limit>\d+(?:\s*\*\s*\d+)*)")


def hasten(duration: str) -> str:
    """`5m` is `5s`, `30s` is `500ms`.

    Raises:
        ValueError: it is no duration, or less than a millisecond is left of it.
    """
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"{duration!r} is no duration of Prometheus")
    whole = sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(duration))
    milliseconds, rest = divmod(whole, FASTER)
    if rest:
        raise ValueError(f"{duration} has no whole milliseconds when it passes {FASTER} times as fast")
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def hasten_expression(expression: str) -> str:
    """The expression with every window, offset and limit of an age hastened."""

    def window(found: re.Match[str]) -> str:
        return found["text"] or _DURATION.sub(lambda one: hasten(one[0]), found["window"])

    return _AGE.sub(rf"\g<difference>\g<limit> / {FASTER}", _WINDOW.sub(window, expression))


def hasten_rules(content: dict[str, Any]) -> dict[str, Any]:
    """A file of rules."""
    return {**content, "groups": [_group(group) for group in content["groups"]]}


def write_hastened(rules: list[Path], folder: Path) -> list[Path]:
    """Writes them into the folder, under the names that they have."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / file.name for file in rules]
    for file, place in zip(rules, written, strict=True):
        place.write_text(yaml.safe_dump(hasten_rules(yaml.safe_load(file.read_text())), sort_keys=False))
    return written


def _group(group: dict[str, Any]) -> dict[str, Any]:
    return {**_spelled(group, "interval"), "rules": [_rule(rule) for rule in group["rules"]]}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    return {**_spelled(rule, "for", "keep_firing_for"), "expr": hasten_expression(rule["expr"])}


def _spelled(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    """The entry with these durations hastened, where it has them."""
    return entry | {name: hasten(entry[name]) for name in names if name in entry}
