"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; other C libraries have none, or need none."""


def give_back_memory() -> None:
    """Has the C library return the pages that hold nothing any more; holds up no thread of Python's meanwhile.

    It keeps them otherwise: what loading took, and the model before. With a model of 11 MB that came to 80 MB.
    """
    if _trim is not None:
        _trim(0)
