"""Runs the trials, and writes their figures into `docs/reliability.md`.

./dev trial [NAME …] [--quick] [--with FIELD=NUMBER …]
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from tests.support.server import REPOSITORY
from tests.trials import page
from tests.trials.harness import Result
from tests.trials.servers import leave_the_servers_core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.trials.harness import Trial

TRIALS = (
    *("fuzz", "overload", "flips", "drain", "kills"),
    *("vanish", "memory", "isolation", "clock", "bulk"),
)
KEPT = REPOSITORY / ".trials"
"""What the last run of each trial left behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every bar was reached, 1 if not."""
    options = _parse(arguments)
    # As an exception, so that no server outlives its trial.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    leave_the_servers_core()
    passed, busy = True, os.getloadavg()[0]
    for name in options.names:
        results, seconds = _run(name, options)
        print(page.table(name, results, seconds))  # noqa: T201 - a command's output
        # What takes a moment says nothing of times.
        passed &= all(result.passed for result in results if not (options.quick and result.timed))
        if not options.quick:
            page.write(name, results, page.how(_command(name, options), seconds, busy))
    return 0 if passed else 1


def _run(name: str, options: argparse.Namespace) -> tuple[list[Result], float]:
    trial = _trial(name)
    size = trial.QUICK if options.quick else trial.FULL
    changes = dict(options.changes)
    size = replace(size, **{field.name: changes[field.name] for field in fields(size) if field.name in changes})
    folder = KEPT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{name}: {size}", file=sys.stderr, flush=True)  # noqa: T201 - a command's progress
    began = time.perf_counter()
    try:
        results = trial.run(size, folder)
    except Exception as error:  # noqa: BLE001 - the other trials are still to run
        traceback.print_exc()
        results = [Result("the trial came to its end", 0, "", ">= 1", passed=False, note=type(error).__name__)]
    return results, time.perf_counter() - began


def _trial(name: str) -> Trial:
    trial: Trial = importlib.import_module(f"tests.trials.{name}")
    return trial


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("./dev trial", description="Trials of reliability on real server processes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them by default: {', '.join(TRIALS)}")
    parser.add_argument("--quick", action="store_true", help="small enough for a test; writes no figures down")
    parser.add_argument(
        *("--with",),
        dest="changes",
        metavar="FIELD=NUMBER",
        type=_change,
        action="append",
        default=[],
        help="another size, e.g. requests=100000",
    )
    options = parser.parse_args(arguments)
    options.names = options.names or list(TRIALS)
    for name in options.names:
        if name not in TRIALS:
            parser.error(f"there is no trial {name}; there are {', '.join(TRIALS)}")
    known = {field.name for name in options.names for field in fields(_trial(name).FULL)}
    for field, _ in options.changes:
        if field not in known:
            parser.error(f"none of these trials has a size named {field}; there are {', '.join(sorted(known))}")
    return options


def _change(text: str) -> tuple[str, Any]:
    name, _, number = text.partition("=")
    return name, float(number) if "." in number else int(number)


def _command(name: str, options: argparse.Namespace) -> str:
    return " ".join(["./dev trial", name, *(f"--with {field}={number}" for field, number in options.changes)])


if __name__ == "__main__":
    sys.exit(main())
