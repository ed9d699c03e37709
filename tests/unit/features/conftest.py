"""A small shop, written by hand, whose figures can be checked on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest

from features.project import Project, Tables, load_project
from features.sections import Customers, Events, Responses, Subscriptions, Transactions
from features.tables import CustomerTables, canonical_tables

BuildShop = Callable[..., CustomerTables]
WriteProject = Callable[[str], Path]
LoadTables = Callable[[str], Project]
Ask = Callable[..., list[tuple[Any, ...]]]

LINE = pa.schema(
    [
        ("who", pa.string()),
        ("at", pa.timestamp("us")),
        ("paid", pa.float64()),
        ("basket", pa.string()),
        ("pieces", pa.int64()),
        ("thing", pa.string()),
        ("aisle", pa.string()),
        ("place", pa.string()),
        ("off", pa.float64()),
        ("returned", pa.bool_()),
    ]
)
PERSON = pa.schema(
    [
        ("who", pa.string()),
        ("joined", pa.timestamp("us")),
        ("plan", pa.string()),
        ("seats", pa.int32()),
        ("gender", pa.string()),
        ("left", pa.bool_()),
        ("agreed", pa.bool_()),
    ]
)
EVENT = pa.schema([("who", pa.string()), ("at", pa.timestamp("us")), ("what", pa.string())])
RESPONSE = pa.schema([("who", pa.string()), ("at", pa.timestamp("us"))])
SUBSCRIPTION = pa.schema([("who", pa.string()), ("start", pa.timestamp("us")), ("end", pa.timestamp("us"))])
EVERY_COLUMN = {
    "order": "basket",
    "quantity": "pieces",
    "product": "thing",
    "category": "aisle",
    "channel": "place",
    "discount": ("off",),
    "refund": "returned",
}
EVERY_ROLE = {"signed_up": "joined", "attributes": ("plan", "seats"), "sensitive": ("gender",)}

SCHEMAS = {
    "transactions": LINE,
    "customers": PERSON,
    "events": EVENT,
    "subscriptions": SUBSCRIPTION,
    "responses": RESPONSE,
}
Rows = list[dict[str, Any]]


def _mapping(
    names: Iterable[str], columns: dict[str, Any] = EVERY_COLUMN, roles: dict[str, Any] = EVERY_ROLE
) -> Tables:
    every = Tables(
        transactions=Transactions("", "who", "at", "paid", duplicates="keep", **columns),
        customers=Customers("", "who", **roles),
        events=Events("", "who", "at", kind="what"),
        subscriptions=Subscriptions("", "who", "start", "end"),
        responses=Responses("", "who", "at"),
    )
    return Tables(**{name: getattr(every, name) for name in names})


@pytest.fixture(scope="session")
def shop() -> BuildShop:
    """Build canonical tables from rows; `columns` says which optional columns of the lines are mapped."""

    def build(
        lines: Rows | None = None,
        *,
        columns: dict[str, Any] = EVERY_COLUMN,
        people: Rows | None = None,
        roles: dict[str, Any] = EVERY_ROLE,
        events: Rows | None = None,
        subscriptions: Rows | None = None,
        responses: Rows | None = None,
        categories: tuple[str, ...] = (),
    ) -> CustomerTables:
        given = {
            "transactions": lines,
            "customers": people,
            "events": events,
            "subscriptions": subscriptions,
            "responses": responses,
        }
        tables = {
            name: ibis.memtable(pa.Table.from_pylist(rows, schema=SCHEMAS[name]))
            for name, rows in given.items()
            if rows is not None
        }
        return canonical_tables(_mapping(tables, columns, roles), tables, categories)

    return build


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Ask one question of many shops: it is compiled once a set of tables, and only the rows change."""
    connection = ibis.duckdb.connect()
    compiled: dict[tuple[Any, ...], str] = {}

    def rows_of(
        question: Callable[[CustomerTables], ibis.Table], shop: dict[str, Rows], categories: tuple[str, ...] = ()
    ) -> list[tuple[Any, ...]]:
        tables = {
            name: connection.create_table(name, pa.Table.from_pylist(rows, schema=SCHEMAS[name]), overwrite=True)
            for name, rows in shop.items()
        }
        key = (question, categories, *shop)
        if key not in compiled:
            canonical = canonical_tables(_mapping(tables), tables, categories)
            compiled[key] = ibis.to_sql(question(canonical), dialect="duckdb")
        return sorted(connection.raw_sql(compiled[key]).fetchall())

    return rows_of


@pytest.fixture
def write_project(tmp_path: Path) -> WriteProject:
    def write(text: str) -> Path:
        file = tmp_path / "regulars.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def project_of(write_project: WriteProject) -> LoadTables:
    """Load a project of one name and the given tables."""
    return lambda tables: load_project(write_project(f'[project]\nname = "Corner shop"\n{tables}'))
