"""What a policy tolerates, and which waivers cover which findings."""

from __future__ import annotations

import datetime as dt

import pytest

from audits.policy import MEANINGS, Policy
from audits.statistics import Verdict
from features.sections import Audits, Waiver
from tests.support.worlds import TODAY, policy

FINDING = "churn_probability/tpr_gap/age/65+"


def waiver(finding: str = FINDING, model: str = "churn", expires: dt.date = dt.date(2030, 1, 1)) -> Waiver:
    return Waiver(model, finding, "looked at by hand", "Ada", expires)


def test_every_metric_has_a_tolerance_around_its_ideal_and_words() -> None:
    tolerances = policy().tolerances
    assert set(tolerances) == set(MEANINGS)
    assert all(one.low <= one.ideal < one.high for one in tolerances.values())


def test_a_ratio_may_be_off_either_way() -> None:
    exposure = policy(exposure_ratio=0.5).tolerances["exposure_ratio"]
    assert (exposure.low, exposure.high) == (0.5, 2.0)
    total = policy().tolerances["total_ratio"]
    assert (total.low, total.high) == pytest.approx((0.9, 1.1))


def test_a_finding_is_waived_by_its_name() -> None:
    limits = policy([waiver()])
    assert limits.waiver(FINDING, Verdict.FAIL) is not None
    assert limits.waiver(FINDING, Verdict.INCONCLUSIVE) is not None
    assert limits.waiver("churn_probability/tpr_gap/age/25-34", Verdict.INCONCLUSIVE) is None


@pytest.mark.parametrize(
    "beginning", ["churn_probability", "churn_probability/tpr_gap", "churn_probability/tpr_gap/age"]
)
def test_the_beginning_of_a_name_covers_what_is_undecided_and_never_a_failure(beginning: str) -> None:
    limits = policy([waiver(beginning)])
    assert limits.waiver(FINDING, Verdict.INCONCLUSIVE) is not None
    assert limits.waiver(FINDING, Verdict.FAIL) is None


def test_a_beginning_ends_at_a_slash() -> None:
    limits = policy([waiver("churn_probability/tpr_gap/a")])
    assert limits.waiver(FINDING, Verdict.INCONCLUSIVE) is None


def test_a_waiver_counts_until_the_day_it_expires() -> None:
    day = dt.timedelta(days=1)
    waivers = [waiver(expires=TODAY), waiver(expires=TODAY + day)]
    limits = Policy.of(Audits(), waivers, "churn", TODAY)
    assert limits.waivers == (waivers[1],)
    assert limits.expired == (waivers[0],)


def test_another_models_waivers_are_none_of_its_business() -> None:
    limits = policy([waiver(model="cltv"), waiver(model="cltv", expires=dt.date(2000, 1, 1))])
    assert (limits.waivers, limits.expired) == ((), ())


def test_the_digest_is_that_of_the_rules() -> None:
    assert policy().digest == policy([waiver()]).digest
    assert len({policy().digest, policy(tpr_gap=0.2).digest, policy(minimum_outcomes=50).digest}) == 3
