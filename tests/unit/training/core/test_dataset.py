"""Snapshots to matrices: nothing is lost, nothing is learnt from the test part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.specs import FeatureSpec
from model_registry.bundle import TrainingWindow
from model_registry.columns import Columns
from model_registry.frame import FrameError
from tests.support.learning import DATES, LABEL, SPECS, customers, dataset
from training.core.dataset import (
    Rows,
    _blanked,
    design_matrix,
    in_graph_order,
    make_dataset,
    observed_features,
    rows_from_arrow,
)

TABLE = pa.table(
    {
        "customer_id": ["a", "b", "c"],
        "recency_days": pa.array([1.0, 2.0, 3.0], pa.float32()),
        "channel": pa.array(["web", None, "mail"]),
        "spend": pa.array([10.0, -5.0, 7.0], pa.float32()),
        "gap_days": pa.array([np.nan, 4.0, np.nan], pa.float32()),
        LABEL: pa.array([0, 1, 0], pa.int8()),
    }
)
ROWS = rows_from_arrow(TABLE, SPECS, [LABEL], np.datetime64("2017-03-01"))


def test_a_snapshot_becomes_rows() -> None:
    assert ROWS.customer_ids.tolist() == ["a", "b", "c"]
    assert ROWS.dates.tolist() == [np.datetime64("2017-03-01").item()] * 3
    assert ROWS.columns.numeric.dtype == np.float32
    assert ROWS.columns.numeric[:, :2].tolist() == [[1.0, 10.0], [2.0, -5.0], [3.0, 7.0]]
    assert ROWS.columns.categorical[:, 0].tolist() == ["web", "", "mail"]
    assert ROWS.labels[LABEL].tolist() == [0.0, 1.0, 0.0]


def test_no_date_is_not_a_time() -> None:
    assert np.isnat(rows_from_arrow(TABLE, SPECS, [LABEL], None).dates).all()


def test_a_missing_column_is_named() -> None:
    with pytest.raises(FrameError, match="spend"):
        rows_from_arrow(TABLE.drop_columns(["spend"]), SPECS, [LABEL], None)


def test_rows_are_chosen_and_joined_alike_in_all_their_parts() -> None:
    joined = Rows.concatenate([ROWS.at(np.array([2])), ROWS.at(np.array([True, True, False]))])
    assert joined.customer_ids.tolist() == ["c", "a", "b"]
    assert joined.columns.numeric[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert joined.columns.categorical[:, 0].tolist() == ["mail", "web", ""]
    assert joined.labels[LABEL].tolist() == [0.0, 0.0, 1.0]
    assert len(joined.dates) == len(joined) == 3


def test_features_tell_what_training_showed() -> None:
    recency, channel, spend, gap = observed_features(SPECS, ROWS.columns)
    assert (recency.minimum, recency.maximum, recency.nullable) == (1.0, 3.0, False)
    assert (spend.minimum, spend.maximum, spend.unit) == (-5.0, 10.0, "money")
    assert (gap.minimum, gap.maximum, gap.nullable) == (4.0, 4.0, True)
    assert (channel.vocabulary, channel.nullable) == (("mail", "web"), True)


def test_a_feature_that_was_always_missing_has_no_range() -> None:
    gone = ROWS.at(np.array([0, 2]))
    gap = observed_features(SPECS, gone.columns)[3]
    assert (gap.minimum, gap.maximum, gap.nullable) == (None, None, True)


def test_the_matrix_holds_numbers_then_codes_and_knows_no_new_category() -> None:
    features = observed_features(SPECS, ROWS.columns)
    strange = replace(ROWS.columns, categorical=np.array([["web"], ["kiosk"], [""]], object))
    matrix = design_matrix(strange, features)
    assert [feature.name for feature in in_graph_order(features)] == ["recency_days", "spend", "gap_days", "channel"]
    assert matrix.dtype == np.float32
    assert matrix[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert matrix[:, 3].tolist() == [1.0, -1.0, -1.0]


def test_the_test_part_teaches_nothing() -> None:
    strange = pa.table(
        {**{name: TABLE[name] for name in TABLE.column_names}, "channel": pa.array(["kiosk"] * 3)}
    ).set_column(3, "spend", pa.array([1e6, 1e6, 1e6], pa.float32()))
    test = rows_from_arrow(strange, SPECS, [LABEL], np.datetime64("2017-06-01"))
    made = make_dataset(SPECS, ROWS, test, strange, 30, TrainingWindow("a", "b", "c"))
    assert made.features == observed_features(SPECS, ROWS.columns)


def test_a_feature_that_may_be_missing_later_is_missing_in_a_few_training_rows() -> None:
    full = customers(600, 0).set_column(4, "gap_days", pa.array(np.ones(600), pa.float32()))
    rows = rows_from_arrow(full, SPECS, [LABEL], None)
    made = make_dataset(SPECS, rows, rows, full, 0, TrainingWindow())
    missing = np.isnan(made.train.columns.numeric).sum(axis=0)
    assert missing[:2].tolist() == [0, 0], "these features always exist"
    assert 0 < missing[2] < 20
    assert [feature.nullable for feature in made.features] == [False, True, False, True]
    assert not np.isnan(made.test.columns.numeric).any()


def test_customers_that_a_server_would_refuse_are_set_aside_and_counted() -> None:
    missing = TABLE.set_column(1, "recency_days", pa.array([1.0, np.nan, 3.0], pa.float32()))
    test = rows_from_arrow(missing, SPECS, [LABEL], None)
    made = make_dataset(SPECS, ROWS, test, missing, 0, TrainingWindow())
    assert made.set_aside == 1
    assert made.test.customer_ids.tolist() == ["a", "c"]
    assert made.test_table["customer_id"].to_pylist() == ["a", "c"]
    assert not made.has_time_axis


def test_equal_contents_have_equal_digests_and_any_change_another() -> None:
    first = dataset(50)
    assert first.digest == dataset(50).digest
    assert first.has_time_axis
    train = first.train
    changes = [
        replace(train, labels={LABEL: 1 - train.labels[LABEL]}),
        replace(train, dates=train.dates + np.timedelta64(1, "D")),
        replace(train, customer_ids=train.customer_ids[::-1]),
        replace(train, columns=replace(train.columns, numeric=train.columns.numeric + np.float32(1))),
        replace(train, columns=replace(train.columns, categorical=train.columns.categorical[::-1])),
    ]
    changed = [replace(first, train=change) for change in changes] + [replace(first, test=first.test.at(np.arange(9)))]
    assert len({first.digest, *(one.digest for one in changed)}) == len(changed) + 1


def test_the_bits_of_a_missing_number_are_no_content() -> None:
    first = dataset(50)
    other_nan = first.train.columns.numeric.copy()
    other_nan[np.isnan(other_nan)] = np.frombuffer(b"\x01\x00\xc0\x7f", np.float32)[0]
    same = replace(first, train=replace(first.train, columns=replace(first.train.columns, numeric=other_nan)))
    assert same.digest == first.digest


def test_the_world_of_these_tests_has_missing_values() -> None:
    assert len(DATES) == 4
    assert pc.any(pc.is_nan(customers(50, 0)["gap_days"])).as_py()


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_a_feature_that_may_be_missing_later_is_missing_once_at_least(rows: int) -> None:
    specs = tuple(FeatureSpec(f"x{number}", "numeric", "", "") for number in range(50))
    columns = Columns(np.ones((rows, 50), np.float32), np.empty((rows, 0), object))
    missing = np.isnan(_blanked(specs, columns).numeric).sum(axis=0)
    assert (missing >= 1).all()
