from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.rehearsal.watch import GAP_SECONDS, Alarm, spans, subject_of

MODELS = {"127.0.0.1:9100": "cltv"}


def test_whom_an_alert_is_about() -> None:
    assert subject_of({"model": "churn", "instance": "127.0.0.1:9100"}, MODELS) == "churn"
    assert subject_of({"models": "churn,cltv"}, MODELS) == "churn,cltv"
    assert subject_of({"grpc_service": "regulars.propensity.v1.PropensityService"}, MODELS) == "propensity"
    assert subject_of({"instance": "127.0.0.1:9100"}, MODELS) == "cltv"
    assert subject_of({"instance": "127.0.0.1:9101", "grpc_service": "inference.X"}, MODELS) == ""


def test_an_alarm_names_its_alert_and_its_model() -> None:
    assert (str(Alarm("Down", "churn")), str(Alarm("Absent"))) == ("Down (churn)", "Absent")


def test_moments_close_together_are_one_spell() -> None:
    assert spans([1, 2, 3, 9, 10, 20]) == [(1, 3), (9, 10), (20, 20)]
    assert spans([]) == []


@given(st.lists(st.integers(0, 500), unique=True).map(sorted))
def test_every_moment_is_in_one_spell_and_spells_lie_apart(moments: list[int]) -> None:
    found = spans(moments)
    assert all(sum(began <= at <= ended for began, ended in found) == 1 for at in moments)
    assert all(later - ended > GAP_SECONDS for (_, ended), (later, _) in pairwise(found))
