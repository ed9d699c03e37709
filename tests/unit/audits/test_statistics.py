"""Intervals against published figures and their laws; tests and verdicts against the rates that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from audits.statistics import (
    ALPHA,
    Z95,
    Association,
    Difference,
    Measured,
    PartOfWhole,
    Rate,
    Ratio,
    Tolerance,
    Verdict,
    bootstrap_errors,
    chance,
    chi_square,
    decide,
    growth,
    halves,
    holm,
    interval,
    p_value,
)
from model_registry.evidence import Interval

FOUR_FIFTHS = Tolerance(0.8, 1.0, 1.25, ratio=True)
TENTH = Tolerance(-0.1, 0.0, 0.1)
WORLDS = 2000

rates = st.integers(1, 400).flatmap(lambda trials: st.builds(Rate, st.integers(0, trials), st.just(trials)))
deviates = st.floats(0.0, 8.0)


class TestIntervals:
    def test_wilson_as_published(self) -> None:
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
        assert Rate(81, 263).at(Z95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
        assert Rate(15, 148).at(Z95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
        assert Rate(0, 20).at(Z95) == pytest.approx((0.0, 0.1611), abs=5e-5)

    def test_newcombe_as_published(self) -> None:
        # Newcombe, "Interval estimation for the difference between independent proportions" (1998), table II.
        assert Difference(Rate(56, 70), Rate(48, 80)).at(Z95) == pytest.approx((0.0524, 0.3339), abs=5e-5)
        assert Difference(Rate(9, 10), Rate(3, 10)).at(Z95) == pytest.approx((0.1705, 0.8090), abs=5e-5)
        assert Difference(Rate(10, 10), Rate(0, 20)).at(Z95) == pytest.approx((0.6791, 1.0), abs=5e-5)

    def test_a_ratio_of_large_groups_is_that_of_logarithms(self) -> None:
        one, other = Rate(3000, 10_000), Rate(2500, 10_000)
        error = math.sqrt(1 / 3000 - 1 / 10_000 + 1 / 2500 - 1 / 10_000)
        expected = tuple(1.2 * math.exp(sign * Z95 * error) for sign in (-1, 1))
        assert Ratio(one, other).at(Z95) == pytest.approx(expected, rel=2e-4)

    def test_a_rate_of_nothing_has_an_interval_all_the_same(self) -> None:
        low, high = Ratio(Rate(0, 50), Rate(10, 50)).at(Z95)
        assert low == 0.0
        assert 0.1 < high < 0.6
        assert Ratio(Rate(10, 50), Rate(0, 50)).at(Z95)[1] == math.inf
        assert Ratio(Rate(10, 50), Rate(0, 50)).value == math.inf
        assert math.isnan(Ratio(Rate(0, 50), Rate(0, 50)).value)

    def test_something_against_nothing_can_fail(self) -> None:
        assert p_value(Ratio(Rate(40, 200), Rate(0, 500)), FOUR_FIFTHS) < ALPHA
        assert p_value(PartOfWhole(Rate(40, 200), Rate(0, 500)), FOUR_FIFTHS) < ALPHA
        assert p_value(Ratio(Rate(1, 30), Rate(0, 30)), FOUR_FIFTHS) > ALPHA

    @given(one=rates, other=rates, narrow=deviates, wide=deviates)
    def test_intervals_hold_their_estimate_and_grow(self, one: Rate, other: Rate, narrow: float, wide: float) -> None:
        narrow, wide = sorted((narrow, wide))
        for estimate in (one, Difference(one, other), Ratio(one, other), PartOfWhole(one, other)):
            if math.isnan(estimate.value):
                continue
            (low, high), (lower, higher) = estimate.at(narrow), estimate.at(wide)
            assert lower <= low + 1e-9
            assert low <= estimate.value + 1e-9
            assert estimate.value <= high + 1e-9
            assert high <= higher + 1e-9

    @given(one=rates, other=rates, z=deviates)
    def test_the_other_way_round_a_difference_turns_its_sign(self, one: Rate, other: Rate, z: float) -> None:
        low, high = Difference(one, other).at(z)
        assert Difference(other, one).at(z) == pytest.approx((-high, -low))

    @given(
        one=st.integers(1, 50).map(lambda hits: Rate(hits, 80)),
        other=st.integers(1, 50).map(lambda hits: Rate(hits, 90)),
    )
    def test_the_other_way_round_a_ratio_is_one_over_it(self, one: Rate, other: Rate) -> None:
        low, high = Ratio(one, other).at(Z95)
        turned = Ratio(other, one).at(Z95)
        assert turned == pytest.approx((1.0 / high, 1.0 / low))

    def test_a_part_that_is_like_the_rest_is_like_the_whole(self) -> None:
        estimate = PartOfWhole(Rate(30, 100), Rate(270, 900))
        assert estimate.value == pytest.approx(1.0)
        low, high = estimate.at(Z95)
        assert low < 1.0 < high

    def test_a_whole_of_which_nobody_else_is_part(self) -> None:
        assert PartOfWhole(Rate(10, 100), Rate(0, 300)).at(Z95)[1] == pytest.approx(4.0)

    @pytest.mark.parametrize("truth", [0.05, 0.3, 0.6])
    def test_a_gap_is_covered_as_often_as_promised(self, truth: float) -> None:
        random = np.random.default_rng(1)
        ones, others = random.binomial(40, truth, WORLDS), random.binomial(90, truth + 0.1, WORLDS)
        covered = 0
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            low, high = Difference(Rate(one, 40), Rate(other, 90)).at(Z95)
            covered += low <= -0.1 <= high
        assert 0.93 <= covered / WORLDS <= 0.98


class TestAssociation:
    def test_independent_rows_and_columns_have_none(self) -> None:
        found = Association(np.array([[40, 60], [80, 120]]))
        assert interval(found).estimate == 0.0
        assert interval(found).low == 0.0

    def test_one_that_tells_the_other_is_complete(self) -> None:
        found = Association(np.array([[500, 0, 0], [0, 500, 0], [0, 0, 500]]))
        assert found.value == pytest.approx(1.0, abs=0.01)

    def test_groups_and_segments_without_anybody_do_not_count(self) -> None:
        bare, padded = np.array([[50, 30], [20, 60]]), np.array([[50, 0, 30], [0, 0, 0], [20, 0, 60]])
        assert Association(padded).at(Z95) == pytest.approx(Association(bare).at(Z95))

    def test_where_all_are_of_one_kind_there_is_none(self) -> None:
        assert interval(Association(np.array([[50, 0], [70, 0]]))) == Interval(0.0, 0.0, 0.0)

    def test_chance_alone_adds_nothing_to_it(self) -> None:
        random = np.random.default_rng(3)
        tables = random.multinomial(400, np.full(20, 0.05), 200).reshape(-1, 4, 5)
        plain = [math.sqrt(chi2_contingency(table).statistic / (400 * 3)) for table in tables]
        found = [Association(table) for table in tables]
        assert np.median(plain) > 0.09
        assert np.median([one.value for one in found]) < 0.03
        covered = np.mean([one.at(Z95)[0] == 0.0 for one in found])
        assert 0.95 <= covered <= 1.0

    def test_a_known_strength_is_covered(self) -> None:
        random = np.random.default_rng(4)
        shares = np.array([[0.30, 0.20], [0.20, 0.30]])
        tables = random.multinomial(500, shares.ravel(), 300).reshape(-1, 2, 2)
        covered = np.mean([low <= 0.2 <= high for low, high in (Association(table).at(Z95) for table in tables)])
        assert 0.92 <= covered <= 0.98


class TestChance:
    def test_it_is_uniform_where_groups_do_not_differ(self) -> None:
        random = np.random.default_rng(5)
        reached = random.binomial([200, 300, 400], 0.2, (300, 3))
        tables = np.stack([reached, np.array([200, 300, 400]) - reached], axis=2)
        found = np.array([chance(table) for table in tables])
        assert 0.02 <= (found <= 0.05).mean() <= 0.09
        assert 0.4 <= found.mean() <= 0.6

    def test_it_is_small_where_they_do(self) -> None:
        assert chance(np.array([[10, 190], [60, 240]])) == pytest.approx(1 / 1001)

    def test_one_group_or_one_outcome_cannot_differ(self) -> None:
        assert chance(np.array([[10, 190]])) == 1.0
        assert chance(np.array([[0, 190], [0, 20]])) == 1.0

    def test_chi_square_is_pearsons(self) -> None:
        table = np.array([[10, 20, 30], [25, 15, 20]])
        assert chi_square(table) == pytest.approx(chi2_contingency(table, correction=False).statistic)


class TestVerdicts:
    def test_the_level_is_where_the_95_percent_interval_touches(self) -> None:
        assert p_value(Measured(0.1 + Z95 * 0.05, 0.05), TENTH) == pytest.approx(ALPHA)
        assert p_value(Measured(-0.1 - Z95 * 0.05, 0.05), TENTH) == pytest.approx(ALPHA)
        assert p_value(Measured(0.0999, 1e-9), TENTH) == 1.0
        assert p_value(Measured(math.nan, 0.1), TENTH) == 1.0

    def test_inside_passes_outside_fails_and_between_is_undecided(self) -> None:
        for figure, verdict in ((0.0, Verdict.PASS), (0.3, Verdict.FAIL), (0.08, Verdict.INCONCLUSIVE)):
            estimate = Measured(figure, 0.02)
            assert decide(estimate, TENTH, p_value(estimate, TENTH)) is verdict

    def test_what_does_not_survive_the_adjustment_is_undecided(self) -> None:
        estimate = Measured(0.15, 0.02)
        assert p_value(estimate, TENTH) < ALPHA
        assert decide(estimate, TENTH, 0.06) is Verdict.INCONCLUSIVE

    def test_ratios_are_as_far_out_either_way(self) -> None:
        assert p_value(Measured(0.5, 0.1, ratio=True), FOUR_FIFTHS) == pytest.approx(
            p_value(Measured(2.0, 0.1, ratio=True), FOUR_FIFTHS)
        )

    @pytest.mark.parametrize(("truth", "reference"), [(0.4, 0.5), (0.2, 0.1)])
    def test_at_the_very_edge_of_the_tolerance_a_wrong_word_is_rare(self, truth: float, reference: float) -> None:
        """Exactly on the limit both FAIL and PASS would be wrong, and each is said in 2.5 % of worlds."""
        random = np.random.default_rng(6)
        ones, others = random.binomial(300, truth, WORLDS), random.binomial(500, reference, WORLDS)
        said = [
            decide(gap, TENTH, p_value(gap, TENTH))
            for gap in (
                Difference(Rate(one, 300), Rate(other, 500))
                for one, other in zip(ones.tolist(), others.tolist(), strict=True)
            )
        ]
        assert said.count(Verdict.FAIL) / WORLDS <= 0.035
        assert said.count(Verdict.PASS) / WORLDS <= 0.035

    def test_holm_as_published(self) -> None:
        # Holm (1979): .01 x 4, .02 x 3, .03 x 2 raised to what stands before it, and 1 at most.
        assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
        assert holm([]) == []

    @given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
    def test_holm_only_raises_and_keeps_the_order(self, p_values: list[float]) -> None:
        adjusted = holm(p_values)
        assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
        assert max(adjusted) <= 1.0
        order = np.argsort(p_values, kind="stable")
        assert (np.diff(np.array(adjusted)[order]) >= 0).all()

    def test_holm_keeps_the_rate_of_all_together(self) -> None:
        random = np.random.default_rng(7)
        worlds = [holm(p_values) for p_values in random.random((WORLDS, 40))]
        assert 0.035 <= np.mean([min(adjusted) <= ALPHA for adjusted in worlds]) <= 0.065


class TestGrowth:
    def test_half_the_width_takes_four_times_the_customers(self) -> None:
        assert growth(Measured(0.03, 0.2 / Z95), TENTH) == pytest.approx(4.0)
        assert growth(Measured(0.03, 0.05 / Z95), TENTH) == pytest.approx(0.25)

    def test_on_a_ratio_widths_are_those_of_logarithms(self) -> None:
        assert growth(Measured(3.0, 2.0 * math.log(1.25) / Z95, ratio=True), FOUR_FIFTHS) == pytest.approx(4.0)

    def test_where_nothing_bounds_a_ratio_no_number_is_given(self) -> None:
        assert growth(Ratio(Rate(3, 30), Rate(0, 30)), FOUR_FIFTHS) == math.inf
        assert growth(Ratio(Rate(0, 30), Rate(5, 30)), FOUR_FIFTHS) == math.inf

    def test_a_limit_on_one_side_looks_at_that_side(self) -> None:
        assert growth(Measured(0.05, 0.1 / Z95), Tolerance(0.0, 0.0, 0.1)) == pytest.approx(1.0)


class TestBootstrap:
    def test_a_mean_has_the_error_that_theory_gives(self) -> None:
        values = np.random.default_rng(8).normal(10.0, 3.0, 2000)
        errors = bootstrap_errors(lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, len(values))
        assert errors["mean"] == pytest.approx(values.std() / math.sqrt(2000), rel=0.1)

    def test_every_resample_is_as_large_as_its_stratum(self) -> None:
        sizes: list[float] = []

        def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
            sizes.extend(weights.sum(axis=1).tolist())
            return {"first": weights[:, 0]}

        bootstrap_errors(statistics, 37)
        assert set(sizes) == {37.0}
        assert len(sizes) == 500

    def test_pieces_of_memory_change_nothing_but_the_draws(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.arange(100.0)

        def error() -> float:
            return bootstrap_errors(lambda weights: {"mean": weights @ values / 100.0}, 100)["mean"]

        whole = error()
        monkeypatch.setattr("audits.statistics.CELLS", 1000)
        assert error() == pytest.approx(whole)
        assert error() == error()


class TestTolerance:
    def test_a_figure_at_a_limit_lies_one_tolerance_off(self) -> None:
        assert [FOUR_FIFTHS.excess(figure) for figure in (0.8, 1.0, 1.25, 0.64)] == pytest.approx([-1, 0, 1, -2])
        assert [TENTH.excess(figure) for figure in (-0.1, 0.0, 0.05)] == pytest.approx([-1, 0, 0.5])
        assert FOUR_FIFTHS.away(0.5) == pytest.approx(-math.log(2.0))

    def test_a_ratio_of_nothing_lies_far_off_and_not_infinitely(self) -> None:
        assert -100 < FOUR_FIFTHS.excess(0.0) < -10


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_halves_hold_everybody_once_and_half_of_every_stratum(strata: list[int]) -> None:
    one, other = halves(np.array(strata))
    assert sorted([*one.tolist(), *other.tolist()]) == list(range(len(strata)))
    for stratum in set(strata):
        sizes = [sum(strata[row] == stratum for row in half) for half in (one, other)]
        assert abs(sizes[0] - sizes[1]) <= 1
