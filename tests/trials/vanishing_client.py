"""A process with streams through the suite's own client, tables going to and fro, until it is killed or frozen.

python -m tests.trials.vanishing_client PORT STREAMS        says "streaming" once every stream has been answered
"""

from __future__ import annotations

import itertools
import sys
import threading

from services.client import ChurnClient
from tests.support.calls import table_of
from tests.trials.requests import customers


def main() -> None:
    port, streams = int(sys.argv[1]), int(sys.argv[2])
    answered = threading.Barrier(streams + 1)
    for _ in range(streams):
        threading.Thread(target=_stream, args=(port, answered), daemon=True).start()
    answered.wait()
    print("streaming", flush=True)  # noqa: T201 - what it is for
    threading.Event().wait()


def _stream(port: int, answered: threading.Barrier) -> None:
    table = table_of(customers(200))
    with ChurnClient(f"127.0.0.1:{port}") as client:
        answers = client.stream_predict(table for _ in itertools.count())
        next(answers)
        answered.wait()
        for _ in answers:
            pass


if __name__ == "__main__":
    main()
