"""Writes CDNOW as a business would export it: a table of orders, and the project file beside it.

    python examples/cdnow/prepare.py .demo/cdnow

CDNOW sold music over the internet. The data hold every purchase until June 1998 of the 23,570 customers whose first one
fell into the first quarter of 1997; Fader and Hardie made them public. They lie in the package lifetimes, of which
nothing else is used, and which is never imported.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
DATA = Path("datasets/CDNOW_master.txt")


def installed_data() -> Path:
    """The file inside the installed package."""
    package = find_spec("lifetimes")
    if package is None or not package.submodule_search_locations:
        sys.exit("the package lifetimes is not installed; install '.[demo]', or name the file with --data")
    return Path(package.submodule_search_locations[0]) / DATA


def orders(file: Path) -> pa.Table:
    """Customer, day, number of records and dollars of each line; the file's first line names them."""
    lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()[1:]]
    customers, days, quantities, amounts = zip(*lines, strict=True)
    return pa.table(
        {
            "customer": pa.array(customers),
            "day": pa.array([dt.date(int(day[:4]), int(day[4:6]), int(day[6:])) for day in days]),
            "records": pa.array([int(quantity) for quantity in quantities]),
            "dollars": pa.array([float(amount) for amount in amounts]),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a folder with CDNOW's orders and a project file.")
    parser.add_argument("folder", type=Path, help="the folder to make")
    parser.add_argument("--data", type=Path, help="CDNOW_master.txt (default: that of the package lifetimes)")
    options = parser.parse_args()
    table = orders(options.data or installed_data())
    options.folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, options.folder / "orders.parquet")
    shutil.copy(HERE / "regulars.toml", options.folder)
    print(f"{table.num_rows:,} lines: {options.folder / 'orders.parquet'}")


if __name__ == "__main__":
    main()
