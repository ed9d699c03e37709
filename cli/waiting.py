"""Waits until servers serve a version. Their own metrics say which one they serve, and nothing else counts."""

from __future__ import annotations

import time
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from cli.errors import CommandError
from model_registry.release import SHOWN_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_registry.registry import RegisteredVersion

MODEL_INFO = "regulars_model_info"

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 2.0


def metrics_pages(text: str) -> tuple[str, ...]:
    """The pages of a list such as `10.0.0.7:51051,http://10.0.0.8:51051/metrics`.

    Raises:
        CommandError: one of them is no place to look for metrics.
    """
    return tuple(_page(part.strip()) for part in text.split(",") if part.strip())


def wait_until_served(
    version: RegisteredVersion, pages: Sequence[str], seconds: float, say: Callable[[str], None]
) -> dict[str, str]:
    """Looks at the pages until each server serves the version, and it alone, for at most `seconds`.

    A server of several processes serves it when the last of them does.

    Returns:
        What is the matter with those that do not, by page; empty if all do.
    """
    deadline = time.monotonic() + seconds
    told: dict[str, str] = {}
    while True:
        states = {page: _state(page, version) for page in pages}
        for page, state in states.items():
            if told.get(page) != state:
                say(f"{page} {state}")
        told = states
        lacking = {page: state for page, state in states.items() if state != _wanted(version)}
        if not lacking or time.monotonic() > deadline:
            return lacking
        time.sleep(LOOK_SECONDS)


def _page(address: str) -> str:
    page = address if "://" in address else f"http://{address}"
    scheme, _, rest = page.partition("://")
    if scheme not in {"http", "https"} or not rest:
        raise CommandError(f"{address} is no metrics page; give HOST:PORT or http://HOST:PORT/metrics")
    return page if "/" in rest else f"{page}/metrics"


def _wanted(version: RegisteredVersion) -> str:
    return f"serves version {version.version}"


def _state(page: str, version: RegisteredVersion) -> str:
    """What the server serves of the model, in words."""
    try:
        with urllib.request.urlopen(page, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http alone, see _page
            served = _served(answer.read().decode(), version.name)
    except (OSError, HTTPException) as error:
        return f"does not answer ({_why(error)})"
    except ValueError:
        return "is no metrics page"
    if not served:
        return f"serves no {version.name} yet"
    if served == {(version.version, version.digest[:SHOWN_DIGITS])}:
        return _wanted(version)
    others = sorted(number for number, digest in served if number != version.version)
    return f"serves version {' and '.join(others)}" if others else f"serves another bundle as version {version.version}"


def _why(error: Exception) -> str:
    """What urllib has wrapped, without the wrapping."""
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason)


def _served(metrics: str, model: str) -> set[tuple[str, str]]:
    """Version and digest of what is served of the model."""
    return {
        (sample.labels["version"], sample.labels["digest"])
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == MODEL_INFO and sample.labels.get("model") == model and sample.value == 1
    }
