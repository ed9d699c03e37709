from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1 import scoring_pb2
from services.core.comparison import Comparer, Comparison, IncomparableError, difference
from services.core.service import load_service
from services.methods import Methods, methods_of
from tests.support.bundles import SAMPLES, columns

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from regulars.cltv.v1 import cltv_pb2
    from services.core.answers import ScoreAnswers
    from tests.support.bundles import Row

NAN = float("nan")
GONE, ACTIVE = 95.0, 10.0
"""Days since the last order: of somebody whom no sample scores, and of somebody whom all do."""

LIVELY: Row = (ACTIVE, 2.0, "web")


@dataclass(frozen=True)
class Answering:
    """A sample that answers as its server would."""

    model: str
    servable: Servable
    answers: ScoreAnswers[Any, Any]
    methods: Methods

    @property
    def comparer(self) -> Comparer:
        return Comparer(self.methods.one.service)

    def one(self, row: Row, identifier: str = "c0") -> Any:
        response = self._response(self.methods.one.response)
        score = self.servable.score_one(columns(row))
        self.answers.fill_row(getattr(response, self.methods.one.answer), identifier, score)
        return response

    def many(self, rows: list[Row]) -> Any:
        response = self._response(self.methods.batch.response)
        table = getattr(response, self.methods.batch.answer)
        table.customer_ids.extend(f"c{number}" for number in range(len(rows)))
        self.answers.fill_table(table, self.servable.score(columns(*rows)))
        return response

    def _response(self, response: type[Message]) -> Message:
        made: Any = response
        answer: Message = made(model_version=scoring_pb2.ModelVersion(name=self.model), **self.answers.head)
        return answer

    def compare_one(self, own: Message, other: Message) -> Comparison:
        return self.comparer.compare(self.methods.one.name, own, other)

    def compare_many(self, own: Message, other: Message) -> Comparison:
        return self.comparer.compare(self.methods.batch.name, own, other)


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answering]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for name, sample in SAMPLES.items():
        bundle, service = sample.make(folder / name), load_service(name)
        answers = service.Answers(bundle.manifest)
        made[name] = Answering(name, Servable(bundle), answers, methods_of(service.SERVICE))
    return made


@pytest.fixture
def churn(answering: dict[str, Answering]) -> Answering:
    return answering["churn"]


ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from([ACTIVE, 25.5, 80.0, -1.0, GONE]),
    st.sampled_from([-3.0, -0.5, 0.0, 2.0, 30.0, NAN]),
    st.sampled_from(["web", "shop", "kiosk", ""]),
)
PAIRS = st.lists(st.tuples(ROWS, ROWS), max_size=6)
"""Customers, each as one version and as another sees them."""


def counts(comparison: Comparison) -> dict[str, int]:
    """Fields of which nobody disagrees left out."""
    return {field: count for field, count in comparison.disagreements.items() if count}


@pytest.mark.parametrize("model", SAMPLES)
@given(rows=st.lists(ROWS, max_size=6))
@settings(deadline=None, max_examples=30)
def test_an_answer_compared_with_itself_disagrees_nowhere(
    answering: dict[str, Answering], model: str, rows: list[Row]
) -> None:
    one = answering[model]
    itself = one.compare_many(one.many(rows), one.many(rows))
    assert counts(itself) == {}
    assert all(not values.any() for values in itself.differences.values())
    assert itself.own.tolist() == itself.other.tolist()


@pytest.mark.parametrize("model", SAMPLES)
@given(pairs=PAIRS)
@settings(deadline=None, max_examples=30)
def test_it_does_not_matter_which_of_two_is_the_shadow(
    answering: dict[str, Answering], model: str, pairs: list[tuple[Row, Row]]
) -> None:
    one = answering[model]
    own, other = one.many([row for row, _ in pairs]), one.many([row for _, row in pairs])
    there, back = one.compare_many(own, other), one.compare_many(other, own)
    assert counts(there) == counts(back)
    assert there.differences.keys() == back.differences.keys()
    for field, values in there.differences.items():
        assert values.tolist() == back.differences[field].tolist()
        assert np.all((values >= 0) & (values <= 2))
    assert (there.own.tolist(), there.other.tolist()) == (back.other.tolist(), back.own.tolist())


