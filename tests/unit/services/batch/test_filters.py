"""The filter language: what it says is what it prints, and who errs learns where and what there is."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.batch.filters import (
    All,
    AnyOf,
    Compare,
    FilterError,
    Flag,
    Not,
    Percent,
    Terms,
    Top,
    changed,
    conditions,
    read_filter,
)
from tests.support.filters import filters

if TYPE_CHECKING:
    from services.batch.filters import Kind

TERMS = Terms(
    {
        "customer_id": "text",
        "churn_status": "text",
        "churn_probability": "number",
        "churn_probability_band": "text",
        "expected_value": "number",
        "expected_value_band": "text",
        "purchase_probability[DRUG GM]": "number",
        "cluster_name": "text",
        "unusual": "flag",
        "channel": "text",
        # Features may be called anything.
        "value": "number",
        "and": "flag",
        "top": "number",
        "tier": "flag",
        'odd "name" 100%': "number",
    },
    {
        "churn_status": ["INACTIVE", "OK"],
        "churn_probability_band": ["HIGH", "LOW", "MEDIUM"],
        "expected_value_band": ["LOW", "TOP"],
        "cluster_name": ["At risk", "Lost", "Rock and roll", "lost"],
    },
)
HIGH = Compare("churn_probability_band", "=", "HIGH")
BEST = Compare("expected_value_band", "=", "TOP")
RISKY = Compare("cluster_name", "=", "At risk")
FEW = Top("churn_probability", Percent(Decimal(10)))


REAL: dict[Kind, str] = {
    "number": "churn_probability expected_value frequency_score purchase_probability purchase_probability[GROCERY] "
    "response_probability",
    "text": "churn_probability_band expected_value_band cluster_name churn_status channel",
    "flag": "unusual",
}
REAL_VALUES = {
    "churn_probability_band": ["HIGH", "LOW", "MEDIUM"],
    "expected_value_band": ["HIGH", "LOW", "MEDIUM", "TOP"],
    "cluster_name": ["At risk", "Lost", "Rock and roll", "Slowing"],
    "churn_status": ["INACTIVE", "OK"],
}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("churn high", HIGH),
        ("  CHURN\tHigh\n", HIGH),
        ("churn = high", HIGH),
        ("churn_probability high", HIGH),
        ("churn_probability_band = 'HIGH'", HIGH),
        ("churn != high", Compare("churn_probability_band", "!=", "HIGH")),
        ("value top tier", BEST),
        ("value top", BEST),
        ("segment at risk", RISKY),
        ("segment 'at risk'", RISKY),
        ("segment Lost", Compare("cluster_name", "=", "Lost")),
        ("segment lost", Compare("cluster_name", "=", "lost")),
        ('segment "rock and roll"', Compare("cluster_name", "=", "Rock and roll")),
        ("churn >= 0.5", Compare("churn_probability", ">=", 0.5)),
        ("churn>=.5", Compare("churn_probability", ">=", 0.5)),
        ("value < -1e3", Compare("expected_value", "<", -1000.0)),
        ('"value" < 3', Compare("value", "<", 3.0)),
        ("churn top 10%", FEW),
        ("churn TOP 10.0 %", FEW),
        ("top top 10%", Top("top", Percent(Decimal(10)))),
        ("purchase[drug gm] > 0", Compare("purchase_probability[DRUG GM]", ">", 0.0)),
        ('"odd ""name"" 100%" > 0', Compare('odd "name" 100%', ">", 0.0)),
        ("channel web shop", Compare("channel", "=", "web shop")),
        ('channel "Ünder ""x"""', Compare("channel", "=", 'Ünder "x"')),
        ("unusual", Flag("unusual")),
        ('"and"', Flag("and")),
        ("churn_status inactive", Compare("churn_status", "=", "INACTIVE")),
        ("not churn high", Not(HIGH)),
        ("not not unusual", Not(Not(Flag("unusual")))),
        ("churn high and value top and unusual", All((HIGH, BEST, Flag("unusual")))),
        ("churn high or value top and unusual", AnyOf((HIGH, All((BEST, Flag("unusual")))))),
        ("(churn high or value top) and unusual", All((AnyOf((HIGH, BEST)), Flag("unusual")))),
        ("not churn high and value top", All((Not(HIGH), BEST))),
        ("not (churn high and value top)", Not(All((HIGH, BEST)))),
        ("churn high AND segment at risk OR unusual", AnyOf((All((HIGH, RISKY)), Flag("unusual")))),
    ],
)
def test_a_filter_means_what_it_says(text: str, meant: object) -> None:
    found = read_filter(text, TERMS)
    assert found == meant
    assert read_filter(str(found), TERMS) == found


@given(filters(TERMS, st.floats(allow_nan=False, allow_infinity=False)))
def test_what_a_filter_prints_says_the_same(asked: All) -> None:
    assert read_filter(str(asked), TERMS) == asked


