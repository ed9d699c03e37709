"""The page and the record: complete, well-formed, safe, and in plain words."""

from __future__ import annotations

import datetime as dt
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits import churn, cltv, clustering, propensity
from audits.fairness import audit
from audits.fairness_page import fairness_page
from audits.population import UNKNOWN
from audits.remedies_page import remedies
from audits.report import Report, Rival
from audits.statistics import Verdict
from audits.wording import summary
from features.sections import Waiver
from model_registry.page import element
from tests.support.worlds import (
    SEGMENTS,
    TODAY,
    churn_world,
    cltv_world,
    clustering_world,
    given,
    mirrored_churn,
    mirrored_cltv,
    partition,
    policy,
    propensity_world,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from audits.population import Population

LATER = dt.date(2030, 1, 1)
WEST = "churn_probability/tpr_gap/region/west"
CHAMPION_FAILED = Rival("6", None, "the table lacks columns that the model needs: spend")


def report(world: Population, declared: ModuleType = churn, waivers: Iterable[Waiver] = (), **facts: object) -> Report:
    limits = policy(waivers)
    result = audit(world, declared.yardsticks(world, limits), limits)
    return Report("Corner shop", "churn", "7", TODAY, result, **facts)  # type: ignore[arg-type]  # a test's facts


def text_of(page: str) -> str:
    """What a person reads; parsing is the test that the page is well-formed."""
    root = ET.fromstring(page.removeprefix("<!doctype html>\n"))
    for style in root.iter("style"):
        style.text = ""
    return " ".join("".join(root.itertext()).split())


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audits.statistics.RESAMPLES", 100)
        yield


@pytest.fixture(scope="module")
def failed() -> Report:
    return report(churn_world(3, 6000, shift=1.5), champion=Rival("6", report(churn_world(3, 6000)).audit))


@pytest.fixture(scope="module")
def refitted() -> Report:
    return report(mirrored_churn(1, 8000, 3.0, knows=False))


class TestPage:
    def test_a_failure_is_named_first_with_its_figure_and_what_to_do(self, failed: Report) -> None:
        text = text_of(fairness_page(failed))
        order = ("Verdict: FAIL", "for region: west", "What to do: Do not promote", "What decides")
        verdict, details, what_to_do, decides = map(text.index, order)
        # The first mention of what decides is the link to it.
        assert verdict < details < what_to_do < decides

    def test_it_loads_nothing_and_runs_nothing(self, failed: Report) -> None:
        page = fairness_page(failed)
        assert "<script" not in page
        for outside in ('src="', "url(http", "@import", 'href="http'):
            assert outside not in page

    def test_it_says_that_the_four_fifths_are_no_law(self, failed: Report) -> None:
        assert "a rule of thumb and not a law" in text_of(fairness_page(failed))

    def test_an_option_tells_what_it_does_and_what_it_costs(self, failed: Report) -> None:
        text = text_of(fairness_page(failed))
        assert "A line for each group, so that the same share of those with the outcome is reached, by region" in text
        assert "What it costs" in text
        assert "The served model is never told the attribute" in text

    def test_a_refit_tells_what_came_of_it_at_what_price_and_how_to_act(self, refitted: Report) -> None:
        text = text_of(fairness_page(refitted))
        assert "Trained again under a constraint on the groups, by region" in text
        assert "It brings west within the policy by the estimate, and the interval reaches beyond it." in text
        assert "Beyond doubt it changes: AUC by -0." in text
        assert "The small learner is a logistic regression." in text
        assert "The attribute is never an input." in text
        assert "name inputs in training.drop_features" in text
        assert "mirror 0.98, noise 0.52, habit 0.52" in text

    def test_a_refit_that_does_not_help_says_so_and_one_that_is_needless_too(self) -> None:
        hidden = report(mirrored_churn(1, 6000, 0.0, knows=False))
        assert "It does not bring west within the policy." in text_of(fairness_page(hidden))
        biased = churn_world(1, 6000, shift=1.5)
        odds = biased.scores["churn_probability"] / (1.0 - biased.scores["churn_probability"])
        west = biased.attributes[1].codes == biased.attributes[1].groups.index("west")
        needless = report(given(biased, habit=np.log(odds) + 1.5 * west))
        assert "Even when free, the small learner treats west within the policy." in text_of(fairness_page(needless))

    def test_without_inputs_it_is_named(self) -> None:
        world = mirrored_churn(1, 6000, 3.0, knows=False)
        habit, mirror, noise = world.inputs.numeric.T.astype(float)
        again = {name: mirror + 0.1 * habit * step for step, name in enumerate(("second", "third"))}
        page = text_of(fairness_page(report(given(world, habit=habit, mirror=mirror, **again, noise=noise))))
        assert "Trained again without mirror, second and third, by region" in page

    def test_segments_and_errors_say_why_no_refit_is_measured(self) -> None:
        segments = text_of(fairness_page(report(clustering_world(1, 4000, shift=1.0), clustering)))
        assert "No refit is measured: there is no outcome to say which segments would be the right ones" in segments
        value = text_of(fairness_page(report(mirrored_cltv(1, 6000, 3.0), cltv)))
        assert "The small learner is a Poisson regression." in value
        assert "No refit is measured: how closely a group can be foreseen is for its inputs to tell." in value

    def test_of_crossed_groups_alone_no_remedy_is_measured(self, failed: Report) -> None:
        crossed = tuple(one for one in failed.audit.findings if one.crossed)
        alone = replace(failed, audit=replace(failed.audit, findings=crossed, outputs=()))
        assert "measured for single attributes only" in text_of(element("div", *remedies(alone)))
        assert "measured for single attributes only" not in text_of(element("div", *remedies(failed)))

    def test_who_keeps_their_segment_is_drawn_beside_a_champion(self) -> None:
        world = clustering_world(1, 3000)
        champion = Rival("6", audit(world, clustering.yardsticks(world, policy()), policy()))
        told = report(world.beside(world), clustering, champion=champion)
        text = text_of(fairness_page(told))
        assert "in the segment of the same number as champion version 6 has them in" in text
        assert "Share that keeps the segment: 1.000" in text
        assert "No other version put these customers into segments" in text_of(fairness_page(report(world, clustering)))
        assert "Who keeps their segment" not in text_of(fairness_page(report(churn_world(1, 300))))

    def test_the_champion_stands_beside_it(self, failed: Report) -> None:
        text = text_of(fairness_page(failed))
        assert "Champion version 6, audited on the same day by the same policy" in text
        unable = text_of(fairness_page(replace(failed, champion=CHAMPION_FAILED)))
        assert "Champion version 6 could not be audited beside it: the table lacks columns" in unable
        assert "Against the champion" not in text_of(fairness_page(replace(failed, champion=None)))

    def test_it_shows_how_to_waive_what_blocks(self, failed: Report) -> None:
        page = fairness_page(failed)
        assert "[[audits.waivers]]" in page
        assert WEST in text_of(page)

    def test_waivers_are_shown_with_who_answers_for_them(self) -> None:
        waivers = [
            Waiver("churn", WEST, "a pilot of one week", "Ada Lovelace", LATER),
            Waiver("churn", "churn_probability/tpr_gap/region", "few", "Grace Hopper", dt.date(2020, 1, 1)),
            Waiver("churn", "churn_probability/tprgap", "a slip", "Grace Hopper", LATER),
        ]
        text = text_of(fairness_page(report(churn_world(3, 6000, shift=1.5), waivers=waivers)))
        assert "Ada Lovelace" in text
        assert "a pilot of one week" in text
        assert "expired on 2020-01-01 and does not count" in text
        assert "(a slip) covers no finding" in text

    def test_small_groups_are_named_and_counted_without_figures(self) -> None:
        world = churn_world(3, 3000)
        values = ["rare" if row < 40 else "common" for row in range(3000)]
        told = report(replace(world, attributes=(partition("town", values),)))
        text = text_of(fairness_page(told))
        assert "rare too small to be judged" in text
        assert "1 of 2 groups are too small to be judged" in text

    def test_an_attribute_that_nothing_is_said_of_is_named(self) -> None:
        world = churn_world(3, 3000)
        values = [f"{row % 50:02}" for row in range(3000)]
        told = report(replace(world, attributes=(*world.attributes, partition("town", values))))
        assert "Nothing is said of town: no group" in text_of(fairness_page(told))

    def test_where_most_told_nothing_it_says_so(self) -> None:
        world = churn_world(3, 3000)
        values = [UNKNOWN if row % 3 else "f" for row in range(3000)]
        text = text_of(fairness_page(report(replace(world, attributes=(partition("gender", values),)))))
        assert "Of 67 % of the customers the gender is not known" in text

    def test_where_nothing_could_be_compared_it_says_what_it_takes(self) -> None:
        told = report(churn_world(3, 100))
        assert told.verdict is Verdict.INCONCLUSIVE
        assert summary(told).startswith("No group could be judged: it takes 30 customers with the outcome")
        assert "churn_probability/nothing_compared" in text_of(fairness_page(told))

    def test_a_pass_has_nothing_to_do(self) -> None:
        text = text_of(fairness_page(report(churn_world(1, 40_000))))
        assert "Verdict: PASS. All 10 comparisons lie within the policy." in text
        assert "What to do: Nothing." in text

    def test_names_out_of_the_tables_are_text_and_never_markup(self) -> None:
        world = churn_world(3, 3000)
        values = ["<script>alert(1)</script>" if row % 2 else 'a"b&c' for row in range(3000)]
        page = fairness_page(report(replace(world, attributes=(partition("<b>town</b>", values),))))
        assert "<script" not in page
        assert "<b>" not in page
        assert "<script>alert(1)</script>" in text_of(page)

    def test_every_model_has_a_page_of_its_own_words(self) -> None:
        pages = {
            "Probability to buy anything": (propensity_world(1, 2000), propensity),
            "Foreseen / actual total": (cltv_world(1, 3000), cltv),
            f"In {SEGMENTS[0]}": (clustering_world(1, 3000, shift=1.0), clustering),
        }
        for words, (world, declared) in pages.items():
            assert words in text_of(fairness_page(report(world, declared)))

    def test_ids_are_unique(self, failed: Report) -> None:
        root = ET.fromstring(fairness_page(failed).removeprefix("<!doctype html>\n"))
        ids = [one.get("id") for one in root.iter() if one.get("id")]
        assert len(ids) == len(set(ids))

    def test_no_customer_stands_in_it(self, failed: Report) -> None:
        assert "c000001" not in fairness_page(failed)
        assert "c000001" not in json.dumps(failed.to_json())


class TestRecord:
    def test_it_is_json_for_strict_readers(self, failed: Report) -> None:
        record = json.loads(json.dumps(failed.to_json(), allow_nan=False))
        assert record["verdict"] == "FAIL"
        assert record["counts"] == {verdict.value: failed.verdicts[verdict] for verdict in Verdict}
        assert (record["model"], record["version"], record["audited_on"]) == ("churn", "7", TODAY.isoformat())
        (west,) = [one for one in record["findings"] if one["name"] == WEST]
        assert (west["verdict"], west["blocks"], west["waiver"]) == ("FAIL", True, None)
        assert west["figure"]["high"] < west["tolerance"]["low"]

    def test_what_is_no_number_is_null(self) -> None:
        record = json.loads(json.dumps(report(churn_world(3, 100)).to_json(), allow_nan=False))
        (nothing,) = record["findings"]
        assert nothing["figure"] == {"estimate": None, "low": None, "high": None}
        assert (nothing["growth"], nothing["tolerance"]) == (None, None)

    def test_suppressed_groups_tell_their_size_and_no_outcome(self) -> None:
        record = report(churn_world(3, 100)).to_json()
        groups = [group for one in record["outputs"][0]["breakdowns"] for group in one["groups"]]
        assert all(group["suppressed"] and list(group["counts"]) == ["customers"] for group in groups)

    def test_digests_of_bundle_population_policy_and_data_are_in_it(self, failed: Report) -> None:
        record = failed.to_json()
        assert record["bundle_digest"] == "b" * 64
        assert record["dataset_digest"] == "d" * 64
        assert record["population"]["digest"] == failed.audit.population.digest
        assert record["policy"]["digest"] == failed.audit.policy.digest

    def test_options_and_the_champion_are_in_it(self, failed: Report) -> None:
        record = failed.to_json()
        (option,) = record["outputs"][0]["options"]
        assert set(option["lines"]) == {"north", "east", "south", "west"}
        assert record["champion"]["version"] == "6"
        assert record["champion"]["findings"]
        assert replace(failed, champion=CHAMPION_FAILED).to_json()["champion"]["reason"] == CHAMPION_FAILED.reason

    def test_refits_and_what_tells_the_groups_are_in_it(self, refitted: Report) -> None:
        record = json.loads(json.dumps(refitted.to_json(), allow_nan=False))
        (refit,) = record["outputs"][0]["refits"]
        assert (refit["metric"], refit["attribute"], refit["without"]) == ("observed_expected", "region", [])
        west = refit["effects"]["west"]
        assert set(west) == {"served", "free", "tried", "change"}
        assert west["change"]["low"] < west["change"]["estimate"] < west["change"]["high"]
        assert set(refit["quality"]) == {"auc", "tpr", "ppv", "brier", "observed_expected"}
        (told,) = record["tellings"]
        assert (told["attribute"], told["group"]) == ("region", "west")
        assert next(iter(told["auc_by_input"])) == "mirror"

    def test_numbers_are_plain(self, failed: Report) -> None:
        assert not any(isinstance(one["p_value"], np.generic) for one in failed.to_json()["findings"])
