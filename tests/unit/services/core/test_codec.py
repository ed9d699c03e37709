from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from model_registry.columns import Columns
from model_registry.schema import Feature, Schema
from regulars.scoring.v1 import scoring_pb2
from services.core.codec import Codec
from services.core.errors import INVALID, MAX_VIOLATIONS, Refusal
from tests.support.bundles import SCHEMA
from tests.support.scores import bits

if TYPE_CHECKING:
    from collections.abc import Callable

NAN = float("nan")
INF = float("inf")
MAX_ROWS = 50

codec = Codec(SCHEMA, MAX_ROWS)

STRICT = Codec(replace(SCHEMA, features=(*SCHEMA.features[:2], replace(SCHEMA.features[2], nullable=False))), MAX_ROWS)
"""A channel is required too."""


def customer(
    numeric: dict[str, float] | None = None, categorical: dict[str, str] | None = None, identifier: str = "c1"
) -> scoring_pb2.Customer:
    return scoring_pb2.Customer(
        id=identifier,
        numeric={"recency_days": 1.0, **(numeric or {})},
        categorical=categorical or {},
    )


def numbers(name: str, *values: float) -> scoring_pb2.NumericColumn:
    return scoring_pb2.NumericColumn(name=name, values=values)


def texts(name: str, dictionary: list[str], *codes: int) -> scoring_pb2.CategoricalColumn:
    return scoring_pb2.CategoricalColumn(name=name, dictionary=dictionary, codes=codes)


def table(
    *columns: scoring_pb2.NumericColumn | scoring_pb2.CategoricalColumn, ids: tuple[str, ...] = ("a", "b")
) -> scoring_pb2.CustomerTable:
    """Recency is there unless the columns have their own."""
    numeric = [column for column in columns if isinstance(column, scoring_pb2.NumericColumn)]
    if "recency_days" not in {column.name for column in numeric}:
        numeric.append(numbers("recency_days", *[1.0] * len(ids)))
    categorical = [column for column in columns if isinstance(column, scoring_pb2.CategoricalColumn)]
    return scoring_pb2.CustomerTable(ids=ids, numeric=numeric, categorical=categorical)


def violations(request: scoring_pb2.Customer | scoring_pb2.CustomerTable, of: Codec = codec) -> list[tuple[str, str]]:
    decode = of.decode_customer if isinstance(request, scoring_pb2.Customer) else of.decode_table
    with pytest.raises(Refusal) as refused:
        decode(request)  # type: ignore[arg-type]  # chosen by the type
    assert refused.value.kind is INVALID
    return [(violation.field, violation.description) for violation in refused.value.violations]


def test_a_customer_becomes_one_row_in_the_order_of_the_schema() -> None:
    columns = codec.decode_customer(customer({"frequency": 3.5}, {"channel": "web"}))
    assert columns.numeric.dtype == np.float32
    assert columns.numeric.tolist() == [[1.0, 3.5]]
    assert columns.categorical.tolist() == [["web"]]


def test_features_left_out_or_nan_are_missing() -> None:
    left_out = codec.decode_customer(customer())
    said_so = codec.decode_customer(customer({"frequency": NAN}, {"channel": ""}))
    for columns in (left_out, said_so):
        assert np.isnan(columns.numeric).tolist() == [[False, True]]
        assert columns.categorical.tolist() == [[""]]


def test_a_table_becomes_rows_in_the_order_of_the_ids() -> None:
    columns = codec.decode_table(
        table(
            texts("channel", ["web", "kiosk"], 1, -1, 0),
            numbers("frequency", 1, NAN, 3),
            numbers("recency_days", 4, 5, 6),
            ids=("a", "b", "c"),
        )
    )
    np.testing.assert_array_equal(columns.numeric, np.array([[4, 1], [5, NAN], [6, 3]], np.float32))
    assert columns.categorical.tolist() == [["kiosk"], [""], ["web"]]


def test_columns_left_out_are_missing_for_everybody() -> None:
    columns = codec.decode_table(table())
    assert np.isnan(columns.numeric[:, 1]).all()
    assert columns.categorical.tolist() == [[""], [""]]


def test_a_category_never_seen_is_no_violation() -> None:
    assert codec.decode_customer(customer({}, {"channel": "moon"})).categorical.tolist() == [["moon"]]


