"""token: a new bearer token, and the line by which servers know it. Imports what the serving installation has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CommandError
from services.core.access import Role, grant, new_token, read_grants
from services.core.followed import DamagedError

if TYPE_CHECKING:
    import argparse

    from services.core.access import Grant

TOKENS_VARIABLE = "REGULARS_TOKENS"


def token(options: argparse.Namespace) -> int:
    """The token goes to standard output, alone and this once; everything else to standard error."""
    named = options.file or os.environ.get(TOKENS_VARIABLE)
    if not named:
        raise CommandError(f"give --file: the file that {TOKENS_VARIABLE} names for the servers")
    path = Path(named)
    secret = new_token()
    try:
        _append(path, grant(options.name, Role(options.role), secret))
    except ValueError as error:
        raise CommandError(str(error)) from error
    except DamagedError as error:
        raise CommandError(f"{path}: {error}") from error
    sys.stdout.write(f"{secret}\n")
    sys.stderr.write(
        f"{options.name} may {options.role}: its digest stands in {path}, the token nowhere. Servers that follow the "
        "file know it within seconds.\n"
    )
    return 0


def _append(path: Path, entry: Grant) -> None:
    before = path.read_bytes() if path.exists() else b""
    line = entry.line().encode()
    if before and not before.endswith(b"\n"):
        line = b"\n" + line
    # Not to what a server would refuse.
    read_grants(before + line)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
        file.write(line)
