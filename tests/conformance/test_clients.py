"""The clients that others wrote for the Open Inference Protocol, unchanged, against a real server process.

Each runs in an environment and a process of its own (`./dev test-conformance` makes them). Every client is given every
case that it can put into a message; what it reads out of the answers must be the bits of the servable, and what it says
of a refusal the code and the path of the table of errors.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from model_registry.bundle import read_bundle
from model_registry.release import bundle_folder
from model_registry.schema import Status
from model_registry.servable import Servable
from regulars.open_inference.v2 import open_inference_pb2
from tests.conformance.clients.descriptors import describe
from tests.conformance.clients.script import SERVER
from tests.support.bundles import SCHEMA, columns, release_bundle
from tests.support.polling import PATIENCE_SECONDS
from tests.support.server import REPOSITORY, ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.columns import Columns

pytestmark = pytest.mark.conformance

MAX_ROWS = 100
NAN = float("nan")
CUSTOMERS = columns((10, 2, "web"), (95, 3, "shop"), (20, NAN, ""), (-1, 1, "kiosk"), (30, 0.1, "shop"))
"""Scored and not, with everything and without."""


@dataclass(frozen=True)
class Tensor:
    """An input as a case spells it; `shape` where it is not as long as the values."""

    name: str
    values: list[Any]
    datatype: str = "FP32"
    shape: list[int] | None = None
    form: str | None = None


@dataclass(frozen=True)
class Case:
    """What a client asks: customers who are scored, or, with a `code`, something that is refused at a `path`."""

    name: str
    tensors: list[Tensor]
    scored: Columns = CUSTOMERS
    model: str = "churn"
    version: str = ""
    outputs: list[str] = field(default_factory=list)
    code: str = "OK"
    path: str = ""

    def spell(self, form: str) -> dict[str, Any]:
        """For a client's script; `form` is that of every tensor which says none of its own."""
        return {
            "name": self.name,
            "form": form,
            "model": self.model,
            "version": self.version,
            "id": f"id of {self.name}",
            "outputs": self.outputs,
            "inputs": [
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype,
                    "shape": tensor.shape or [len(tensor.values)],
                    "values": tensor.values,
                    "form": tensor.form or form,
                }
                for tensor in self.tensors
            ],
        }


RECENCY = Tensor("recency_days", CUSTOMERS.numeric[:, 0].tolist())
FREQUENCY = Tensor("frequency", CUSTOMERS.numeric[:, 1].tolist())
CHANNEL = Tensor("channel", CUSTOMERS.categorical[:, 0].tolist(), "BYTES")
ALL = [RECENCY, FREQUENCY, CHANNEL]

WHOLE = columns((10, 2, ""), (20, 3, ""), (80, 1, ""))


def whole(datatype: str) -> Case:
    """Numbers that every datatype can hold."""
    tensors = [
        Tensor("recency_days", WHOLE.numeric[:, 0].astype(int).tolist(), datatype),
        Tensor("frequency", WHOLE.numeric[:, 1].astype(int).tolist(), datatype),
    ]
    return Case(f"numbers as {datatype}", tensors, WHOLE)


def invalid(name: str, path: str, *tensors: Tensor, outputs: tuple[str, ...] = ()) -> Case:
    return Case(name, list(tensors), outputs=list(outputs), code="INVALID_ARGUMENT", path=path)


