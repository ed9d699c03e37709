"""Plays acts on the stage, and judges what was seen: every alarm that an act wants, and none besides."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.rehearsal.acts import Notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.rehearsal.acts import Act, Note
    from tests.rehearsal.callers import Failure
    from tests.rehearsal.stage import Say, Stage
    from tests.rehearsal.watch import Alarm, Spell

FIRING_SECONDS = 60.0
"""How long an alarm may take to fire: an hour of the rules' own time."""
SILENT_SECONDS = 90.0
AFTERMATH_SECONDS = 3.0
"""What an act has set off shows within an evaluation or two."""
TAIL_SECONDS = 2.0
"""What was silent a moment ago may have had its last evaluation just before an act ended."""


class Row(NamedTuple):
    """One line of the table."""

    act: str
    what: str
    expected: str
    seen: str
    passed: bool


@dataclass(frozen=True)
class Seen:
    """All of an act that can be judged. Times are Unix time, `mended` that from which its trouble was mended."""

    began: float
    mended: float
    ended: float
    spells: Sequence[Spell]
    failures: Sequence[Failure]
    answered: Mapping[str, int]
    """Calls, by model."""
    notes: Sequence[Note]


def play(acts: Iterable[Act], stage: Stage, say: Say) -> list[Row]:
    """Plays them one after another; an alarm that lingers is borne with from its act on."""
    rows: list[Row] = []
    lingering: set[Alarm] = set()
    for act in acts:
        say(f"── {act.title}")
        seen = _perform(act, stage)
        judged = judge(act, seen, lingering)
        for row in judged:
            say(f"   {'ok  ' if row.passed else 'MISS'} {row.what}: {row.seen}")
        rows += judged
        lingering |= {*act.leaves, *act.lingers}
    return rows


def _perform(act: Act, stage: Stage) -> Seen:
    notes, before, began = Notes(), stage.callers.answered_by_model, time.time()
    mended = began
    try:
        with act.trouble(stage, notes):
            stage.watch.wait_until(act.fires, FIRING_SECONDS)
            mended = time.time()
    except Exception as error:  # noqa: BLE001 - the other acts are still to be played, and may tell more
        notes.holds("the act came to its end", "yes", f"{type(error).__name__}: {error}", passed=False)
    time.sleep(AFTERMATH_SECONDS)
    stage.watch.wait_until(act.leaves, FIRING_SECONDS)
    stage.watch.wait_until_silent({*act.fires, *act.may}, SILENT_SECONDS)
    ended = time.time()
    spells = [spell for spell in stage.watch.spells(ended - began) if spell.ended >= began + TAIL_SECONDS]
    answered = {model: count - before[model] for model, count in stage.callers.answered_by_model.items()}
    return Seen(began, mended, ended, spells, stage.callers.failures_since(began), answered, notes.written)


def judge(act: Act, seen: Seen, lingering: Iterable[Alarm] = ()) -> list[Row]:
    spells: defaultdict[Alarm, list[Spell]] = defaultdict(list)
    for spell in seen.spells:
        spells[spell.alarm].append(spell)
    borne_with = {*act.leaves, *act.may, *act.lingers, *lingering}
    return [
        *(_fired(act, seen, alarm, spells[alarm]) for alarm in act.fires),
        *(_stayed(act, seen, alarm, spells[alarm]) for alarm in act.leaves),
        *(_told(act, seen, alarm, spells[alarm]) for alarm in act.may if spells[alarm]),
        _others(act, [alarm for alarm in spells if spells[alarm] and alarm not in {*act.fires, *borne_with}]),
        _calls(act, [failure for failure in seen.failures if failure.model not in act.failing]),
        _answers(act, seen.answered),
        *(Row(act.title, note.what, note.expected, note.seen, note.passed) for note in seen.notes),
    ]


def _fired(act: Act, seen: Seen, alarm: Alarm, spells: list[Spell]) -> Row:
    resolved = bool(spells) and spells[-1].ended < seen.ended - TAIL_SECONDS / 2
    return Row(act.title, str(alarm), "fires, resolves", _when(seen, spells), resolved)


def _stayed(act: Act, seen: Seen, alarm: Alarm, spells: list[Spell]) -> Row:
    stays = bool(spells) and spells[-1].ended >= seen.ended - TAIL_SECONDS
    return Row(act.title, str(alarm), "fires, stays", _when(seen, spells), stays)


def _told(act: Act, seen: Seen, alarm: Alarm, spells: list[Spell]) -> Row:
    return Row(act.title, str(alarm), "may fire", _when(seen, spells), passed=True)


def _when(seen: Seen, spells: list[Spell]) -> str:
    if not spells:
        return f"silent for {seen.ended - seen.began:.0f} s"
    fired, resolved = spells[0].began - seen.began, spells[-1].ended - seen.began
    return f"from second {fired:.0f} to {resolved:.0f}; mended from {seen.mended - seen.began:.0f}"


def _others(act: Act, alarms: list[Alarm]) -> Row:
    return Row(act.title, "all other alarms", "silent", ", ".join(map(str, alarms)) or "silent", not alarms)


def _calls(act: Act, failures: list[Failure]) -> Row:
    whose = "calls that failed" if not act.failing else f"calls that failed, {', '.join(act.failing)} aside"
    seen = f"{len(failures)}" + (f", first {failures[0].model}, {failures[0].what}" if failures else "")
    return Row(act.title, whose, "0", seen, not failures)


def _answers(act: Act, answered: Mapping[str, int]) -> Row:
    """Without it, callers who are gone would pass for callers whose calls never fail. A server that an act stops is
    back before the act ends, so its callers too have been answered by then.
    """
    seen = ", ".join(f"{model} {count:,}" for model, count in answered.items())
    return Row(act.title, "calls answered", "of every model", seen, all(answered.values()))


def table(rows: Sequence[Row]) -> str:
    """The rows for a terminal, under the names of their acts."""
    wide = max(len(row.what) for row in rows)
    expected = max(len(row.expected) for row in rows)
    lines, title = [], ""
    for row in rows:
        if row.act != title:
            title = row.act
            lines += ["", title]
        verdict = "ok  " if row.passed else "MISS"
        lines.append(f"  {verdict} {row.what:<{wide}}  {row.expected:<{expected}}  {row.seen}")
    return "\n".join(lines)


def unrehearsed(alerts: Iterable[str], acts: Iterable[Act]) -> list[str]:
    """Alerts that no act sets off; all that is known of them is that they were silent."""
    rehearsed = {alarm.alert for act in acts for alarm in (*act.fires, *act.leaves)}
    return [alert for alert in alerts if alert not in rehearsed]
