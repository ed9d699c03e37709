"""`python -m services.core MODEL`: a server with its settings from the environment, as images and parents start it."""

from __future__ import annotations

import argparse
import sys

from services.core import worker_metrics
from services.core.child import CHILD, end_with_parent
from services.core.settings import Settings, SettingsError


def main() -> None:
    options = _options()
    if options.child:
        end_with_parent()
    if options.place is not None:
        worker_metrics.count_in(options.place)
    # Whose metrics are made on import.
    from services.core.server import serve  # noqa: PLC0415

    try:
        serve(options.model, Settings.from_environment(), once_loaded=options.once_loaded)
    except SettingsError as error:
        sys.exit(str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.core")
    parser.add_argument("model")
    parser.add_argument(CHILD, action="store_true", help="end when the process that started this one does")
    parser.add_argument("--place", type=int, help="the worker's place, by which its metrics are kept")
    parser.add_argument("--once-loaded", action="store_true", help="listen when there is a model, and not before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