@pytest.mark.parametrize("model", SAMPLES)
@given(pairs=PAIRS)
@settings(deadline=None, max_examples=30)
def test_a_table_compares_as_its_customers_do_one_by_one(
    answering: dict[str, Answering], model: str, pairs: list[tuple[Row, Row]]
) -> None:
    one = answering[model]
    together = one.compare_many(one.many([row for row, _ in pairs]), one.many([row for _, row in pairs]))
    alone = [one.compare_one(one.one(own), one.one(other)) for own, other in pairs]
    assert counts(together) == dict(sum((Counter(counts(each)) for each in alone), Counter[str]()))
    for field, values in together.differences.items():
        parts = [each.differences[field] for each in alone if field in each.differences]
        assert values.tolist() == np.concatenate([[], *parts]).tolist(), field
    assert together.own.tolist() == [scored for each in alone for scored in each.own.tolist()]
    assert together.other.tolist() == [scored for each in alone for scored in each.other.tolist()]


def test_the_fields_are_those_of_the_answer_for_one_customer() -> None:
    fields = {model: Comparer(load_service(model).SERVICE).fields for model in SAMPLES}
    assert fields == {
        "churn": ("status", "churn_probability", "percentile", "risk_band"),
        "propensity": ("status", "purchase_probability", "percentile", "response_probability"),
        "cltv": ("status", "expected_value", "lower_bound", "upper_bound", "tier", "percentile"),
        "clustering": (
            *("status", "cluster_id", "distance", "runner_up_id", "runner_up_distance", "unusual"),
            *("recency_score", "frequency_score", "monetary_score"),
        ),
    }
    assert Comparer(load_service("cltv").SERVICE).numbers == (
        *("expected_value", "lower_bound", "upper_bound", "percentile"),
    )


def test_what_differs_is_told_by_field(churn: Answering) -> None:
    own, other = churn.many([LIVELY] * 3), churn.many([LIVELY] * 3)
    answers = other.predictions
    answers.churn_probabilities[1] -= 0.25
    answers.risk_bands[1] = churn_pb2.RISK_BAND_LOW
    answers.percentiles[2] += 10
    compared = churn.compare_many(own, other)
    assert counts(compared) == {"risk_band": 1}
    assert compared.differences["churn_probability"] == pytest.approx([0, 0.25, 0], abs=1e-7)
    assert compared.differences["percentile"] == pytest.approx([0, 0, 0.1], abs=1e-6)


def test_whom_only_one_scored_counts_by_status_and_in_no_other_field(churn: Answering) -> None:
    gone = (GONE, *LIVELY[1:])
    compared = churn.compare_many(churn.many([LIVELY, gone, gone]), churn.many([gone, LIVELY, gone]))
    assert counts(compared) == {"status": 2}
    assert (compared.own.tolist(), compared.other.tolist()) == ([True, False, False], [False, True, False])
    assert {field: len(values) for field, values in compared.differences.items()} == {
        "churn_probability": 0,
        "percentile": 0,
    }


def test_tiers_are_compared_by_name_and_not_by_place(answering: dict[str, Answering]) -> None:
    cltv = answering["cltv"]
    other = cltv.many([LIVELY])
    table = other.predictions
    names = list(table.tier_names)
    table.tier_names[:] = ["COPPER", *names]
    table.tiers[0] += 1
    assert counts(cltv.compare_many(cltv.many([LIVELY]), other)) == {}
    table.tiers[0] -= 1
    assert counts(cltv.compare_many(cltv.many([LIVELY]), other)) == {"tier": 1}