@pytest.mark.parametrize(
    ("request_", "field", "description"),
    [
        (customer(identifier=""), "customer.id", "must not be empty"),
        (customer({"age": 1}), 'customer.numeric["age"]', "is not a feature of this model"),
        (customer({}, {"age": "x"}), 'customer.categorical["age"]', "is not a feature of this model"),
        (customer({"channel": 1}), 'customer.numeric["channel"]', "is categorical; give it as categorical"),
        (customer({}, {"frequency": "1"}), 'customer.categorical["frequency"]', "is numeric; give it as numeric"),
        (customer({"recency_days": NAN}), 'customer.numeric["recency_days"]', "is required"),
        (scoring_pb2.Customer(id="c1"), 'customer.numeric["recency_days"]', "is required"),
        (customer({"recency_days": INF}), 'customer.numeric["recency_days"]', "is infinite or beyond float32"),
        (customer({"frequency": INF}), 'customer.numeric["frequency"]', "is infinite or beyond float32"),
        (customer({"frequency": -INF}), 'customer.numeric["frequency"]', "is infinite or beyond float32"),
        (customer({"frequency": 3.5e38}), 'customer.numeric["frequency"]', "is infinite or beyond float32"),
        (customer({"frequency": -1e300}), 'customer.numeric["frequency"]', "is infinite or beyond float32"),
    ],
)
def test_each_violation_of_a_customer_names_its_path(
    request_: scoring_pb2.Customer, field: str, description: str
) -> None:
    assert violations(request_) == [(field, description)]


@pytest.mark.parametrize(
    ("numeric", "categorical", "field"),
    [
        ({"age": 1.0}, {}, 'customer.numeric["age"]'),
        ({"channel": 1.0}, {}, 'customer.numeric["channel"]'),
        ({}, {"age": "x"}, 'customer.categorical["age"]'),
        ({}, {"frequency": "2"}, 'customer.categorical["frequency"]'),
    ],
)
def test_one_name_too_many_is_noticed_where_nothing_is_missing(
    numeric: dict[str, float], categorical: dict[str, str], field: str
) -> None:
    crowded = customer({"frequency": 2.0, **numeric}, {"channel": "web", **categorical})
    assert [path for path, _ in violations(crowded)] == [field]


@pytest.mark.parametrize(
    ("numeric", "categorical", "fields"),
    [
        ({"frequency": INF}, {}, ['customer.numeric["frequency"]']),
        ({"frequency": -3.5e38}, {}, ['customer.numeric["frequency"]']),
        ({"recency_days": NAN}, {}, ['customer.numeric["recency_days"]']),
        (
            {"recency_days": INF, "frequency": -INF},
            {},
            [f'customer.numeric["{n}"]' for n in ("recency_days", "frequency")],
        ),
        ({}, {"channel": ""}, ['customer.categorical["channel"]']),
    ],
)
def test_one_bad_value_is_noticed_where_nothing_is_missing(
    numeric: dict[str, float], categorical: dict[str, str], fields: list[str]
) -> None:
    request = customer({"frequency": 2.0, **numeric}, {"channel": "web", **categorical})
    assert [path for path, _ in violations(request, STRICT)] == fields


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (
            scoring_pb2.Customer(id="a", numeric={"age": 1, "frequency": 2}, categorical={"channel": "web"}),
            ['customer.numeric["age"]', 'customer.numeric["recency_days"]'],
        ),
        (
            customer({"frequency": 2.0}, {"age": "x"}),
            ['customer.categorical["age"]', 'customer.categorical["channel"]'],
        ),
    ],
)
def test_the_right_number_of_wrong_names_is_noticed(request_: scoring_pb2.Customer, fields: list[str]) -> None:
    assert [path for path, _ in violations(request_, STRICT)] == fields


@pytest.mark.parametrize(
    ("request_", "field", "description"),
    [
        (table(ids=()), "customers.ids", "must not be empty"),
        (
            table(ids=tuple(map(str, range(MAX_ROWS + 1)))),
            "customers.ids",
            f"must hold at most {MAX_ROWS} customers; split the table",
        ),
        (table(ids=("a", "")), "customers.ids[1]", "must not be empty"),
        (table(ids=("a", "b", "a")), "customers.ids[2]", "stands earlier in this table"),
        (table(numbers("age", 1, 2)), "customers.numeric[0].name", '"age" is not a feature of this model'),
        (table(texts("age", [], -1, -1)), "customers.categorical[0].name", '"age" is not a feature of this model'),
        (
            table(numbers("channel", 1, 2)),
            "customers.numeric[0].name",
            '"channel" is categorical; give it as categorical',
        ),
        (
            table(texts("frequency", [], -1, -1)),
            "customers.categorical[0].name",
            '"frequency" is numeric; give it as numeric',
        ),
        (
            table(numbers("frequency", 1, 2), numbers("frequency", 1, 2)),
            "customers.numeric[1].name",
            '"frequency" stands earlier in this table',
        ),
        (
            table(numbers("frequency", 1)),
            "customers.numeric[0].values",
            "must hold one value a customer: 2, holds 1",
        ),
        (
            table(texts("channel", ["web"], 0, 0, 0)),
            "customers.categorical[0].codes",
            "must hold one value a customer: 2, holds 3",
        ),
        (
            table(texts("channel", ["web"], 0, 1)),
            "customers.categorical[0].codes[1]",
            "must be an index into the dictionary, or -1",
        ),
        (
            table(texts("channel", ["web"], -2, 0)),
            "customers.categorical[0].codes[0]",
            "must be an index into the dictionary, or -1",
        ),
        (
            table(texts("channel", [], 0, -1)),
            "customers.categorical[0].codes[0]",
            "must be an index into the dictionary, or -1",
        ),
        (table(numbers("recency_days", 1, NAN)), 'customers.numeric["recency_days"][1]', "is required"),
        (table(numbers("frequency", INF, 1)), 'customers.numeric["frequency"][0]', "is infinite or beyond float32"),
    ],
)
def test_each_violation_of_a_table_names_its_path(
    request_: scoring_pb2.CustomerTable, field: str, description: str
) -> None:
    assert violations(request_) == [(field, description)]


