"""What a part must show to be served, and how it is told of beside the purchase."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from tests.support.learning import HORIZON, LABEL, dataset
from training.core.classifier import tune
from training.core.dataset import design_matrix
from training.core.drawing import to_svg
from training.core.errors import NotEligibleError
from training.core.grade import POOR
from training.core.judge import judge_classifier
from training.propensity.parts import CATEGORY_LIMIT, RESPONSE_LIMIT, require_worth, with_parts
from training.propensity.plots import overview
from training.propensity.targets import Target

DATA = dataset()
MODEL = tune(DATA.train, DATA.features, LABEL, HORIZON, lambda _: None).model
SCORES = MODEL.probabilities(design_matrix(DATA.test.columns, DATA.features))
CHANCE = np.random.default_rng(0).permutation(SCORES)
WHOLE = judge_classifier(DATA, LABEL, SCORES.astype(np.float32), None)

TEA = Target(LABEL, "purchase_probability[tea]", "gap_days", "tea", "tea")
"""Its rule looks at days that know nothing."""

ANSWER = replace(TEA, subject="responses", category="", recency="days_that_nobody_counts")


def test_a_part_that_beats_its_rule_at_the_right_level_is_worth_serving() -> None:
    require_worth(DATA, TEA, SCORES)


def test_a_part_that_does_not_beat_its_rule_is_refused_with_both_figures() -> None:
    told = r"its AUC is 0\.\d{3}, and choosing by gap_days reaches 0\.\d{3}; all of the difference of .* above 0; train"
    with pytest.raises(NotEligibleError, match=told):
        require_worth(DATA, TEA, CHANCE)


@pytest.mark.parametrize("factor", [0.5, 1.8])
def test_a_part_of_the_wrong_level_is_refused(factor: float) -> None:
    with pytest.raises(NotEligibleError, match=r"came for each that was foreseen, and 0\.8 to 1\.25 is asked; train"):
        require_worth(DATA, TEA, SCORES * factor)


def test_a_level_that_may_be_right_is_enough() -> None:
    scores = SCORES * DATA.test.labels[LABEL].sum() / SCORES.sum() / 1.28
    require_worth(DATA, TEA, scores)


def test_where_the_project_drops_recency_the_level_alone_decides() -> None:
    require_worth(DATA, ANSWER, CHANCE)
    with pytest.raises(NotEligibleError, match="is asked"):
        require_worth(DATA, ANSWER, CHANCE * 0.5)


class TestTheJudgement:
    def test_without_parts_it_is_that_of_the_purchase(self) -> None:
        assert with_parts(WHOLE, DATA, {}) == WHOLE

    def test_the_figures_of_parts_stand_beside_those_of_the_purchase(self) -> None:
        judgement = with_parts(WHOLE, DATA, {TEA: SCORES.astype(np.float32)})
        assert judgement.metrics.items() >= WHOLE.metrics.items()
        added = set(judgement.metrics) - set(WHOLE.metrics)
        assert added == {"auc[tea]", "brier[tea]", "observed_expected[tea]", "lift_top_decile[tea]"}
        assert judgement.metrics["auc[tea]"] == WHOLE.metrics["auc"]
        assert judgement.others["logistic regression"].keys() >= added
        assert judgement.others["recency"].keys() & added == {"auc[tea]", "lift_top_decile[tea]"}
        assert judgement.others["recency"]["auc"] == WHOLE.others["recency"]["auc"]
        assert "auc[tea]" not in WHOLE.others["recency"], "the judgement of the purchase stays as it was"

    def test_a_part_is_gated_by_its_rule_and_not_by_logistic_regression(self) -> None:
        judgement = with_parts(WHOLE, DATA, {TEA: SCORES.astype(np.float32)})
        (gate,) = judgement.baselines[len(WHOLE.baselines) :]
        assert (gate.other, gate.metric, gate.margin, gate.passed) == ("recency of tea", "auc[tea]", 0.0, True)
        assert judgement.requirements == WHOLE.requirements
        assert judgement.grade == WHOLE.grade

    def test_a_part_that_fails_its_gate_makes_a_poor_model(self) -> None:
        passing = replace(WHOLE, baselines=WHOLE.baselines[:1])
        assert with_parts(passing, DATA, {TEA: SCORES.astype(np.float32)}).grade != POOR
        assert with_parts(passing, DATA, {TEA: CHANCE.astype(np.float32)}).grade == POOR

    def test_a_part_without_a_rule_has_no_gate(self) -> None:
        judgement = with_parts(WHOLE, DATA, {ANSWER: SCORES.astype(np.float32)})
        assert judgement.baselines == WHOLE.baselines

    @pytest.mark.parametrize(
        ("targets", "limits"),
        [((TEA,), {CATEGORY_LIMIT}), ((ANSWER,), {RESPONSE_LIMIT}), ((TEA, ANSWER), {CATEGORY_LIMIT, RESPONSE_LIMIT})],
    )
    def test_what_not_to_conclude_depends_on_the_parts(self, targets: tuple[Target, ...], limits: set[str]) -> None:
        judgement = with_parts(WHOLE, DATA, dict.fromkeys(targets, SCORES.astype(np.float32)))
        assert set(judgement.limits) - set(WHOLE.limits) == limits

    def test_all_parts_share_one_figure(self) -> None:
        judgement = with_parts(WHOLE, DATA, dict.fromkeys((TEA, ANSWER), SCORES.astype(np.float32)))
        (illustration,) = judgement.illustrations[len(WHOLE.illustrations) :]
        assert illustration.name == "parts"
        for subject in ("tea", "responses"):
            assert f">{subject}<" in to_svg(illustration.figure)


def test_a_figure_of_many_parts_is_well_formed_and_the_same_every_time() -> None:
    labels = DATA.test.labels[LABEL].astype(np.float64)
    outcomes = {f"<part & {number}>": (labels, SCORES / (number + 1)) for number in range(12)}
    svg = to_svg(overview(outcomes))
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(overview(outcomes))