def test_categories_are_compared_by_name_and_not_by_place(answering: dict[str, Answering]) -> None:
    propensity = answering["propensity"]
    own, other = propensity.one(LIVELY), propensity.one(LIVELY)
    parts = sorted(own.prediction.categories, key=lambda part: part.category)
    del other.prediction.categories[:]
    other.prediction.categories.extend(parts)
    assert list(own.prediction.categories) != parts
    compared = propensity.compare_one(own, other)
    assert counts(compared) == {}
    assert {field for field in compared.differences if "[" in field} == {
        f"purchase_probability[{category}]" for category in ("GROCERY", "DRUG GM", "DELI")
    }


def test_what_the_other_does_not_say_of_anybody_is_a_disagreement(answering: dict[str, Answering]) -> None:
    propensity = answering["propensity"]
    other = propensity.many([LIVELY, LIVELY])
    other.predictions.ClearField("response_probabilities")
    other.predictions.categories[0].purchase_probabilities[1] = NAN
    other.predictions.categories.add(category="its own", purchase_probabilities=[0.5, 0.5])
    category = other.predictions.categories[0].category
    assert counts(propensity.compare_many(propensity.many([LIVELY, LIVELY]), other)) == {
        "response_probability": 2,
        f"purchase_probability[{category}]": 1,
    }
    # What the other says beyond us counts too, but not its categories, whose names are its own to choose.
    assert counts(propensity.compare_many(other, propensity.many([LIVELY, LIVELY]))) == {
        "response_probability": 2,
        f"purchase_probability[{category}]": 1,
        "purchase_probability[its own]": 2,
    }


def _spoil(response: Any) -> dict[str, Any]:
    """Answers that are none to the same question, made out of a good one for a table."""
    spoilt: dict[str, Any] = {}
    for name in ("model", "horizon", "ids", "order", "fewer", "ragged"):
        other = type(response)()
        other.CopyFrom(response)
        table = other.predictions
        match name:
            case "model":
                other.model_version.name = "cltv"
            case "horizon":
                other.horizon_days += 30
            case "ids":
                table.customer_ids[0] = "somebody else"
            case "order":
                table.customer_ids[:] = reversed(table.customer_ids)
            case "fewer":
                del table.customer_ids[-1], table.statuses[-1]
            case "ragged":
                del table.risk_bands[-1]
        spoilt[name] = other
    return spoilt


@pytest.mark.parametrize("how", ["model", "horizon", "ids", "order", "fewer", "ragged"])
def test_answers_to_another_question_are_not_compared(churn: Answering, how: str) -> None:
    own = churn.many([LIVELY, LIVELY])
    with pytest.raises(IncomparableError):
        churn.compare_many(own, _spoil(own)[how])


def test_an_empty_answer_is_not_compared(churn: Answering) -> None:
    for method, own in ((churn.methods.one, churn.one(LIVELY)), (churn.methods.batch, churn.many([LIVELY]))):
        with pytest.raises(IncomparableError):
            churn.comparer.compare(method.name, own, method.response())


def test_a_tier_that_there_is_not_is_not_compared(answering: dict[str, Answering]) -> None:
    cltv = answering["cltv"]
    other: cltv_pb2.BatchPredictLifetimeValueResponse = cltv.many([LIVELY])
    other.predictions.tiers[0] = 9
    with pytest.raises(IndexError):
        cltv.compare_many(cltv.many([LIVELY]), other)


@pytest.mark.parametrize(
    ("field", "own", "other", "apart"),
    [
        ("churn_probability", 0.5, 0.75, 0.25),
        ("expected_value", 100.0, 80.0, 0.2),
        ("expected_value", 0.2, 0.9, 0.7),
        ("expected_value", -50.0, 50.0, 2.0),
        ("expected_value", 3e38, -3e38, 2.0),
        ("expected_value", 0.0, 0.0, 0.0),
        ("percentile", 40.0, 50.0, 0.1),
    ],
)
def test_numbers_lie_apart_in_shares(field: str, own: float, other: float, apart: float) -> None:
    ours, theirs = np.array([own], np.float32), np.array([other], np.float32)
    assert difference(field, ours, theirs) == pytest.approx([apart])
    assert difference(field, theirs, ours) == pytest.approx([apart])
