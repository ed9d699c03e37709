"""Structured logs: one JSON object a line on standard error, with no customer id and no feature value."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from services.core.tracing import current_trace


class JsonFormatter(logging.Formatter):
    """Writes the message as `event` and whatever was given as `extra={"fields": {...}}` beside it.

    Within a call that is traced, `trace_id` and `span_id` too.
    """

    def format(self, record: logging.LogRecord) -> str:
        trace = current_trace()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **(trace.ids if trace else {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            # Places only: an exception's text may quote what a caller sent.
            line["trace"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line)


def configure(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
