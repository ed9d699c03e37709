"""Which exceptions are answers for the user rather than bugs: their text says what to do."""

from __future__ import annotations

import sys

# By name, so that reporting an error imports nothing: a module that raised is loaded already.
_EXPECTED = (
    ("features.errors", "FeaturesError"),
    ("training.core.errors", "TrainingError"),
    ("model_registry.registry", "RegistryError"),
    ("model_registry.gates", "OverrideError"),
    ("model_registry.bundle", "BundleError"),
    ("model_registry.publishing", "PublishingError"),
    ("model_registry.frame", "FrameError"),
    ("model_registry.servable", "ScoringError"),
    ("services.core.settings", "SettingsError"),
    ("services.client.errors", "CallError"),
    ("services.client.security", "SecurityError"),
    ("services.batch.errors", "BatchError"),
    ("audits.errors", "AuditError"),
)


class CommandError(Exception):
    """A command that cannot do what it was asked. Says what to do."""


def expected_errors() -> tuple[type[Exception], ...]:
    """The expected exceptions of every module loaded so far, and what the file system says."""
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in _EXPECTED)
    return (OSError, *(error for error in loaded if error is not None))
