"""Runs queries. An engine meets the rows only here, so here it finds those that it cannot read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ibis.common.exceptions import IbisError

from features.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis
    import pyarrow as pa

REMEDY = "Correct that row, or cast the column in a view or a Parquet file"
REMEDY_OF_COPIES = (
    "If it is for want of a right, give the user that to make temporary tables, or raise training.most_customers above "
    "the number of customers"
)


def run(rows: ibis.Table) -> pa.Table:
    """The rows of a query.

    Raises:
        TableError: the engine cannot read a table; every engine has errors of its own for that.
    """
    with _told("cannot be read", REMEDY):
        return rows.to_pyarrow()


def keep(rows: ibis.Table) -> ibis.Table:
    """The same rows, worked out once: the engine holds them for as long as somebody holds the table.

    Raises:
        TableError: it cannot hold them.
    """
    with _told("cannot be copied", REMEDY_OF_COPIES):
        return rows.cache()


@contextmanager
def _told(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except IbisError:
        # A query that cannot be put is our mistake.
        raise
    except Exception as error:
        raise TableError("tables", f"{what}: {reason(error)}", remedy) from error


def reason(error: Exception) -> str:
    """What an engine says, without the line that it stumbled over, its options and its query."""
    lines = [line.strip() for line in str(error).splitlines()]
    end = next((at for at, line in enumerate(lines) if not line or line.startswith("Possible ")), len(lines))
    told = [line for line in lines[:end] if not line.startswith("Original Line:")]
    told += [line for line in lines[end:] if line.startswith("file = ")]
    return "; ".join(told) or type(error).__name__
