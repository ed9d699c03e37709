"""A server of any model over one of the samples, and all that its answers are held against."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from model_registry.bundle import read_bundle
from model_registry.release import bundle_folder
from model_registry.servable import Servable
from services.client import AnyClient, load_client
from tests.support.bundles import SAMPLES
from tests.support.server import ServerProcess, running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Served(NamedTuple):
    """A model's server, its client, and the bundle that it serves."""

    model: str
    server: ServerProcess
    client: AnyClient
    servable: Servable


@contextmanager
def serving(model: str, bundles: Path) -> Iterator[Served]:
    """Releases the model's sample as version 7 in `bundles`, and serves it."""
    release = SAMPLES[model].release(bundles, "7")
    servable = Servable(read_bundle(bundle_folder(bundles, model, release.digest)))
    with (
        running(bundles, command=server_of(model)) as server,
        load_client(model)(f"127.0.0.1:{server.port}") as client,
    ):
        yield Served(model, server, client, servable)
