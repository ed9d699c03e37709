"""Why a run cannot begin, or ends before its end. Each says what to do."""

from __future__ import annotations


class BatchError(Exception):
    """A run that cannot go on; what it has written stays."""


class InputError(BatchError):
    """An input that cannot be scored."""


class ChangedError(BatchError):
    """The input, a model or what is asked for is not that of the run which began in this folder."""