@given(st.text() | st.lists(st.sampled_from([*"()%<=>'\"[", " and ", "or", " not ", "top", "churn", "5", "HIGH "])))
def test_any_text_is_a_filter_or_an_error(text: str | list[str]) -> None:
    try:
        found = read_filter(text if isinstance(text, str) else "".join(text), TERMS)
    except FilterError:
        return
    assert read_filter(str(found), TERMS) == found


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("churn hgih", "hgih", "churn is not hgih for anybody here; it is HIGH, LOW or MEDIUM"),
        ("churn high value top", "high value top", "churn is not high value top for anybody here"),
        ("segment LOST", "LOST", "it is At risk, Lost, Rock and roll or lost"),
        ("chrun high", "chrun", "there is no column chrun; there are churn, value, segment, customer_id, churn_status"),
        ("churn high or medium", "medium", 'there is no column medium; write churn_probability_band = "MEDIUM"'),
        ("churn", "churn", 'say which churn: churn_probability_band = "HIGH" or '),
        ("segment and unusual", "segment", 'say which segment: cluster_name = "At risk" or '),
        ("churn 0.5", "0.5", "write >=, <, = or another comparison after churn"),
        ("churn > high", ">", "of text only = and != can be asked, not >"),
        ("segment >= lost", ">=", "of text only = and != can be asked, not >="),
        ("churn top 10", "10", "a % is missing after 10; so many customers are chosen by --top"),
        ("churn top 101%", "101", "101% is not more than 0% and at most 100%"),
        ("churn top 0%", "0", "0% is not more than 0% and at most 100%"),
        ("segment top 5%", "segment", 'segment is no number: write for example cluster_name = "At risk"'),
        ("channel > 3", "channel", 'channel is no number: write for example channel = "some text"'),
        ("top high", "top", "top is no text: write for example top >= 0.5"),
        ("unusual = 1", "unusual", "unusual is no number: write for example unusual, or not unusual"),
        ("unusual yes", "unusual", "unusual is no text: write for example unusual, or not unusual"),
        ("churn > 1e999", "1e999", "1e999 is too large"),
        ("churn > 0,5", ",", "this is no word, number or plain quote"),
        ("churn “high”", "“", "this is no word, number or plain quote"),
        ("churn high; drop", ";", "this is no word, number or plain quote"),
        ("churn 'high", "'", "this is no word, number or plain quote"),
        ("churn high)", ")", "here 'and' or 'or' is missing, or this is too much"),
        ("(churn high", "", "a ')' is missing"),
        ("churn high and", "", "a column is missing here"),
        ("churn =", "", "what is churn to be?"),
        ("5 > churn", "5", "a column is missing here"),
        ("", "", "a column is missing here; there are churn, value, segment"),
        (" \n", "", "a column is missing here"),
        ('"value" high', '"value"', "value is no text"),
        ('"segment" lost', '"segment"', "there is no column segment"),
    ],
)
def test_whoever_errs_learns_where_and_what_there_is(text: str, place: str, complaint: str) -> None:
    with pytest.raises(FilterError) as raised:
        read_filter(text, TERMS)
    said, line, mark = str(raised.value).split("\n")
    assert complaint in said
    assert line.removeprefix("  ") == text.replace("\n", " ")
    assert text[mark.index("^") - 2 : len(mark) - 2] == place


def test_every_filter_of_the_page_is_one() -> None:
    kinds: dict[str, Kind] = {name: kind for kind, names in REAL.items() for name in names.split()}
    terms = Terms({**kinds, "days since": "number"}, REAL_VALUES)
    page = (Path(__file__).parents[4] / "docs" / "export.md").read_text()
    table = page[page.index("| condition |") : page.index("Bands, tiers")].splitlines()[2:]
    conditions_shown = [text for line in table if line for text in re.findall("`(.+?)`", line.split("|")[1])]
    asked = [*re.findall("--where '(.+?)'", page), *conditions_shown]
    assert len(asked) > 20
    for one in (*asked, '"days since" < 30'):
        assert read_filter(one, terms)


def test_bands_that_nobody_counted_are_taken_as_they_are() -> None:
    terms = Terms({"churn_probability": "number", "churn_probability_band": "text"}, {})
    assert read_filter("churn high", terms) == Compare("churn_probability_band", "=", "high")


def test_conditions_are_found_and_changed_wherever_they_stand() -> None:
    found = read_filter("not (churn top 10% or unusual) and (value top or not churn high)", TERMS)
    assert list(conditions(found)) == [FEW, Flag("unusual"), BEST, HIGH]
    inverted = changed(found, lambda one: Flag("and") if one == FEW else one)
    assert str(inverted) == str(found).replace(str(FEW), '"and"')


@given(st.decimals(Decimal("0.001"), 100, places=3), st.integers(0, 10**8))
def test_a_share_is_rounded_up(value: Decimal, count: int) -> None:
    chosen = Percent(value).of(count)
    assert chosen * 100 >= value * count > (chosen - 1) * 100
    assert chosen <= count


@pytest.mark.parametrize("digits", ["0", "-1", "100.01", "many", "", "nan", "inf", "1e400"])
def test_what_is_no_share_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match=r"is no number|is not more than 0% and at most 100%"):
        Percent.read(digits)


def test_a_share_prints_as_it_is_read() -> None:
    assert str(Percent.read("2.50")) == "2.50%"
    assert Percent.read("1e1") == Percent.read("10.0")
    assert math.isclose(Percent.read("1e-7").value, 1e-7)
