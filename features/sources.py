"""Opens what `source` keys name: files, DuckDB files, database URLs, data files inside installed packages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import ibis
from ibis.common.exceptions import TableNotFound

from features.engine import reason, run
from features.errors import TableError

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

PACKAGE = "package:"
DUCKDB_URL = "duckdb://"
DUCKDB_SUFFIXES = {".duckdb", ".ddb", ".db"}
PARQUET_SUFFIXES = {".parquet", ".pq"}
CSV_SUFFIXES = {".csv", ".tsv"}
PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]*@")


class Sources:
    """The open sources of one project. All files share one in-memory DuckDB, so that they can be joined."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: BaseBackend = ibis.duckdb.connect()
        self._databases: dict[str, BaseBackend] = {}

    def open(self, section: str, source: str, table: str | None) -> ibis.Table:
        """Open one source, lazily: no row is read.

        Args:
            section: the project's section, for error texts, such as `tables.transactions`.
            source: a path relative to the project's folder, a URL, or `package:<package>/<file>`.
            table: the table's name, for databases.

        Raises:
            TableError: nothing is there, it cannot be read, or the database has no such table.
        """
        if "://" in source and not source.startswith(DUCKDB_URL):
            return self._table(section, self._database(section, source), table)
        path = self._path(section, source)
        if path.suffix.lower() in DUCKDB_SUFFIXES:
            return self._attached_table(section, path, table)
        return self._file(section, path)

    def _path(self, section: str, source: str) -> Path:
        if source.startswith(PACKAGE):
            return path_in_package(section, source)
        return self._folder / Path(source.removeprefix(DUCKDB_URL)).expanduser()

    def _file(self, section: str, path: Path) -> ibis.Table:
        pattern = path / "**" / "*.parquet" if path.is_dir() else path
        suffixes = set(pattern.suffixes)
        try:
            if suffixes & PARQUET_SUFFIXES:
                return self._files.read_parquet(str(pattern))
            if suffixes & CSV_SUFFIXES:
                return self._files.read_csv(str(pattern))
        except duckdb.Error as error:
            raise _unreadable(section, str(pattern), error) from error
        known = ", ".join(sorted(PARQUET_SUFFIXES | CSV_SUFFIXES | DUCKDB_SUFFIXES))
        raise TableError(f"{section}.source", f"is {path}, of an unknown kind", f"Give a file of {known}")

    def _attached_table(self, section: str, path: Path, table: str | None) -> ibis.Table:
        if not path.exists():
            raise TableError(f"{section}.source", f"is {path}, which does not exist", "Correct the path")
        try:
            self._files.raw_sql(f"ATTACH IF NOT EXISTS '{_quoted(path)}' AS \"{path}\" (READ_ONLY)")
        except duckdb.Error as error:
            raise _unreadable(section, str(path), error) from error
        return self._table(section, self._files, table, database=(str(path), "main"))

    def _database(self, section: str, url: str) -> BaseBackend:
        if url not in self._databases:
            try:
                self._databases[url] = ibis.connect(url)
            except Exception as error:  # every backend raises the errors of its own driver
                raise _unreadable(section, url, error) from error
        return self._databases[url]

    def _table(
        self, section: str, backend: BaseBackend, table: str | None, database: tuple[str, str] | None = None
    ) -> ibis.Table:
        if not table:
            have = ", ".join(_table_names(backend, database))
            raise TableError(f"{section}.table", "is missing", f"Name one of the database's tables: {have}")
        try:
            return backend.table(table, database=database)
        except TableNotFound:
            have = ", ".join(_table_names(backend, database)) or "none"
            remedy = f"The database's tables are: {have}"
            raise TableError(f"{section}.table", f"is {table!r}, which does not exist", remedy) from None


def path_in_package(section: str, source: str) -> Path:
    """Find a data file without importing its package, which may be slow to import or import plots."""
    package, _, file = source.removeprefix(PACKAGE).partition("/")
    # A name with a dot would import what stands before it.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        problem = f"names the package {package!r}, which is not installed"
        raise TableError(f"{section}.source", problem, "Install it with pip")
    return Path(spec.submodule_search_locations[0]) / file


def _table_names(backend: BaseBackend, database: tuple[str, str] | None) -> list[str]:
    if database is None:
        return sorted(backend.list_tables())
    # Ibis 12 lists an attached DuckDB through a call that DuckDB 2 no longer has.
    tables = backend.table("tables", database="information_schema")
    named = tables.filter(tables.table_catalog == database[0]).select("table_name")
    return sorted(run(named)["table_name"].to_pylist())


def _unreadable(section: str, source: str, error: Exception) -> TableError:
    problem = PASSWORD.sub(r"\1:***@", f"cannot be opened: {source}: {reason(error)}")
    return TableError(f"{section}.source", problem, "Correct the source")


def _quoted(value: object) -> str:
    return str(value).replace("'", "''")
