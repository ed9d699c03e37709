"""`regulars.toml`: a business described once, parsed into frozen dataclasses.

Nothing heavy is imported, so that `regulars --help` stays quick.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from features.errors import ProjectError
from features.keys import read_section, reference_rows, unknown_key
from features.sections import (
    Audits,
    Business,
    Churn,
    Cltv,
    Customers,
    Events,
    Privacy,
    Products,
    Promotion,
    Propensity,
    Registry,
    Responses,
    Subscriptions,
    Training,
    Transactions,
    Waiver,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Project", "ProjectError", "load_project", "project_reference"]

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
SQLITE_FILE = "sqlite:///"
TABLE_SECTIONS: dict[str, type] = {
    "transactions": Transactions,
    "products": Products,
    "customers": Customers,
    "events": Events,
    "subscriptions": Subscriptions,
    "responses": Responses,
}
TOP_SECTIONS: dict[str, type] = {
    "project": Business,
    "churn": Churn,
    "propensity": Propensity,
    "cltv": Cltv,
    "training": Training,
    "registry": Registry,
    "promotion": Promotion,
    "privacy": Privacy,
    "audits": Audits,
}
WAIVERS = "waivers"
"""The one key that is a list of sections: `[[audits.waivers]]`."""


@dataclass(frozen=True)
class Tables:
    """Where the tables are, and which column means what; None where a table is not mapped."""

    transactions: Transactions | None = None
    products: Products | None = None
    customers: Customers | None = None
    events: Events | None = None
    subscriptions: Subscriptions | None = None
    responses: Responses | None = None


@dataclass(frozen=True)
class Project:
    """A project file, read. Paths are absolute; sources stay as written and resolve against `folder`."""

    file: Path
    name: str
    currency: str
    tables: Tables
    churn: Churn
    propensity: Propensity
    cltv: Cltv
    training: Training
    registry: Registry
    promotion: Promotion
    privacy: Privacy
    audits: Audits
    waivers: tuple[Waiver, ...]

    @property
    def folder(self) -> Path:
        """The project file's folder, absolute."""
        return self.file.parent

    @property
    def has_time_axis(self) -> bool:
        """False where churn is a column of the customers table: nothing then says when a customer left."""
        return not (self.tables.customers and self.tables.customers.churned)


def load_project(path: Path) -> Project:
    """Read and check a project file. The tables themselves are not opened.

    Raises:
        ProjectError: the file, the dotted key, the problem and the remedy.
    """
    file = path.resolve()
    content = _parse(file)
    _check_names(content, valid=["tables", *TOP_SECTIONS], within="", file=file)
    waivers = _waivers(content.get("audits"), file)
    sections: dict[str, Any] = {
        name: read_section(section, content.get(name, {}), name=name, file=file)
        for name, section in TOP_SECTIONS.items()
    }
    business: Business = sections.pop("project")
    registry: Registry = sections.pop("registry")
    privacy: Privacy = sections.pop("privacy")
    project = Project(
        file=file,
        name=business.name,
        currency=business.currency,
        tables=_tables(content.get("tables", {}), file),
        registry=_placed(registry, file, written="tracking_uri" in content.get("registry", {})),
        privacy=replace(privacy, forgotten=file.parent / privacy.forgotten),
        waivers=waivers,
        **sections,
    )
    _check_tables(project)
    return project


def project_reference() -> str:
    """Every key of a project file as a markdown table."""
    tables = {f"tables.{name}": section for name, section in TABLE_SECTIONS.items()}
    sections = {"project": Business} | tables | TOP_SECTIONS | {f"audits.{WAIVERS}": Waiver}
    rows = [row for name, section in sections.items() for row in reference_rows(section, name=name)]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(file, "the file", "does not exist", "Create it, or give another path") from None
    except OSError as error:
        raise ProjectError(file, "the file", f"cannot be read: {error.strerror}", "Give a file") from None
    except ValueError as error:  # TOML's and UTF-8's decoding errors alike
        raise ProjectError(file, "the file", f"is not TOML: {error}", "Correct that line") from None


