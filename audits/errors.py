"""What can go wrong with an audit."""

from __future__ import annotations


class AuditError(Exception):
    """The audit cannot be made. Says what is wrong and what to do."""
