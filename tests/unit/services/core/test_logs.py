from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from services.core import logs
from services.core.tracing import handle_with

if TYPE_CHECKING:
    from services.core.tracing import CallTrace


def record(*, fields: dict[str, object] | None = None, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("services.core.x", logging.WARNING, "x.py", 1, "model %s", ("churn",), info)
    if fields:
        made.fields = fields
    return made


def test_a_line_is_one_json_object_with_its_fields_beside_the_event() -> None:
    text = logs.JsonFormatter().format(record(fields={"version": "7", "text": "two\nlines"}))
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "services.core.x",
        "event": "model churn",
        "version": "7",
        "text": "two\nlines",
    }


class Traced(NamedTuple):
    """A call's trace, as far as logs see it."""

    ids: dict[str, str]


def test_a_line_within_a_traced_call_bears_its_ids() -> None:
    ids = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    handle_with(cast("CallTrace", Traced(ids)))
    try:
        within = json.loads(logs.JsonFormatter().format(record()))
    finally:
        handle_with(None)
    after = json.loads(logs.JsonFormatter().format(record()))
    assert within == {**after, **ids, "time": within["time"]}
    assert after.keys().isdisjoint(ids)


def raised() -> ValueError:
    with pytest.raises(ValueError, match="outer secret") as failure:
        int("outer secret")
    failure.value.__cause__ = KeyError("inner secret")
    failure.value.add_note("noted secret")
    return failure.value


def test_an_exception_is_logged_by_type_and_place_never_by_its_text() -> None:
    text = logs.JsonFormatter().format(record(error=raised()))
    line = json.loads(text)
    assert line["exception"] == "ValueError"
    assert line["trace"][-1].endswith(" raised")
    assert "secret" not in text


def test_configured_loggers_write_json_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO")
    logging.getLogger("some.library").info("hello")
    logging.getLogger("some.library").debug("unheard")
    sys.stderr.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "hello"
