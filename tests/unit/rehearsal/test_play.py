from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from tests.rehearsal.acts import ACTS, Act, Note
from tests.rehearsal.callers import Failure
from tests.rehearsal.play import Seen, judge, table, unrehearsed
from tests.rehearsal.stage import alerts
from tests.rehearsal.watch import Alarm, Spell

DOWN, SLOW, OLD = Alarm("Down", "churn"), Alarm("Slow", "churn"), Alarm("Old", "cltv")
ACT = Act("a fall", lambda stage, notes: nullcontext(), fires=(DOWN,), may=(SLOW,), failing=("churn",))
FELL = Spell(DOWN, 105.0, 120.0)


def seen(
    *spells: Spell, failures: tuple[Failure, ...] = (), cltv_answered: int = 5, notes: tuple[Note, ...] = ()
) -> Seen:
    return Seen(100.0, 115.0, 130.0, spells, failures, {"churn": 1200, "cltv": cltv_answered}, notes)


def missed(seen: Seen, *lingering: Alarm) -> list[str]:
    return [row.what for row in judge(ACT, seen, lingering) if not row.passed]


def test_an_alarm_that_fires_and_resolves_is_as_expected() -> None:
    row = judge(ACT, seen(FELL))[0]
    assert (row.what, row.seen, row.passed) == ("Down (churn)", "from second 5 to 20; mended from 15", True)
    assert missed(seen(FELL)) == []


def test_an_alarm_that_is_silent_or_does_not_resolve_is_missed() -> None:
    assert missed(seen()) == ["Down (churn)"]
    assert missed(seen(Spell(DOWN, 105.0, 130.0))) == ["Down (churn)"]


def test_what_may_fire_is_told_and_nothing_else_may() -> None:
    rows = judge(ACT, seen(FELL, Spell(SLOW, 106.0, 129.9)))
    assert [(row.what, row.expected) for row in rows][1] == ("Slow (churn)", "may fire")
    assert missed(seen(FELL, Spell(SLOW, 106.0, 130.0))) == []
    assert missed(seen(FELL, Spell(OLD, 101.0, 130.0))) == ["all other alarms"]
    assert missed(seen(FELL, Spell(Alarm("Down", "cltv"), 101.0, 110.0))) == ["all other alarms"]


def test_an_alarm_that_an_act_leaves_behind_must_fire_to_its_end() -> None:
    act = replace(ACT, leaves=(OLD,))
    verdicts = {
        ended: [row.passed for row in judge(act, seen(FELL, Spell(OLD, 110.0, ended))) if row.what == "Old (cltv)"]
        for ended in (120.0, 129.5)
    }
    assert verdicts == {120.0: [False], 129.5: [True]}


def test_an_alarm_that_lingers_is_borne_with() -> None:
    assert missed(seen(FELL, Spell(OLD, 101.0, 130.0)), OLD) == []


def test_a_failed_call_is_missed_unless_the_act_is_about_it() -> None:
    of_churn, of_cltv = Failure(101.0, "churn", "one customer: UNAVAILABLE"), Failure(101.0, "cltv", "table: UNKNOWN")
    assert missed(seen(FELL, failures=(of_churn,))) == []
    assert missed(seen(FELL, failures=(of_churn, of_cltv))) == ["calls that failed, churn aside"]


def test_a_model_whose_callers_got_no_answer_is_missed() -> None:
    assert missed(seen(FELL, cltv_answered=0)) == ["calls answered"]
    assert [row.seen for row in judge(ACT, seen(FELL)) if row.what == "calls answered"] == ["churn 1,200, cltv 5"]


def test_what_an_act_noted_is_judged_with_it() -> None:
    assert missed(seen(FELL, notes=(Note("versions", "1", "2", passed=False),))) == ["versions"]


def test_the_table_stands_under_the_names_of_the_acts() -> None:
    text = table(judge(ACT, seen()))
    assert text.splitlines()[1:3] == ["a fall", f"  MISS {'Down (churn)':<30}  fires, resolves  silent for 30 s"]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.title)
def test_the_acts_name_alerts_that_there_are_and_each_once(act: Act) -> None:
    named = [*act.fires, *act.leaves, *act.may, *act.lingers]
    assert {alarm.alert for alarm in named} <= set(alerts())
    assert len(named) == len(set(named))


def test_what_no_act_sets_off_is_known() -> None:
    assert "RegularsAbsent" in unrehearsed(alerts(), ACTS)
    assert "RegularsSyncFailing" not in unrehearsed(alerts(), ACTS)
