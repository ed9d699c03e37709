"""serve: one model's server. Imports nothing beyond what the serving installation has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.core.server import serve as serve_one
from services.core.service import load_service
from services.core.settings import PREFIX, Settings
from services.core.workers import supervise

if TYPE_CHECKING:
    import argparse


def serve(options: argparse.Namespace) -> int:
    """Settings come from the environment; options win."""
    given = {
        PREFIX + name.upper(): str(value)
        for name in ("bundles", "port", "metrics_port", "workers")
        if (value := getattr(options, name)) is not None
    }
    own_port = {PREFIX + "PORT": str(load_service(options.model).PORT)}
    settings = Settings.from_environment(own_port | os.environ | given)
    if settings.workers > 1:
        supervise(options.model, settings)
    else:
        serve_one(options.model, settings)
    return 0
