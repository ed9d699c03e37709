"""What jobs publish as Prometheus metrics: pushed to a Pushgateway, or written for node_exporter's textfile collector.

Jobs come and go, so nothing can be scraped from them. A push replaces the whole group of its job and what it is
grouped by; there is no `instance`, so that a job that moves to another machine replaces its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway, write_to_textfile

from model_registry.mlflow_registry import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prometheus_client.registry import Collector

TIMEOUT_SECONDS = 10
SUFFIX = ".prom"
"""The textfile collector reads no other files."""


class PublishingError(Exception):
    """What a job came to cannot be published. Says why, and what to do."""


def push(metrics: Collector, gateway: str, job: str, grouping: Mapping[str, str]) -> None:
    """Replaces what the gateway holds of the job and the labels that it is grouped by.

    Raises:
        PublishingError: the gateway cannot be reached or refuses.
    """
    with _explained(gateway):
        push_to_gateway(gateway, job, _registry(metrics), dict(grouping), TIMEOUT_SECONDS)


def retire(gateway: str, job: str, grouping: Mapping[str, str]) -> None:
    """Deletes what the gateway holds of them: a gateway never forgets by itself.

    Raises:
        PublishingError: the gateway cannot be reached or refuses.
    """
    with _explained(gateway):
        delete_from_gateway(gateway, job, dict(grouping), TIMEOUT_SECONDS)


def write_textfile(metrics: Collector, path: Path) -> None:
    """Writes the metrics for node_exporter; the file appears whole or not at all.

    Raises:
        PublishingError: the collector would not read a file of that name.
        OSError: the file cannot be written.
    """
    require_collected(path)
    write_to_textfile(str(path), _registry(metrics))


def require_collected(path: Path) -> None:
    """For a job to ask before it begins.

    Raises:
        PublishingError: the collector would not read a file of that name.
    """
    if path.suffix != SUFFIX:
        raise PublishingError(f"{path} would not be collected: give the text file a name that ends in {SUFFIX}")


def _registry(metrics: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry


@contextmanager
def _explained(gateway: str) -> Iterator[None]:
    name = without_password(gateway)
    try:
        yield
    except OSError as error:
        raise PublishingError(
            f"cannot reach the Pushgateway {name}: {error}; nothing else is undone. See that one listens there"
        ) from error
    except (HTTPException, ValueError) as error:
        # Their texts quote what they took for a port, which may be a password.
        raise PublishingError(
            f"{name} is no address of a Pushgateway; give one such as http://127.0.0.1:9091"
        ) from error
