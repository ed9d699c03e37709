"""serve: one model's server. Imports nothing beyond what the serving installation has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.core.server import load_service
from services.core.server import serve as serve_one
from services.core.settings import Settings
from services.core.workers import supervise

if TYPE_CHECKING:
    import argparse


def serve(options: argparse.Namespace) -> int:
    """Settings come from the environment; options win."""
    settings = Settings.from_environment()
    given = {
        name: value
        for name in ("bundles", "port", "metrics_port", "workers")
        if (value := getattr(options, name)) is not None
    }
    settings = replace(settings, **given)
    if not settings.port and options.port is None:
        settings = replace(settings, port=load_service(options.model).PORT)
    if settings.workers > 1:
        supervise(options.model, settings)
    else:
        serve_one(options.model, settings)
    return 0