def test_as_many_rows_as_allowed_are_taken() -> None:
    assert len(codec.decode_table(table(ids=tuple(map(str, range(MAX_ROWS)))))) == MAX_ROWS


def test_a_required_category_must_be_there() -> None:
    assert violations(customer(), STRICT) == [('customer.categorical["channel"]', "is required")]
    assert violations(customer({}, {"channel": ""}), STRICT) == [('customer.categorical["channel"]', "is required")]
    assert violations(table(texts("channel", ["web", ""], 0, 1)), STRICT) == [
        ('customers.categorical["channel"][1]', "is required")
    ]
    assert STRICT.decode_customer(customer({}, {"channel": "web"})).categorical.tolist() == [["web"]]


def test_a_model_without_numbers_or_without_categories_decodes_both_forms() -> None:
    only_texts = Codec(Schema((Feature("channel", "categorical"),), SCHEMA.outputs), 9)
    row = scoring_pb2.Customer(id="a", categorical={"channel": "web"})
    columns = scoring_pb2.CustomerTable(ids=["a"], categorical=[texts("channel", ["web"], 0)])
    for decoded in (only_texts.decode_customer(row), only_texts.decode_table(columns)):
        assert decoded.numeric.shape == (1, 0)
        assert decoded.categorical.tolist() == [["web"]]
    only_numbers = Codec(Schema((Feature("age", "numeric"),), SCHEMA.outputs), 9)
    assert only_numbers.decode_customer(scoring_pb2.Customer(id="a", numeric={"age": 1})).categorical.shape == (1, 0)


def test_violations_stop_at_the_limit_and_the_total_is_told() -> None:
    rows = MAX_VIOLATIONS + 5
    request = table(numbers("frequency", *[INF] * rows), ids=tuple(map(str, range(rows))))
    with pytest.raises(Refusal) as refused:
        codec.decode_table(request)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert refused.value.to_status().details[0].Unpack(info)
    assert refused.value.to_status().details[1].Unpack(bad_request)
    assert info.metadata["violations"] == str(rows)
    assert len(bad_request.field_violations) == MAX_VIOLATIONS


SOFT_LIMIT_BYTES = 8 * 1024
"""gRPC clients may refuse more trailing metadata than this."""


@pytest.mark.parametrize("letter", ["a", "\x01", '"', "\N{GRINNING FACE}"])
def test_the_longest_answer_fits_into_trailers(letter: str) -> None:
    names = [letter * 1000 + str(number) for number in range(40)]
    row = scoring_pb2.Customer(id="", numeric=dict.fromkeys(names, 1.0))
    columns = table(*(numbers(name, 1, 2) for name in names))
    decoders: tuple[Callable[[], Columns], ...] = (
        lambda: codec.decode_customer(row),
        lambda: codec.decode_table(columns),
    )
    for decode in decoders:
        with pytest.raises(Refusal) as refused:
            decode()
        # A third is added when bytes travel as base64.
        assert len(refused.value.to_status().SerializeToString()) * 4 / 3 < SOFT_LIMIT_BYTES


def test_a_table_of_more_columns_than_any_model_has_is_refused_without_reading_them() -> None:
    crowded = scoring_pb2.CustomerTable(ids=["a"], numeric=[scoring_pb2.NumericColumn()] * 100_000)
    assert violations(crowded) == [("customers", "must hold at most 1000 columns")]


def test_a_customer_of_more_features_than_any_model_has_is_refused_without_reading_them() -> None:
    crowded = customer({str(number): 1.0 for number in range(1001)}, {})
    assert violations(crowded) == [("customer", "must hold at most 1000 features")]


