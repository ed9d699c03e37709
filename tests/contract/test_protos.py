"""What the protos promise, checked against themselves, the code and the tools that guard them."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_registry.schema import Status
from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1 import scoring_pb2
from services.churn import servicer
from services.client import load_client
from services.core.service import load_service
from services.methods import methods_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, ServiceDescriptor

PROTOS = Path(__file__).parents[2] / "protos"
BUF = Path(sys.executable).with_name("buf")
MODELS = sorted(path.parent.parent.name for path in PROTOS.glob("regulars/*/v1/*.proto") if path.stem != "scoring")


def service_of(model: str) -> ServiceDescriptor:
    module = importlib.import_module(f"regulars.{model}.v1.{model}_pb2")
    (service,) = module.DESCRIPTOR.services_by_name.values()
    descriptor: ServiceDescriptor = service
    return descriptor


def test_statuses_have_one_numbering() -> None:
    named = {status.name: status.value for status in Status}
    proto = {name.removeprefix("SCORE_STATUS_"): number for name, number in scoring_pb2.ScoreStatus.items()}
    assert proto.pop("UNSPECIFIED") == 0
    assert named == proto


def test_the_bands_of_churn_are_those_of_risk_band_in_order() -> None:
    proto = {name.removeprefix("RISK_BAND_"): number for name, number in churn_pb2.RiskBand.items()}
    assert proto.pop("UNSPECIFIED") == 0
    assert {name: position + 1 for position, name in enumerate(servicer.BANDS)} == proto


def test_every_model_of_the_suite_has_a_proto() -> None:
    assert {"churn", "propensity", "cltv", "clustering"} <= set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_a_service_has_one_unary_one_batch_and_one_stream_method_of_one_verb(model: str) -> None:
    service = service_of(model)
    assert service.name == f"{model.capitalize()}Service"
    methods = {method.name: (method.client_streaming, method.server_streaming) for method in service.methods}
    (unary,) = (name for name in methods if not name.startswith(("Batch", "Stream")))
    assert re.fullmatch(r"(Predict|Assign)[A-Z]\w+", unary)
    assert methods == {unary: (False, False), f"Batch{unary}": (False, False), f"Stream{unary}": (True, True)}


@pytest.mark.parametrize("model", MODELS)
def test_server_and_client_of_a_model_speak_its_service(model: str) -> None:
    assert load_service(model).SERVICE == load_client(model).SERVICE == service_of(model).full_name


def test_every_model_has_a_port_of_its_own() -> None:
    assert len({load_service(model).PORT for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_answers_have_an_id_a_status_and_warnings_whatever_the_model(model: str) -> None:
    """What the shared code fills, by these names."""
    methods = methods_of(service_of(model).full_name)
    row = getattr(methods.one.response(), methods.one.answer)
    assert {"customer_id", "status", "warnings"} <= fields_of(row.DESCRIPTOR)
    for method in (methods.batch, methods.stream):
        table = getattr(method.response(), method.answer)
        assert {"customer_ids", "statuses", "warnings"} <= fields_of(table.DESCRIPTOR)


def fields_of(message: Descriptor) -> set[str]:
    return {field.name for field in message.fields}


@pytest.mark.parametrize("model", MODELS)
def test_each_method_has_a_request_and_a_response_of_its_own_name(model: str) -> None:
    for method in service_of(model).methods:
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"
        # Whoever scored says so.
        assert "model_version" in fields_of(method.output_type)
        if method.name.startswith("Stream"):
            assert "sequence" in fields_of(method.input_type) & fields_of(method.output_type)
            assert "error" in fields_of(method.output_type)


def buf(*arguments: str, folder: Path = PROTOS) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def copy_of_the_protos(to: Path) -> Path:
    return shutil.copytree(PROTOS, to, ignore=shutil.ignore_patterns("__pycache__", "*.py", "*.pyi"))


def edit(folder: Path, old: str, new: str) -> None:
    proto = folder / "regulars" / "churn" / "v1" / "churn.proto"
    text = proto.read_text()
    assert text.count(old) == 1, old
    proto.write_text(text.replace(old, new))


def test_buf_finds_nothing_to_complain_of() -> None:
    result = buf("lint")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("COMMENT_FIELD", "  // The id given in the request.\n  string customer_id = 1;", "  string customer_id = 1;"),
        ("RPC_REQUEST_STANDARD_NAME", "PredictChurn(PredictChurnRequest)", "PredictChurn(BatchPredictChurnRequest)"),
        ("ENUM_VALUE_PREFIX", "  RISK_BAND_HIGH = 3;", "  HIGH = 3;"),
    ],
)
def test_buf_lint_notices_a_planted_mistake(tmp_path: Path, rule: str, old: str, new: str) -> None:
    planted = copy_of_the_protos(tmp_path / "protos")
    edit(planted, old, new)
    result = buf("lint", "--error-format", "json", folder=planted)
    assert result.returncode != 0
    assert f'"type":"{rule}"' in result.stdout


def breaks(before: Path, after: Path) -> subprocess.CompletedProcess[str]:
    return buf("breaking", "--against", str(before), "--error-format", "json", folder=after)


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("FIELD_NO_DELETE", "  int64 sequence = 1;\n  // The version", "  int64 sequence = 9;\n  // The version"),
        ("FIELD_SAME_NAME", "  int64 sequence = 1;\n  // The version", "  int64 number = 1;\n  // The version"),
        ("FIELD_NO_DELETE", "  RiskBand risk_band = 5;", "  RiskBand risk_band = 15;"),
        ("FIELD_SAME_TYPE", "  optional float percentile = 4;", "  optional double percentile = 4;"),
        ("ENUM_VALUE_SAME_NAME", "  RISK_BAND_HIGH = 3;", "  RISK_BAND_SEVERE = 3;"),
        ("RPC_NO_DELETE", "  rpc PredictChurn(", "  rpc ForetellChurn("),
    ],
)
def test_buf_breaking_notices_a_planted_break(tmp_path: Path, rule: str, old: str, new: str) -> None:
    before = copy_of_the_protos(tmp_path / "before")
    after = copy_of_the_protos(tmp_path / "after")
    assert breaks(before, after).returncode == 0
    edit(after, old, new)
    result = breaks(before, after)
    assert result.returncode != 0
    assert f'"type":"{rule}"' in result.stdout, result.stdout + result.stderr


def test_a_new_field_breaks_nobody(tmp_path: Path) -> None:
    before = copy_of_the_protos(tmp_path / "before")
    after = copy_of_the_protos(tmp_path / "after")
    edit(after, "  RiskBand risk_band = 5;", "  RiskBand risk_band = 5;\n  // More.\n  optional float more = 7;")
    result = breaks(before, after)
    assert (result.returncode, result.stdout) == (0, "")