def _tables(values: object, file: Path) -> Tables:
    if not isinstance(values, dict):
        raise ProjectError(file, "tables", "is a value where a table is expected", "Write [tables.transactions]")
    _check_names(values, valid=list(TABLE_SECTIONS), within="tables", file=file)
    return Tables(
        **{
            name: read_section(TABLE_SECTIONS[name], section, name=f"tables.{name}", file=file)
            for name, section in values.items()
        }
    )


def _waivers(audits: object, file: Path) -> tuple[Waiver, ...]:
    """Takes the waivers out of the section, which then holds keys alone."""
    written = audits.pop(WAIVERS, []) if isinstance(audits, dict) else []
    name = f"audits.{WAIVERS}"
    if not isinstance(written, list):
        raise ProjectError(file, name, "is a value where a list of tables is expected", f"Write it as [[{name}]]")
    return tuple(read_section(Waiver, waiver, name=name, file=file) for waiver in written)


def _placed(registry: Registry, file: Path, *, written: bool) -> Registry:
    """Relative places become absolute, so that a job started elsewhere finds the same registry."""
    uri = registry.tracking_uri if written else os.environ.get(TRACKING_VARIABLE) or registry.tracking_uri
    if uri.startswith(SQLITE_FILE):
        uri = f"{SQLITE_FILE}{file.parent / uri.removeprefix(SQLITE_FILE)}"
    return replace(registry, tracking_uri=uri, bundles=file.parent / registry.bundles)


def _check_names(given: Iterable[str], *, valid: list[str], within: str, file: Path) -> None:
    for name in given:
        if name not in valid:
            raise unknown_key(file, name, within=within, valid=valid)


def _check_tables(project: Project) -> None:
    tables = project.tables
    if tables.customers:
        _check_inputs(tables.customers, project.file)
    if not tables.transactions and project.has_time_axis:
        raise ProjectError(
            project.file,
            "tables.transactions",
            "is missing",
            "Map it, or map tables.customers.churned, which is the only label that needs no transactions",
        )
    if tables.subscriptions and not project.has_time_axis:
        raise ProjectError(
            project.file,
            "tables.subscriptions",
            "says when customers leave, and so does tables.customers.churned",
            "Keep one of the two; subscriptions carry dates and are the better label",
        )
    _check_categories(project)
    if tables.products and not (tables.transactions and tables.transactions.product):
        raise ProjectError(
            project.file,
            "tables.products",
            "cannot be joined: tables.transactions.product is not mapped",
            "Map it, or remove [tables.products]",
        )


def _check_categories(project: Project) -> None:
    categories, transactions = project.propensity.categories, project.tables.transactions
    if categories and not project.tables.products and not (transactions and transactions.category):
        raise ProjectError(
            project.file,
            "propensity.categories",
            "names categories, and no table says what category a product is of",
            "Map tables.transactions.category or tables.products, or remove the key",
        )
    for one, other in combinations(categories, 2):
        # They become columns, which engines do not tell apart by case.
        if one.lower() == other.lower():
            problem = f"lists {one!r} and {other!r}, which are the same but for capitals"
            raise ProjectError(project.file, "propensity.categories", problem, "Keep one, and write it so in the table")


def _check_inputs(customers: Customers, file: Path) -> None:
    """A model's inputs never hold who a customer is, what audits compare, or the answer."""
    taken = dict.fromkeys(customers.sensitive, "sensitive")
    for role in ("customer", "signed_up", "consent", "churned"):
        taken[getattr(customers, role)] = role
    for name in customers.attributes:
        if customers.attributes.count(name) > 1:
            raise ProjectError(file, "tables.customers.attributes", f"lists {name!r} twice", "Remove one")
        if name in taken:
            raise ProjectError(
                file,
                "tables.customers.attributes",
                f"lists {name!r}, which is mapped as {taken[name]} too",
                f"Remove it from attributes or from {taken[name]}; a model's input is never both",
            )
