"""A business's tables under canonical names, as Ibis expressions on one backend.

| table | columns; those in brackets exist where they are mapped |
|---|---|
| transactions | customer, time, amount, refund, (order, quantity, product, category, channel, discount) |
| customers | customer, (signed_up, consent, churned), attributes and sensitive columns by their own names |
| events | customer, time, (kind) |
| subscriptions | customer, start, end |
| responses | customer, time |

Money is decimal, `refund` marks lines that give money back, times are naive, and every row has its customer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import ibis

from features.columns import MONEY, Columns
from features.engine import keep
from features.errors import TableError
from features.forgotten import read_forgotten
from features.lines import counted_once, require_past
from features.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from features.project import Project, Tables
    from features.sections import Customers, Events, Products, Responses, Subscriptions, Transactions

RESERVED = ("customer", "customer_id", "customer_right", "signed_up", "consent", "churned")


@dataclass(frozen=True)
class CustomerTables:
    """The canonical tables, None where one is not mapped. `categories` are those that propensity asks for."""

    transactions: ibis.Table | None = None
    customers: ibis.Table | None = None
    events: ibis.Table | None = None
    subscriptions: ibis.Table | None = None
    responses: ibis.Table | None = None
    attributes: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def answered(self) -> ibis.Table | None:
        """The customers table, where it says who left; churn then has no time axis."""
        return self.customers if self.customers is not None and "churned" in self.customers.columns else None

    @property
    def has_time_axis(self) -> bool:
        """Whether the label has a date, so that snapshots of several dates can be told apart."""
        return self.answered is None


def open_tables(project: Project) -> CustomerTables:
    """Open every table a project maps, without the customers who are forgotten.

    Only checks read rows; the tables themselves stay lazy.

    Raises:
        TableError: a source, table or column that is not there or not usable, naming its key.
    """
    sources = Sources(project.folder)
    mapped = {name.name: getattr(project.tables, name.name) for name in fields(project.tables)}
    opened = {
        name: sources.open(f"tables.{name}", section.source, section.table)
        for name, section in mapped.items()
        if section
    }
    tables = canonical_tables(project.tables, opened, project.propensity.categories)
    return without(tables, read_forgotten(project.privacy.forgotten))


def without(tables: CustomerTables, forgotten: frozenset[str]) -> CustomerTables:
    """The tables without these customers; ids count as snapshots write them, as text."""
    if not forgotten:
        return tables
    # A table, not a condition: engines take seconds to read a condition of a thousand values.
    gone = ibis.memtable({"gone": sorted(forgotten)}, schema={"gone": "string"})
    return _each(tables, lambda table: table.anti_join(gone, table.customer.cast("string") == gone.gone))


def only(tables: CustomerTables, customers: pa.Table) -> CustomerTables:
    """The rows of these customers, copied within the engine, so that what is asked of them reads nobody else's.

    Args:
        tables: the canonical tables.
        customers: `customer`, each once, of the type that the tables have.

    Raises:
        TableError: a table cannot be read.
    """
    chosen = ibis.memtable(customers)
    return _each(tables, lambda table: keep(table.semi_join(chosen, "customer")))


def _each(tables: CustomerTables, change: Callable[[ibis.Table], ibis.Table]) -> CustomerTables:
    """The tables with every one that is mapped changed."""
    found = {name.name: getattr(tables, name.name) for name in fields(tables)}
    return replace(tables, **{name: change(table) for name, table in found.items() if isinstance(table, ibis.Table)})


def canonical_tables(
    mapping: Tables, tables: Mapping[str, ibis.Table], categories: tuple[str, ...] = ()
) -> CustomerTables:
    """Bring tables that are already open, on any one Ibis backend, under canonical names.

    Args:
        mapping: which column means what; `source` and `table` are not looked at.
        tables: the mapped tables by section: transactions, products, customers, events, subscriptions,
            responses.
        categories: those that propensity asks for.

    Raises:
        TableError: a column that is not there or not usable, lines that would count wrongly, or tables on several
            backends.
    """
    _require_one_backend(tables)
    read = {name: Columns(table, f"tables.{name}") for name, table in tables.items()}
    products = _products(mapping.products, read["products"]) if mapping.products else None
    customers = mapping.customers
    return _with_one_identity(
        CustomerTables(
            transactions=mapping.transactions and _transactions(mapping.transactions, read["transactions"], products),
            customers=customers and _customers(customers, read["customers"]),
            events=mapping.events and _events(mapping.events, read["events"]),
            subscriptions=mapping.subscriptions and _subscriptions(mapping.subscriptions, read["subscriptions"]),
            responses=mapping.responses and _responses(mapping.responses, read["responses"]),
            attributes=customers.attributes if customers else (),
            sensitive=customers.sensitive if customers else (),
            categories=categories,
        )
    )


def _transactions(mapped: Transactions, columns: Columns, products: ibis.Table | None) -> ibis.Table:
    amount = columns.money("amount", mapped.amount)
    refund = (amount < 0).fill_null(False)
    if mapped.refund:
        marked = columns.flag("refund", mapped.refund).fill_null(False)
        amount = ibis.ifelse(marked, -amount.abs(), amount).cast(MONEY)
        refund = marked | refund
    canonical = {
        "customer": columns.identity("customer", mapped.customer),
        "time": columns.moment("time", mapped.time),
        "amount": amount,
        "refund": refund,
    }
    if mapped.order:
        canonical["order"] = columns.column("order", mapped.order)
    if mapped.quantity:
        canonical["quantity"] = columns.number("quantity", mapped.quantity)
    if mapped.product:
        canonical["product"] = columns.column("product", mapped.product)
    if mapped.category:
        canonical["category"] = columns.text("category", mapped.category)
    if mapped.channel:
        canonical["channel"] = columns.text("channel", mapped.channel)
    if mapped.discount:
        parts = [columns.money("discount", name).abs().fill_null(0) for name in mapped.discount]
        canonical["discount"] = sum(parts[1:], start=parts[0]).cast(MONEY)
    lines = _present(columns.table.select(**canonical), "customer", "time")
    require_past(lines)
    source = columns.table.filter(canonical["customer"].notnull(), canonical["time"].notnull())
    lines = counted_once(lines, source, mapped.duplicates)
    return lines if products is None or mapped.category else _with_category(lines, products)


def _with_category(lines: ibis.Table, products: ibis.Table) -> ibis.Table:
    if lines.product.type() != products.product.type():
        lines = lines.mutate(product=lines.product.cast("string"))
        products = products.mutate(product=products.product.cast("string"))
    return lines.left_join(products, "product").drop("product_right")


def _products(mapped: Products, columns: Columns) -> ibis.Table:
    columns.require_unique("product", mapped.product)
    return columns.table.select(
        product=columns.column("product", mapped.product),
        category=columns.text("category", mapped.category),
    )


def _customers(mapped: Customers, columns: Columns) -> ibis.Table:
    columns.require_unique("customer", mapped.customer)
    canonical = {"customer": columns.identity("customer", mapped.customer)}
    if mapped.signed_up:
        canonical["signed_up"] = columns.moment("signed_up", mapped.signed_up)
    if mapped.consent:
        canonical["consent"] = columns.flag("consent", mapped.consent)
    if mapped.churned:
        canonical["churned"] = columns.flag("churned", mapped.churned)
    for key in ("attributes", "sensitive"):
        for name in getattr(mapped, key):
            if name.lower() in RESERVED:
                raise TableError(f"tables.customers.{key}", f"lists {name!r}, a name of ours", "Rename that column")
    canonical |= {name: columns.attribute(name) for name in mapped.attributes}
    canonical |= {name: columns.column("sensitive", name) for name in mapped.sensitive}
    return _present(columns.table.select(**canonical), "customer")


def _events(mapped: Events, columns: Columns) -> ibis.Table:
    canonical = {
        "customer": columns.identity("customer", mapped.customer),
        "time": columns.moment("time", mapped.time),
    }
    if mapped.kind:
        canonical["kind"] = columns.text("kind", mapped.kind)
    return _present(columns.table.select(**canonical), "customer", "time")


def _subscriptions(mapped: Subscriptions, columns: Columns) -> ibis.Table:
    canonical = columns.table.select(
        customer=columns.identity("customer", mapped.customer),
        start=columns.moment("start", mapped.start),
        end=columns.moment("end", mapped.end),
    )
    return _present(canonical, "customer", "start")


def _responses(mapped: Responses, columns: Columns) -> ibis.Table:
    canonical = columns.table.select(
        customer=columns.identity("customer", mapped.customer), time=columns.moment("time", mapped.time)
    )
    return _present(canonical, "customer", "time")


def _present(table: ibis.Table, *names: str) -> ibis.Table:
    """Rows that say whose they are and when they happened; guests and undated lines tell nothing of a customer."""
    return table.filter([table[name].notnull() for name in names])


def _with_one_identity(tables: CustomerTables) -> CustomerTables:
    """Ids that are numbers in one table and texts in another are read as texts in all."""
    found = {name.name: getattr(tables, name.name) for name in fields(tables)}
    keyed = {name: table for name, table in found.items() if isinstance(table, ibis.Table)}
    if len({table.customer.type().is_string() for table in keyed.values()}) <= 1:
        return tables
    as_text = {name: table.mutate(customer=table.customer.cast("string")) for name, table in keyed.items()}
    return replace(tables, **as_text)


def _require_one_backend(tables: Mapping[str, ibis.Table]) -> None:
    home: dict[int, list[str]] = {}
    for name, table in tables.items():
        home.setdefault(id(table.get_backend()), []).append(f"tables.{name}")
    if len(home) > 1:
        places = " | ".join(", ".join(names) for names in home.values())
        problem = f"live in {len(home)} places that cannot be joined ({places})"
        raise TableError("tables", problem, "Copy them into one database, or export all to files")
