"""What a peer is: how it is started, asked, and understood."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns

ROOT = Path(__file__).parents[2]
SERVED = Path(__file__).with_name("served")
"""Programs of the peers, run in their environments."""

Wire = Literal["gRPC", "JSON"]


@dataclass(frozen=True)
class Question:
    """A call: a gRPC method and its message, or a path of HTTP/1.1 and its JSON."""

    path: str
    body: bytes


@dataclass(frozen=True)
class Start:
    """What starts a server; it runs in the folder that was prepared for it."""

    command: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


class Peer(ABC):
    """A system that serves a model. Subclasses say how; nothing else knows which of them it measures."""

    name: str
    """As the table has it."""

    settings: str
    """What was chosen for it, for the reader."""

    wire: ClassVar[Wire]
    environment: ClassVar[Path]
    packages: ClassVar[tuple[str, ...]]
    """Whose versions the page tells."""

    clients: ClassVar[tuple[str, ...]] = ()
    """Its own client, as modes of the script `clients/<first word>.py`."""

    main: bool = True
    """False for other settings of one that is here already: of interest are its rates, and, where it `takes_bulks`,
    what those do to its interactive calls."""

    takes_bulks: bool = False

    @abstractmethod
    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        """Writes what it serves into the empty `folder`; it is to answer on the first port of this machine."""

    @abstractmethod
    def question(self, subject: Subject, rows: Columns) -> Question:
        """Asks for the scores of the rows."""

    @abstractmethod
    def scores(self, answer: bytes) -> NDArray[np.float64]:
        """The scores in an answer to a question, (N,)."""

    def bulk(self, subject: Subject, rows: Columns) -> Question:
        """The same for rows that nobody waits for, where the system can tell them apart."""
        return self.question(subject, rows)

    def program(self, name: str) -> str:
        """A command of its environment."""
        return str(self.environment / "bin" / name)

    def versions(self) -> dict[str, str]:
        (site,) = self.environment.glob("lib/python3*/site-packages")
        there = {found.name: found.version for found in distributions(path=[str(site)])}
        return {package: there[package] for package in self.packages}


def as_json(rows: Columns) -> dict[str, list[list[float]] | list[list[str]]]:
    """The graph's inputs. Each float is spelled as short as it can be, which spares peers half the reading."""
    values: dict[str, list[list[float]] | list[list[str]]] = {
        "numeric": [[float(str(value)) for value in row] for row in rows.numeric]
    }
    if rows.categorical.shape[1]:
        values["categorical"] = rows.categorical.tolist()
    return values


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
