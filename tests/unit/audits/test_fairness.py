"""The engine: what is judged, what blocks, and what an audit comes to."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits import churn, cltv, clustering
from audits.fairness import NOTHING_COMPARED, FairnessAudit, Finding, audit, judge
from audits.population import UNKNOWN
from audits.statistics import ALPHA, Tolerance, Verdict
from features.sections import Waiver
from model_registry.clearance import FAIL, Waived
from model_registry.evidence import Interval
from tests.support.worlds import churn_world, cltv_world, clustering_world, partition, policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from audits.population import Population

pytestmark = pytest.mark.usefixtures("few_resamples")

OUTPUT = "churn_probability"
LATER = dt.date(2030, 1, 1)


def audited(population: Population, waivers: Iterable[Waiver] = (), **changed: float) -> FairnessAudit:
    limits = policy(waivers, **changed)
    return audit(population, churn.yardsticks(population, limits), limits)


def finding(verdict: Verdict, *, crossed: bool = False, waiver: Waiver | None = None) -> Finding:
    figure = Interval(0.0, -0.1, 0.1)
    tolerance = Tolerance(-0.1, 0.0, 0.1)
    return Finding(OUTPUT, "tpr_gap", "age", "65+", figure, tolerance, verdict, crossed=crossed, waiver=waiver)


def verdict_of(*findings: Finding) -> Verdict:
    return FairnessAudit(churn_world(0, 10), policy(), (), findings).verdict


def hanging(*findings: Finding) -> Waived | None:
    return FairnessAudit(churn_world(0, 10), policy(), (), findings).waived


WAIVER = Waiver("churn", f"{OUTPUT}/tpr_gap/age/65+", "looked at", "Ada", LATER)


class TestVerdict:
    def test_one_failure_outweighs_everything(self) -> None:
        assert verdict_of(*map(finding, Verdict)) is Verdict.FAIL

    def test_what_is_undecided_blocks_too(self) -> None:
        assert verdict_of(finding(Verdict.PASS), finding(Verdict.INCONCLUSIVE)) is Verdict.INCONCLUSIVE

    def test_all_must_pass_for_a_pass(self) -> None:
        assert verdict_of(finding(Verdict.PASS), finding(Verdict.PASS)) is Verdict.PASS

    def test_what_is_waived_blocks_no_more(self) -> None:
        waived = finding(Verdict.FAIL, waiver=WAIVER)
        assert verdict_of(waived) is Verdict.PASS
        assert verdict_of(waived, finding(Verdict.INCONCLUSIVE)) is Verdict.INCONCLUSIVE

    def test_what_hangs_on_waivers_is_told_until_the_first_expires(self) -> None:
        sooner = replace(WAIVER, expires=LATER - dt.timedelta(days=1))
        idle = replace(WAIVER, expires=LATER - dt.timedelta(days=2))
        found = (finding(Verdict.FAIL, waiver=WAIVER), finding(Verdict.INCONCLUSIVE, waiver=sooner))
        assert hanging(*found, finding(Verdict.PASS, waiver=idle)) == Waived(FAIL, sooner.expires)
        assert hanging(finding(Verdict.PASS, waiver=idle), finding(Verdict.PASS)) is None
        # It fails with them and without.
        assert hanging(*found, finding(Verdict.FAIL)) is None

    def test_crossed_groups_block_where_they_fail_and_need_prove_nothing(self) -> None:
        assert verdict_of(finding(Verdict.FAIL, crossed=True)) is Verdict.FAIL
        assert verdict_of(finding(Verdict.INCONCLUSIVE, crossed=True)) is Verdict.PASS


class TestJudging:
    def test_an_honest_model_on_many_customers_passes(self) -> None:
        result = audited(churn_world(1, 40_000))
        assert result.verdict is Verdict.PASS
        judged = [one for one in result.findings if not one.crossed]
        # Two levels and a gap by gender, four levels and three gaps by region.
        assert len(judged) == 10
        assert {one.verdict for one in judged} == {Verdict.PASS}

    def test_on_few_customers_it_is_undecided_and_says_how_many_it_takes(self) -> None:
        result = audited(churn_world(1, 1500))
        assert result.verdict is Verdict.INCONCLUSIVE
        open_ = [one for one in result.findings if one.verdict is Verdict.INCONCLUSIVE and not one.crossed]
        assert all(one.growth > 1.0 for one in open_ if one.too_few)
        assert any(one.too_few for one in open_)

    def test_a_biased_one_fails_by_name(self) -> None:
        result = audited(churn_world(1, 6000, shift=1.5))
        failed = {one.name for one in result.findings if one.verdict is Verdict.FAIL and not one.crossed}
        assert failed == {f"{OUTPUT}/{metric}/region/west" for metric in ("tpr_gap", "observed_expected")}
        assert result.verdict is Verdict.FAIL

    def test_its_failures_are_waived_one_by_one(self) -> None:
        world = churn_world(1, 20_000, shift=1.5)
        failed = [one.name for one in audited(world).findings if one.verdict is Verdict.FAIL]
        waivers = [Waiver("churn", name, "looked at", "Ada", LATER) for name in failed]
        undecided = Waiver("churn", OUTPUT, "too few", "Ada", LATER)
        assert audited(world, [*waivers[1:], undecided]).verdict is Verdict.FAIL
        result = audited(world, [*waivers, undecided])
        assert result.verdict is Verdict.PASS
        assert {one.waiver.finding for one in result.findings if one.waiver} >= set(failed)

    def test_a_waiver_that_covers_nothing_is_named(self) -> None:
        idle = Waiver("churn", f"{OUTPUT}/tpr_gap/shoe_size", "a slip", "Ada", LATER)
        result = audited(churn_world(1, 1500), [idle, Waiver("churn", OUTPUT, "too few", "Ada", LATER)])
        assert result.unused_waivers == (idle,)
        assert result.verdict is Verdict.PASS

    def test_groups_and_crossed_groups_are_adjusted_each_by_themselves(self) -> None:
        world = churn_world(1, 6000, shift=1.0)
        alone = judge(replace(world, attributes=world.attributes[1:]), churn.yardsticks(world, policy()), policy())
        both = judge(world, churn.yardsticks(world, policy()), policy())
        crossed = [one for one in both if one.crossed]
        assert len(crossed) > len(both) / 2
        west = next(one for one in both if one.name == f"{OUTPUT}/tpr_gap/region/west")
        by_itself = next(one for one in alone if one.name == west.name)
        # Ten tests instead of seven, and not twenty-five.
        assert west.p_value == pytest.approx(by_itself.p_value * 10 / 7, rel=0.35)
        assert west.p_value < ALPHA

    def test_the_unknown_are_shown_and_not_judged(self) -> None:
        world = churn_world(1, 3000)
        values = np.where(np.arange(3000) % 2, "unknown", np.array(["f", "m"], object)[world.attributes[0].codes])
        result = audited(replace(world, attributes=(partition("gender", values.tolist()),)))
        assert UNKNOWN not in {one.group for one in result.findings}
        cells = {cell.group: cell for cell in result.outputs[0].breakdowns[0].cells}
        assert cells[UNKNOWN].figures["reached_ratio"].estimate > 0.0

    def test_where_no_group_is_large_enough_nothing_has_passed(self) -> None:
        result = audited(churn_world(1, 100))
        (nothing,) = result.findings
        assert (nothing.metric, nothing.name) == (NOTHING_COMPARED, f"{OUTPUT}/{NOTHING_COMPARED}")
        assert result.verdict is Verdict.INCONCLUSIVE
        assert (
            audited(churn_world(1, 100), [Waiver("churn", nothing.name, "new", "Ada", LATER)]).verdict is Verdict.PASS
        )

    def test_an_option_is_measured_where_a_gate_fails_and_only_there(self) -> None:
        assert audited(churn_world(1, 6000)).outputs[0].options == ()
        (option,) = audited(churn_world(1, 6000, shift=1.5)).outputs[0].options
        assert (option.metric, option.attribute) == ("tpr_gap", "region")

    def test_the_same_customers_give_the_same_audit(self) -> None:
        one, other = (audited(churn_world(1, 2000)) for _ in range(2))
        assert one.findings == other.findings

    def test_chance_is_told_of_groups_that_can_be_compared(self) -> None:
        small = audited(churn_world(1, 200)).outputs[0].breakdowns
        large = audited(churn_world(1, 4000)).outputs[0].breakdowns
        assert [one.chance for one in small] == [{}, {}, {}]
        assert [list(one.chance) for one in large] == [["tpr_gap"], ["tpr_gap"], []]


def test_value_and_segments_are_judged_by_the_same_engine() -> None:
    value = cltv_world(1, 4000, shift=1.0)
    segments = clustering_world(1, 4000, shift=1.0)
    for world, declaration, metric in ((value, cltv, "total_ratio"), (segments, clustering, "cluster_ratio")):
        findings = judge(world, declaration.yardsticks(world, policy()), policy())
        failed = {(one.metric, one.group) for one in findings if one.verdict is Verdict.FAIL and not one.crossed}
        assert (metric, "west") in failed
    # The segment stands in the name.
    assert "cluster_id/cluster_ratio[Loyal]/region/west" in {one.name for one in findings}
