"""Who is audited: dates whose answers have closed, the bundle's own scores, groups out of any kind of column."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from audits.errors import AuditError
from audits.population import UNKNOWN, Partition, closing_date, crossings, grouped, read_population
from features.labels import churned
from features.project import load_project
from features.tables import open_tables
from model_registry.schema import Feature, PopulationRule, Status
from tests.support.audited import shop, spent_bundle
from tests.support.worlds import churn_world, partition

if TYPE_CHECKING:
    from pathlib import Path

    from features.tables import CustomerTables

DAY = dt.date(2023, 6, 1)


def members(parted: Partition) -> dict[str, list[int]]:
    return {group: parted.rows(group).tolist() for group in parted.groups}


class TestGroups:
    def test_texts_are_groups_and_whoever_tells_nothing_is_unknown(self) -> None:
        parted = grouped("status", pa.array(["b", "a", None, "", " Unknown ", "b "]))
        assert members(parted) == {"a": [1], "b": [0, 5], UNKNOWN: [2, 3, 4]}
        assert (parted.known, parted.reference) == (("a", "b"), "b")

    def test_groups_come_in_the_order_of_their_numbers(self) -> None:
        parted = grouped("income", pa.array(["100K+", "15-24K", "Under 15K", "50-74K"]))
        assert parted.groups == ("Under 15K", "15-24K", "50-74K", "100K+")

    def test_a_boolean_is_yes_or_no(self) -> None:
        assert members(grouped("loyal", pa.array([True, False, None]))) == {"no": [1], "yes": [0], UNKNOWN: [2]}

    def test_few_numbers_are_groups_by_themselves(self) -> None:
        parted = grouped("kids", pa.array([2, 0, None, 10, 2]))
        assert members(parted) == {"0": [1], "2": [0, 4], "10": [3], UNKNOWN: [2]}
        assert parted.banding == ""

    def test_many_numbers_are_put_into_bands_between_quartiles(self) -> None:
        ages = [*range(18, 98), None, float("nan")]
        parted = grouped("age", pa.array(ages, pa.float64()))
        assert parted.groups == ("18 to 37", "38 to 57", "58 to 77", "78 to 97", UNKNOWN)
        assert [len(parted.rows(group)) for group in parted.groups] == [20, 20, 20, 20, 2]
        assert "quartiles" in parted.banding

    def test_quartiles_that_are_one_number_are_one_line(self) -> None:
        parted = grouped("orders", pa.array([0] * 80 + list(range(1, 21))))
        assert [(group, len(parted.rows(group))) for group in parted.groups] == [("0", 80), ("1 to 20", 20)]

    @pytest.mark.parametrize(
        "values",
        [
            pa.array(["a", "b", "a"]).dictionary_encode(),
            pa.array([1.5, 2.5, 1.5]).cast(pa.decimal128(5, 2)),
            pa.array(["a", "b", "a"], pa.large_string()),
        ],
    )
    def test_any_kind_of_column_will_do(self, values: pa.Array) -> None:
        assert [len(rows) for rows in members(grouped("x", values)).values()] == [2, 1]

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            (pa.array([dt.date(1990, 1, 1)]), "lists born, which holds dates.*map an age or a year"),
            (pa.array([f"{number:05}" for number in range(51)]), "51 values, and at most 50.*region"),
        ],
    )
    def test_what_makes_no_groups_is_refused_with_a_remedy(self, values: pa.Array, says: str) -> None:
        with pytest.raises(AuditError, match=says):
            grouped("born", values)

    def test_members_stand_apart_from_the_other_known_ones(self) -> None:
        parted = partition("status", ["b", "a", UNKNOWN, "c", "b"])
        members, others = parted.apart("b")
        assert (np.flatnonzero(members).tolist(), np.flatnonzero(others).tolist()) == ([0, 4], [1, 3])
        assert parted.places(("c", "b")).tolist() == [1, 2, 2, 0, 1]

    def test_nobody_known_leaves_one_group_and_no_reference(self) -> None:
        parted = grouped("status", pa.array([None, None], pa.string()))
        assert (parted.groups, parted.known, parted.reference) == ((UNKNOWN,), (), "")


class TestCrossings:
    def test_every_two_attributes_are_crossed_without_the_unknown(self) -> None:
        one = partition("sex", ["f", "m", "f", UNKNOWN, "f"])
        other = partition("town", ["x", "x", "y", "x", UNKNOWN])
        (crossed,) = crossings([one, other])
        assert members(crossed) == {"f & x": [0], "f & y": [2], "m & x": [1]}
        assert crossed.name == "sex & town"
        assert crossed.crossed
        assert crossed.codes[[3, 4]].tolist() == [-1, -1]

    def test_seven_attributes_make_twenty_one(self) -> None:
        parted = [partition(f"a{number}", ["x", "y"]) for number in range(7)]
        assert len({one.name for one in crossings(parted)}) == 21


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CustomerTables:
    return open_tables(load_project(shop(tmp_path_factory.mktemp("shop"))))


class TestDates:
    def test_answers_have_closed_by_the_last_midnight_of_the_data(self, tables: CustomerTables) -> None:
        assert closing_date(tables, 30, None) == dt.date(2024, 5, 24)
        assert closing_date(tables, 0, None) == dt.date(2024, 6, 23)

    def test_or_by_the_date_that_is_given(self, tables: CustomerTables) -> None:
        assert closing_date(tables, 30, dt.date(2024, 1, 31)) == dt.date(2024, 1, 1)

    def test_a_date_after_the_data_is_refused(self, tables: CustomerTables) -> None:
        with pytest.raises(AuditError, match="have not closed; give an earlier --as-of"):
            closing_date(tables, 30, dt.date(2024, 8, 1))

    def test_so_is_one_before_it(self, tables: CustomerTables) -> None:
        with pytest.raises(AuditError, match="give a later --as-of"):
            closing_date(tables, 30, dt.date(2023, 1, 15))


class TestBeside:
    def test_a_champions_scores_stand_beside_by_customer(self) -> None:
        world = churn_world(1, 5)
        theirs = np.array([0.4, 0.3, 0.2, 0.1])
        champion = replace(
            world,
            customer_ids=np.array(["c000004", "c000003", "c000001", "somebody"], object),
            scores={"churn_probability": theirs},
        )
        before = world.beside(champion).before["churn_probability"]
        assert before[[4, 3, 1]].tolist() == [0.4, 0.3, 0.2]
        assert np.isnan(before[[0, 2]]).all()

    def test_of_another_date_nothing_is_the_same(self) -> None:
        world = churn_world(1, 5)
        assert world.beside(replace(world, date=dt.date(2020, 1, 1))).before == {}


class TestReading:
    @staticmethod
    def read(tables: CustomerTables, folder: Path, **changes: Any) -> Any:
        answers = churned(tables, DAY, horizon_days=30, active_days=90)
        return read_population(tables, spent_bundle(folder / "bundle", **changes), answers, DAY, 30)

    def test_the_bundle_scores_and_the_tables_tell_the_rest(self, tables: CustomerTables, tmp_path: Path) -> None:
        population = self.read(tables, tmp_path)
        assert len(population) > 300
        assert set(population.scores) == {"churn_probability"}
        assert set(population.labels) == {"churned"}
        assert population.inputs.numeric.shape == (len(population), 2)
        # What stands in a row goes in and comes out together.
        said = 1.0 / (1.0 + np.exp(2.0 - 0.05 * population.inputs.numeric[:, 0]))
        assert population.scores["churn_probability"] == pytest.approx(said, abs=1e-5)
        assert set(np.unique(population.labels["churned"])) == {0.0, 1.0}
        assert [one.name for one in population.attributes] == ["gender", "age"]
        assert population.attributes[0].groups == ("f", "m", UNKNOWN)
        assert population.attributes[1].banding
        # Whose row is whose: the shop says f of even numbers.
        f = population.attributes[0].rows("f")
        assert {int(name.split()[1]) % 2 for name in population.customer_ids[f].tolist()} == {0}

    def test_who_is_outside_the_models_population_is_counted_and_left_out(
        self, tables: CustomerTables, tmp_path: Path
    ) -> None:
        whole = self.read(tables, tmp_path / "whole")
        rule = PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=5.0)
        part = self.read(tables, tmp_path / "part", population=(rule,))
        assert part.excluded == {"too short a history for the model": len(whole) - len(part)}
        assert part.excluded["too short a history for the model"] > 0

    def test_whom_a_server_would_refuse_is_counted_and_left_out(self, tables: CustomerTables, tmp_path: Path) -> None:
        whole = self.read(tables, tmp_path / "whole")
        part = self.read(tables, tmp_path / "part", second=Feature("gap_days_std", "numeric", nullable=False))
        (reason,) = part.excluded
        assert "a server refuses them" in reason
        assert part.excluded[reason] == len(whole) - len(part) > 0

    def test_the_digest_tells_populations_apart(self, tables: CustomerTables, tmp_path: Path) -> None:
        one, same = self.read(tables, tmp_path / "one"), self.read(tables, tmp_path / "same")
        other = self.read(tables, tmp_path / "other", weight=0.02)
        assert one.digest == same.digest != other.digest

    def test_without_sensitive_attributes_there_is_nothing_to_compare(self, tmp_path: Path) -> None:
        bare = open_tables(load_project(shop(tmp_path, sensitive="")))
        with pytest.raises(AuditError, match="list columns of the customers table"):
            self.read(bare, tmp_path)

    def test_nobody_to_score_is_an_error(self, tables: CustomerTables, tmp_path: Path) -> None:
        rule = PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=10_000.0)
        with pytest.raises(AuditError, match="scores nobody"):
            self.read(tables, tmp_path, population=(rule,))

    def test_who_did_not_consent_is_not_audited(self, tmp_path: Path) -> None:
        asked = open_tables(load_project(shop(tmp_path, consent='consent = "agreed"')))
        population = self.read(asked, tmp_path)
        assert {int(name.split()[1]) % 3 for name in population.customer_ids.tolist()} == {0, 1}
