"""What the servicer module of a model provides, and how it is found."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from services.core.answers import ScoreAnswers


class Service(Protocol):
    """The module `services.<model>.servicer`, found by name.

    `SERVICE` is the full name in the proto, `PORT` where it listens unless it is told otherwise. `check` raises
    BundleError on a bundle that the service cannot answer with; so does `Answers`, which is made for each that it can.
    """

    SERVICE: str
    PORT: int

    def check(self, manifest: Manifest) -> None: ...
    def Answers(self, manifest: Manifest) -> ScoreAnswers[Any, Any]: ...  # noqa: N802 - a class of the module


def load_service(model: str) -> Service:
    """The servicer module of a model.

    Raises:
        ModuleNotFoundError: there is no such model.
    """
    service: Service = importlib.import_module(f"services.{model}.servicer")
    return service
