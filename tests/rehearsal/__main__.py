"""The dress rehearsal: the whole suite, put together of real parts, watched through one act after another.

./dev e2e [--keep]

PostgreSQL, MLflow, trained models, followers, servers, callers, and a Prometheus with the suite's own alerts, sixty
times as fast. Exit status 0 means that everything was seen that should be, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.rehearsal.acts import ACTS
from tests.rehearsal.play import play, table, unrehearsed
from tests.rehearsal.stage import alerts, stage, train_and_promote, workshop

if TYPE_CHECKING:
    from tests.rehearsal.play import Row
    from tests.rehearsal.stage import Say, Stage

INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MARK = "REHEARSAL"
"""The variable that says which rehearsal a process belongs to."""


def main() -> int:
    """0 if all was as expected, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser("./dev e2e", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
    options = parser.parse_args()
    for number in ENDING:
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="regulars-rehearsal-"))
    os.environ[MARK] = str(folder)
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {text}", flush=True)  # noqa: T201 - a command's progress

    status = 1
    try:
        status = _rehearse(folder, say, keep=options.keep)
    except KeyboardInterrupt:
        say("interrupted")
        status = INTERRUPTED
    except Exception:  # noqa: BLE001 - told in full; the status says the rest
        traceback.print_exc()
    finally:
        if status == 1 or options.keep:
            say(f"logs, rules and figures are in {folder}")
        else:
            shutil.rmtree(folder)
    left = _end_the_rest(folder)
    say(f"processes that had to be killed at the end: {left}" if left else "no process is left behind")
    return 1 if left else status


def _interrupt(*_: object) -> None:
    """The first of them ends all in order, and others must not end that."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_the_rest(folder: Path) -> list[str]:
    """Kills what nobody has ended, however it was started, and names it."""
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    left = [process for process in others if _mark_of(process) == str(folder)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return [str(process) for process in left]


def _mark_of(process: psutil.Process) -> str:
    """What all that the rehearsal has started inherits; nothing of what has ended or is another user's."""
    try:
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""


def _rehearse(folder: Path, say: Say, *, keep: bool) -> int:
    with workshop(folder, say) as (shop, mlflow):
        train_and_promote(shop, say)
        with stage(shop, mlflow, say) as everything:
            rows = play(ACTS, everything, say)
            _tell(rows, say)
            silent = ", ".join(unrehearsed(alerts(), ACTS))
            say(f"alerts that no act sets off, and of which no more is known than that they were silent: {silent}")
            if keep:
                _hold(everything, say)
            say("ending all of it")
    return 0 if all(row.passed for row in rows) else 1


def _tell(rows: list[Row], say: Say) -> None:
    missed = [row for row in rows if not row.passed]
    say(f"what was seen, by act\n{table(rows)}\n")
    for row in missed:
        say(f"MISS {row.act}: {row.what}: expected {row.expected}, seen {row.seen}")
    say(f"{len(rows) - len(missed)} of {len(rows)} as expected")


def _hold(everything: Stage, say: Say) -> None:
    say(f"Prometheus {everything.watch.prometheus.url}")
    say(f"Pushgateway {everything.gateway}")
    say(f"MLflow {everything.workshop.uri}")
    for model, server in everything.servers.items():
        say(f"{model} {server.target}, its metrics http://{server.metrics}/metrics")
    say("Ctrl-C ends it")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