def test_codes_of_a_column_of_the_wrong_length_are_not_checked_one_by_one() -> None:
    assert len(violations(table(texts("channel", [], *[7] * 1000)))) == 1


NUMBERS = st.floats(width=64)
VALUES = st.text(alphabet="XYZ", min_size=12, max_size=12)
"""Long and of letters that stand in no message of ours."""


@given(
    identifier=VALUES | st.just(""),
    recency=NUMBERS,
    unknown=NUMBERS,
    channel=VALUES,
    misplaced=VALUES,
)
def test_no_value_of_a_customer_is_echoed(
    identifier: str, recency: float, unknown: float, channel: str, misplaced: str
) -> None:
    request = customer(
        {"recency_days": recency, "unknown": unknown},
        {"channel": channel, "frequency": misplaced, "unknown too": misplaced},
        identifier=identifier,
    )
    with pytest.raises(Refusal) as refused:
        codec.decode_customer(request)
    assert_not_echoed(refused.value, [identifier, channel, misplaced], [recency, unknown])


@given(
    ids=st.lists(VALUES | st.just(""), min_size=1, max_size=5),
    values=st.lists(st.floats(width=32), max_size=5),
    dictionary=st.lists(VALUES, max_size=3),
    codes=st.lists(st.integers(10_000, 2**31 - 1), min_size=1, max_size=5),
)
def test_no_value_of_a_table_is_echoed(
    ids: list[str], values: list[float], dictionary: list[str], codes: list[int]
) -> None:
    request = table(
        numbers("recency_days", *values), numbers("unknown", *values), texts("channel", dictionary, *codes), ids=(*ids,)
    )
    with pytest.raises(Refusal) as refused:
        codec.decode_table(request)
    assert_not_echoed(refused.value, [*ids, *dictionary, *map(str, codes)], values)


def assert_not_echoed(refusal: Refusal, words: list[str], floats: list[float]) -> None:
    answer = refusal.to_status().SerializeToString()
    shown = [repr(value) for value in floats if len(repr(value)) >= 6]
    for value in (*words, *shown):
        assert not value or value.encode() not in answer


customers = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False, min_value=-3.4e38, max_value=3.4e38),
        st.none() | st.floats(allow_infinity=False, min_value=-3.4e38, max_value=3.4e38) | st.just(NAN),
        st.none() | st.sampled_from(["web", "shop", "kiosk", "", "wëb"]),
    ),
    min_size=1,
    max_size=MAX_ROWS,
)


@given(rows=customers)
def test_rows_and_tables_decode_to_the_same_bits(rows: list[tuple[float, float | None, str | None]]) -> None:
    decoded = [
        codec.decode_customer(
            customer(
                {"recency_days": recency, **({} if frequency is None else {"frequency": frequency})},
                {} if channel is None else {"channel": channel},
            )
        )
        for recency, frequency, channel in rows
    ]
    dictionary = sorted({channel for _, _, channel in rows if channel is not None})
    as_table = codec.decode_table(
        table(
            numbers("frequency", *(NAN if frequency is None else frequency for _, frequency, _ in rows)),
            texts("channel", dictionary, *(-1 if text is None else dictionary.index(text) for _, _, text in rows)),
            numbers("recency_days", *(recency for recency, _, _ in rows)),
            ids=tuple(map(str, range(len(rows)))),
        )
    )
    together = Columns(
        np.concatenate([columns.numeric for columns in decoded]),
        np.concatenate([columns.categorical for columns in decoded]),
    )
    missing = np.isnan(as_table.numeric)
    np.testing.assert_array_equal(np.isnan(together.numeric), missing)
    np.testing.assert_array_equal(bits(together.numeric)[~missing], bits(as_table.numeric)[~missing])
    assert together.categorical.tolist() == as_table.categorical.tolist()


whole = Codec(Schema(tuple(Feature(name, "numeric") for name in ("a", "b")), ()), MAX_ROWS)


@given(
    st.lists(
        st.tuples(st.floats(width=32, allow_infinity=False), st.floats(width=32, allow_infinity=False)),
        min_size=1,
        max_size=MAX_ROWS,
    )
)
def test_columns_in_the_order_of_the_schema_are_decoded_as_in_any_other(rows: list[tuple[float, float]]) -> None:
    columns = [numbers(name, *values) for name, values in zip("ab", zip(*rows, strict=True), strict=True)]
    ids = [str(row) for row in range(len(rows))]
    decoded = [
        whole.decode_table(scoring_pb2.CustomerTable(ids=ids, numeric=order)).numeric
        for order in (columns, columns[::-1])
    ]
    for numeric in decoded:
        assert numeric.flags.c_contiguous
        assert bits(numeric).tolist() == bits(np.array(rows, np.float32)).tolist()
