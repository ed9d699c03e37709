"""The metrics page of what follows the registry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cli.errors import CommandError
from model_registry.sync_metrics import SyncMetrics

if TYPE_CHECKING:
    from model_registry.sync_metrics import Following

_log = logging.getLogger(__name__)


def show_metrics(host: str, port: int, *followings: Following) -> None:
    """Serves their page from now on; port 0 picks a free one, and the log says which.

    Raises:
        CommandError: nobody can listen there.
    """
    try:
        bound = SyncMetrics(*followings).show(host, port)
    except OSError as error:
        remedy = "name another port, or 0 for a free one"
        raise CommandError(f"/metrics cannot listen on {host} port {port} ({error.strerror}); {remedy}") from error
    _log.info("metrics of sync", extra={"fields": {"host": host, "metrics_port": bound}})
