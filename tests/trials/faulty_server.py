"""A server with a planted fault: what a trial that works must find. For the controls of the trials alone.

python -m tests.trials.faulty_server MODEL        the fault is named by TRIAL_FAULT
"""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import Any, NoReturn

from services.core import endpoints
from services.core.codec import Codec
from services.core.server import serve
from services.core.settings import Settings

FAULT = "TRIAL_FAULT"

KEPT_ONE_IN = 4
"""Customers, of whom a leaking server keeps one for good."""


def plant_leak() -> None:
    """One customer in four is never let go."""
    kept: list[object] = []
    numbers = count()
    decode = Codec.decode_customer

    def leaking(codec: Codec, customer: Any) -> Any:
        if next(numbers) % KEPT_ONE_IN == 0:
            kept.append((customer, customer.SerializeToString()))
        return decode(codec, customer)

    _replace(Codec, "decode_customer", leaking)


def plant_candour() -> None:
    """Exceptions go out to the caller as they are."""

    def candid(error: Exception) -> NoReturn:
        raise error

    _replace(endpoints, "as_refusal", candid)


def plant_frailty() -> None:
    """A table without ids is the end of the process."""
    decode = Codec.decode_table

    def frail(codec: Codec, table: Any) -> Any:
        if not table.ids:
            os.abort()
        return decode(codec, table)

    _replace(Codec, "decode_table", frail)


def _replace(place: object, name: str, fault: object) -> None:
    assert hasattr(place, name), f"{name} is no longer where the fault was to be planted"
    setattr(place, name, fault)


FAULTS = {"leak": plant_leak, "candour": plant_candour, "frailty": plant_frailty}

if __name__ == "__main__":
    FAULTS[os.environ[FAULT]]()
    serve(sys.argv[1], Settings.from_environment())
