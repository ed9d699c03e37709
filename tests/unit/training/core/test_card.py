"""The card of every kind of model: sound, whole, and in words that fit the kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_registry.evidence import Comparison
from tests.support.cards import CATEGORIES, KINDS, churn, cltv, clustering, known, propensity
from tests.support.pages import flaws, parsed, words
from training.core.card import CardFacts, model_card


def read(facts: CardFacts) -> str:
    """What a reader of the card reads."""
    return words(parsed(model_card(facts))).replace("\u00a0", " ")


def titles(facts: CardFacts) -> list[str]:
    return ["".join(one.itertext()) for one in parsed(model_card(facts)).iter("h2")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_is_sound_and_tells_what_every_card_tells(kind: str) -> None:
    facts = KINDS[kind]()
    card = model_card(facts)
    assert flaws(card) == []
    told = read(facts)
    for expected in (
        f"{kind} for Smith & Sons: model card",
        "spend <alone> reaches an AUC of 0.990.",
        "run-<1>",
        "Not for <prices> & credit.",
        "recency_days",
        "1.2e-07 at most on 4,321 rows",
        "learning_rate 0.01235",
        "b" * 64,
    ):
        assert expected in told
    if kind != "churn":
        assert "the customer leaves" not in told


def test_a_grade_is_told_with_the_figure_that_decided_and_the_way_up() -> None:
    told = read(churn())
    assert "Every gate passed. Auc is 0.800, and the lower end of its interval, 0.7800, reaches the 0.75" in told
    assert "excellent one needs 0.85" in told


def test_metrics_of_parts_stand_in_groups_and_leave_the_whole_alone() -> None:
    card = parsed(model_card(propensity()))
    whole, parts, *_ = card.iter("table")
    assert len(list(whole.iter("tr"))) == 1 + 2
    groups = ["".join(one.itertext()) for one in parts.iter("th") if one.get("scope") == "rowgroup"]
    assert groups == ["AUC: how often", "Brier score"]
    rows = ["".join(one.itertext()) for one in parts.iter("th") if one.get("scope") == "row"]
    assert rows == [*CATEGORIES, *CATEGORIES]
    assert "[GROCERY]" not in "".join(parts.itertext())
    assert "0.600 [0.580, 0.620]" in " ".join("".join(parts.itertext()).split())


def test_every_output_is_told_for_what_it_is() -> None:
    assert "Probability of an order with MEAT & <FISH> within 30 days" in read(propensity())
    money = read(cltv())
    assert "Expected revenue within 30 days, in EUR. Of the test customers the middle one has 10,000" in money
    assert "Upper bound of the revenue within 30 days, in EUR; between the two bounds lie 80 % of customers." in money
    assert "GOLD 12,346 38 %" in money
    assert "probability" not in money.lower()
    groups = read(clustering())
    assert "Segment Id Loyal <3 1 New 2 Gone 4" in groups
    assert "5 is the latest." in groups
    assert "Distance to the centre of that segment, in scaled units" in groups
    assert "probability" not in groups.lower()


def test_the_shares_of_bands_are_those_of_the_reference() -> None:
    assert "LOW 0.000 33 % MEDIUM 0.333 33 % HIGH 0.667 33 %" in read(churn())


def test_who_is_scored_is_told_in_words() -> None:
    assert "recency_days is at most 90 (days, Since the last order); the others are answered INACTIVE" in read(churn())
    assert "Every customer that a request describes." in read(cltv())


def test_gates_are_told_with_their_limits() -> None:
    told = read(cltv())
    assert "Coverage 0.610 at least 0.75 and at most 0.85 fails" in told
    assert "Bias 0.020 at most 0.1 passes" in told
    assert "A gate failed, as told below. Without that it would be good" in told
    assert "Coverage: the figure is 0.610, and must be at least 0.75 and at most 0.85." in told
    told = read(propensity())
    assert "champion, version 7 AUC 0.001 [-0.004, 0.006] -0.01 passes" in told
    assert "no champion" not in told
    assert "There was no champion" in read(churn())


def test_a_champion_that_was_not_compared_is_named() -> None:
    facts = churn()
    facts = replace(facts, evidence=replace(facts.evidence, champion_version="3"))
    assert "It was not compared with the champion, version 3, so promotion will refuse it." in read(facts)


def test_a_champion_may_be_missed_by_the_margin_and_no_more() -> None:
    facts = propensity()
    worse = replace(facts.judgement, champion=Comparison("champion", "auc", known(-0.02, 0.01)))
    assert "-0.01 fails" in read(replace(facts, judgement=worse))


def test_the_three_ways_to_part_the_data_are_told_apart() -> None:
    dated, across, undated = (read(kind()) for kind in (churn, cltv, clustering))
    assert "Snapshots from 2017-03-01 to 2017-05-01 trained, 2017-06-01 tested." in dated
    assert "nothing here shows how it fares on a later date" not in dated.lower()
    assert "The history holds a single snapshot, 2017-06-01" in across
    assert "How much happens in those days the model knows already" in across
    assert "there is no time axis" in undated
    for told in (across, undated):
        assert "nothing here shows how it fares on a later date" in told.lower()


def test_parts_with_different_labels_are_told() -> None:
    facts = propensity()
    bare = replace(facts.dataset.test, labels={"purchased": np.zeros(60, np.float32), "late": np.ones(60, np.float32)})
    told = read(replace(facts, dataset=replace(facts.dataset, test=bare)))
    assert "Share with purchased 100 % 0 %" in told
    assert "Share with purchased[GROCERY] 0 % n/a" in told
    assert "Share with late n/a 100 %" in told
    assert "Mean revenue 1,235 1,235" in read(cltv())


def test_what_a_kind_does_not_have_is_left_out() -> None:
    assert "What it looks at" in titles(churn())
    assert "in the trees of" not in read(churn())
    assert "in the trees of purchase_probability, largest first" in read(propensity())
    assert "In pictures" in titles(churn())
    groups = clustering()
    assert not {"What it looks at", "In pictures"} & set(titles(groups))
    assert "It was compared with nothing simpler, so promotion will refuse it." in read(groups)
    plain = replace(groups, judgement=replace(groups.judgement, grade="", metrics={}), warnings=())
    assert flaws(model_card(plain)) == []
    assert "Read this first" not in titles(plain)
    assert "The rule:" not in read(plain)