GOOD = [
    Case("everything", ALL),
    Case("another order", ALL[::-1]),
    Case(
        "one customer", [Tensor("recency_days", [10.0]), Tensor("channel", ["web"], "BYTES")], columns((10, NAN, "web"))
    ),
    Case("only what is required", [Tensor("recency_days", [10.0, 95.0])], columns((10, NAN, ""), (95, NAN, ""))),
    Case(
        "columns of one",
        [Tensor(tensor.name, tensor.values, tensor.datatype, [len(CUSTOMERS), 1]) for tensor in ALL],
    ),
    Case("some outputs in another order", ALL, outputs=["status", "churn_probability"]),
    Case("the served version", ALL, version="7"),
    Case("as many as are taken", [Tensor("recency_days", [5.0] * MAX_ROWS)], columns(*[(5, NAN, "")] * MAX_ROWS)),
    Case("doubles", [Tensor("recency_days", [0.1, 1 / 3], "FP64")], columns((0.1, NAN, ""), (1 / 3, NAN, ""))),
    *(
        whole(kind)
        for kind in ("FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
    ),
]

BAD = [
    invalid("another name", "inputs[1].name", RECENCY, Tensor("age", RECENCY.values)),
    invalid("numbers for texts", "inputs[1].datatype", RECENCY, Tensor("channel", RECENCY.values)),
    invalid("texts for numbers", "inputs[1].datatype", RECENCY, Tensor("frequency", CHANNEL.values, "BYTES")),
    invalid("a matrix", "inputs[0].shape", Tensor("recency_days", [1.0, 2.0, 3.0, 4.0], shape=[2, 2])),
    invalid("a row of many", "inputs[0].shape", Tensor("recency_days", [1.0, 2.0], shape=[1, 2])),
    invalid("unequal lengths", "inputs[1].shape", RECENCY, Tensor("frequency", [1.0])),
    invalid("NaN where it is required", "[1]", Tensor("recency_days", [1.0, NAN])),
    invalid("infinity", "[0]", Tensor("recency_days", [float("inf"), 1.0])),
    invalid("beyond float32", "[0]", Tensor("recency_days", [1e39], "FP64")),
    invalid("required and left out", 'inputs["recency_days"]', FREQUENCY),
    invalid("too many customers", "inputs[0].shape", Tensor("recency_days", [5.0] * (MAX_ROWS + 1))),
    invalid("nobody", "inputs[0].shape", Tensor("recency_days", [], shape=[0])),
    invalid("an output that is none", "outputs[0].name", RECENCY, outputs=("churn",)),
    Case("an unknown model", ALL, model="chrn", code="NOT_FOUND"),
    Case("an unknown version", ALL, version="8", code="NOT_FOUND"),
]

MISSIZED = [
    invalid("too few numbers", "[0]", Tensor("recency_days", [1.0, 2.0], shape=[3])),
    invalid("too many numbers", "[0]", Tensor("recency_days", [1.0, 2.0], shape=[1])),
    invalid("too few texts", "[1]", RECENCY, Tensor("channel", ["web"] * 4, "BYTES", [5])),
    invalid("too many texts", "[1]", RECENCY, Tensor("channel", ["web"] * 6, "BYTES", [5])),
]

MIXED = [
    invalid("raw, then typed", "raw_input_contents", RECENCY, Tensor("frequency", FREQUENCY.values, form="typed")),
    invalid("typed, then raw", "raw_input_contents", Tensor("frequency", FREQUENCY.values, form="typed"), RECENCY),
]

EVERY = GOOD + BAD + MISSIZED
CASES = {case.name: case for case in EVERY + MIXED}


@dataclass(frozen=True)
class Client:
    """A script of `clients/` in an environment, and what of the cases the client can put into a message."""

    environment: str
    script: str
    modules: tuple[str, ...] = ()
    raw: tuple[Case, ...] = (*EVERY, *MIXED)
    typed: tuple[Case, ...] = tuple(EVERY)
    ready: tuple[bool, ...] = (True, True, False, False)

    def cases(self, form: str) -> tuple[Case, ...]:
        return self.raw if form == "raw" else self.typed


CLIENTS = {
    # Triton's own send everything raw.
    "tritonclient": Client("triton", "triton", raw=tuple(EVERY), typed=()),
    "tritonclient for asyncio": Client("triton", "triton_aio", raw=tuple(EVERY), typed=()),
    "KServe's SDK": Client("kserve", "kserve_sdk", ready=(True, False)),
    # Its converters count the values themselves.
    "MLServer's types": Client("mlserver", "mlserver_types", raw=(*GOOD, *BAD), typed=(*GOOD, *BAD)),
    "stubs of tritonclient": Client(
        "triton", "stubs", ("tritonclient.grpc.service_pb2", "tritonclient.grpc.service_pb2_grpc")
    ),
    "stubs of KServe": Client(
        "kserve", "stubs", ("kserve.protocol.grpc.grpc_predict_v2_pb2", "kserve.protocol.grpc.grpc_predict_v2_pb2_grpc")
    ),
    "stubs of MLServer": Client(
        "mlserver", "stubs", ("mlserver.grpc.dataplane_pb2", "mlserver.grpc.dataplane_pb2_grpc")
    ),
    "stubs of the protocol": Client(
        "open-inference", "stubs", ("open_inference.grpc.protocol", "open_inference.grpc.service")
    ),
}

ASKED = [
    pytest.param(client, form, case.name, id=f"{client}, {form}: {case.name}")
    for client, asked in CLIENTS.items()
    for form in ("raw", "typed")
    for case in asked.cases(form)
]


def run(environment: str, script: str, *arguments: str, given: str = "") -> str:
    """What a script prints in an environment."""
    python = REPOSITORY / f".venv-{environment}" / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{python} is missing; run './dev test-conformance', which makes the clients' environments")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    finished = subprocess.run(
        [python, "-m", f"tests.conformance.clients.{script}", *arguments],
        input=given,
        env=inherited,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


class Served:
    """A server, what it serves, and what each client was told by it."""

    def __init__(self, server: ServerProcess, servable: Servable) -> None:
        self._server = server
        self.servable = servable
        self.told = cache(self._ask)

    def _ask(self, client: str, form: str) -> dict[str, dict[str, Any]]:
        """By the case's name."""
        asking = CLIENTS[client]
        cases = json.dumps([case.spell(form) for case in asking.cases(form)])
        lines = run(
            asking.environment, asking.script, str(self._server.port), *asking.modules, given=cases
        ).splitlines()
        return {answer["case"]: answer for answer in map(json.loads, lines)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundles = tmp_path_factory.mktemp("bundles")
    release = release_bundle(bundles, "7")
    with running(bundles, max_rows=MAX_ROWS) as server:
        yield Served(server, Servable(read_bundle(bundle_folder(bundles, "churn", release.digest))))


@pytest.mark.parametrize(("client", "form", "name"), ASKED)
def test_a_client_is_told_the_scores_or_what_is_wrong(served: Served, client: str, form: str, name: str) -> None:
    case, answer = CASES[name], served.told(client, form)[name]
    if case.code != "OK":
        assert (answer.get("code"), case.path in answer.get("text", "")) == (case.code, True), answer
        return
    assert "outputs" in answer, answer
    assert (answer["model"], answer["version"], answer["id"]) == ("churn", "7", f"id of {name}")
    # Only the stubs tell in which form the answer came.
    assert answer.get("form", form) == form
    expected = expected_of(served.servable, case)
    assert list(answer["outputs"]) == list(expected)
    for output, values in expected.items():
        given = answer["outputs"][output]
        assert given["shape"] == [len(case.scored)]
        if isinstance(values, list):
            assert (given["datatype"], given["values"]) == ("BYTES", values)
        else:
            assert given["datatype"] == "FP32"
            assert np.array(given["values"], np.float32).tobytes() == values.tobytes(), output


def expected_of(servable: Servable, case: Case) -> dict[str, Any]:
    """The wanted outputs in the wanted order, by the scoring code that all of the suite runs."""
    scores = servable.score(case.scored)
    name = "churn_probability"
    bands = [band.name for band in SCHEMA.outputs[0].bands]
    expected = {
        name: scores.values[name],
        f"{name}.percentile": scores.percentiles[name],
        f"{name}.band": [bands[band] if band >= 0 else "" for band in scores.bands[name].tolist()],
        "status": [Status(status).name for status in scores.statuses.tolist()],
    }
    return {output: expected[output] for output in case.outputs or expected}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_told_of_the_server_and_its_model(served: Served, client: str) -> None:
    told = served.told(client, "raw")[SERVER]
    assert (told["live"], told["ready"], tuple(told["models"])) == (True, True, CLIENTS[client].ready)
    assert told.get("name", "regulars") == "regulars"
    features = {"recency_days": "FP32", "frequency": "FP32", "channel": "BYTES"}
    assert told.get("inputs", features) == features


def test_the_cases_hold_what_they_are_for(served: Served) -> None:
    statuses = served.servable.score(CUSTOMERS).statuses
    assert {Status(status).name for status in statuses.tolist()} == {"OK", "INACTIVE", "INSUFFICIENT_HISTORY"}
    assert len(CASES) == len(EVERY + MIXED)


PROTOS = {
    "triton": "tritonclient.grpc.service_pb2",
    "kserve": "kserve.protocol.grpc.grpc_predict_v2_pb2",
    "mlserver": "mlserver.grpc.dataplane_pb2",
    "open-inference": "open_inference.grpc.protocol",
}

YOUNGER = {"double_param", "uint64_param"}
"""Parameters that not every copy of the protocol has yet."""


@pytest.mark.parametrize("environment", PROTOS)
def test_our_messages_lie_on_the_wire_as_those_of_others(environment: str) -> None:
    ours = describe(open_inference_pb2.DESCRIPTOR)
    theirs = json.loads(run(environment, "descriptors", PROTOS[environment]))
    assert theirs["package"] == ours["package"] == "inference"
    for service, methods in ours["services"].items():
        assert methods.items() <= theirs["services"][service].items()
    for message, fields in ours["messages"].items():
        others = theirs["messages"][message]
        shared = {name: field for name, field in fields.items() if name not in YOUNGER or name in others}
        assert {name: others.get(name) for name in shared} == shared, message
        # What they have beyond ours takes none of our numbers.
        ours_only = {field["number"] for field in fields.values()}
        assert ours_only.isdisjoint(others[name]["number"] for name in others.keys() - fields.keys()), message


def test_tritons_copy_of_the_protocol_has_all_that_ours_has() -> None:
    ours = describe(open_inference_pb2.DESCRIPTOR)
    theirs = json.loads(run("triton", "descriptors", PROTOS["triton"]))
    assert {message: theirs["messages"][message] for message in ours["messages"]} == ours["messages"]
