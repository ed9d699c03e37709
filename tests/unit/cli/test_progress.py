"""How far a job is: the figures, and who is shown them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli import progress
from cli.progress import Lines, Meter, Reading, metered

if TYPE_CHECKING:
    from collections.abc import Iterator


def ticks(*seconds: float) -> Iterator[float]:
    """A clock."""
    return iter(seconds)


def readings(clock: Iterator[float], *rows: int, of: int = 1000) -> list[Reading]:
    """What is shown of these rows."""
    shown: list[Reading] = []
    meter = Meter(shown.append, clock.__next__)
    for done in rows:
        meter(done, of)
    assert meter.last == shown[-1]
    return shown


class TestMeter:
    def test_rows_of_an_earlier_attempt_are_done_but_took_no_time(self) -> None:
        first, second, last = readings(ticks(50.0, 60.0, 70.0), 500, 600, 1000)
        assert first == Reading(500, 1000)
        assert second == Reading(600, 1000, rows_per_second=10.0, seconds_left=40.0)
        assert last == Reading(1000, 1000, rows_per_second=25.0, seconds_left=0.0)

    def test_nothing_done_has_no_pace_and_neither_has_what_took_no_time(self) -> None:
        assert readings(ticks(5.0, 6.0, 6.0), 0, 0)[-1] == Reading(0, 1000)
        assert readings(ticks(5.0, 5.0), 0, 10)[-1] == Reading(10, 1000)

    @given(
        st.integers(0, 10**9),
        st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.01, 1e4)), min_size=1, max_size=9),
        st.integers(0, 10**9),
    )
    def test_at_its_pace_what_is_left_takes_the_time_left(
        self, before: int, steps: list[tuple[int, float]], left: int
    ) -> None:
        done = before + sum(rows for rows, _ in steps)
        now, clock, rows = 7.0, [7.0], [before]
        for more, seconds in steps:
            now += seconds
            clock.append(now)
            rows.append(rows[-1] + more)
        last = readings(ticks(*clock), *rows, of=done + left)[-1]
        assert last.rows_per_second is not None
        assert last.seconds_left is not None
        assert last.rows_per_second * (now - 7.0) == pytest.approx(done - before)
        assert last.rows_per_second * last.seconds_left == pytest.approx(left)


class TestLines:
    def test_a_line_for_each_change_but_one_a_second_and_the_last_one_always(self) -> None:
        file = io.StringIO()
        # When lines may be written: at 10.0, from 11.0, from 12.5, and the last.
        lines = Lines(file, ticks(10.0, 10.9, 11.5, 12.4, 12.41).__next__)
        for rows in (0, 100, 200, 300, 1000):
            lines(Reading(rows, 1000, 33.333, 6.04))
        assert [json.loads(line)["rows"] for line in file.getvalue().splitlines()] == [0, 200, 1000]

    def test_a_line_says_what_is_known(self) -> None:
        file = io.StringIO()
        lines = Lines(file, ticks(0.0, 1.0).__next__)
        lines(Reading(0, 1000))
        lines(Reading(333, 1000, 33.333, 20.01))
        assert list(map(json.loads, file.getvalue().splitlines())) == [
            {"rows": 0, "of": 1000, "rows_per_second": None, "seconds_left": None},
            {"rows": 333, "of": 1000, "rows_per_second": 33.3, "seconds_left": 20.0},
        ]


class TestMetered:
    @pytest.mark.parametrize("kind", ["auto", "none"])
    def test_a_pipe_is_told_nothing(self, capsys: pytest.CaptureFixture[str], kind: str) -> None:
        with metered(kind) as meter:
            meter(0, 10)
            meter(10, 10)
        assert capsys.readouterr() == ("", "")
        assert meter.last is not None
        assert meter.last.rows == 10

    def test_json_goes_to_standard_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        with metered("json") as meter:
            meter(0, 10)
            meter(10, 10)
        said = capsys.readouterr()
        assert said.out == ""
        assert [json.loads(line)["rows"] for line in said.err.splitlines()] == [0, 10]

    @pytest.mark.parametrize(("kind", "shown"), [("auto", True), ("none", False)])
    def test_a_terminal_gets_a_bar_unless_it_is_not_wanted(
        self, monkeypatch: pytest.MonkeyPatch, kind: str, *, shown: bool
    ) -> None:
        file = io.StringIO()
        monkeypatch.setattr(progress, "err", Console(file=file, force_terminal=True, width=120))
        with metered(kind) as meter:
            meter(2_000, 9_000)
            meter(9_000, 9_000)
        assert ("9,000 of 9,000 rows" in file.getvalue()) == shown
        assert ("rows/s, 0:00:00 left" in file.getvalue()) == shown
