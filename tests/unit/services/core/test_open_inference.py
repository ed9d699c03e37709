from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from regulars.open_inference.v2 import open_inference_pb2
from regulars.scoring.v1 import scoring_pb2
from services.core.errors import NO_MODEL, UNKNOWN_MODEL, Refusal, Resource
from services.core.open_inference import OpenInferenceServicer
from services.core.open_inference_codec import TensorCodec
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    import grpc

    from services.core.scorer import Scorer

CONTEXT = cast("grpc.ServicerContext", None)
"""None of these methods asks it for anything."""


class Manager:
    """Serves a version, or nothing."""

    def __init__(self, version: str | None) -> None:
        self.version = version

    def served(self) -> Any:
        if self.version is None:
            raise Refusal(NO_MODEL)
        return SimpleNamespace(version=scoring_pb2.ModelVersion(version=self.version), tensors=TensorCodec(SCHEMA, 1))


def servicer(version: str | None = "7", *, ready: bool = True) -> OpenInferenceServicer:
    return OpenInferenceServicer("churn", cast("Scorer", SimpleNamespace(manager=Manager(version))), lambda: ready)


def is_ready(asked: OpenInferenceServicer, name: str, version: str) -> bool:
    return asked.model_ready(open_inference_pb2.ModelReadyRequest(name=name, version=version), CONTEXT).ready


def metadata(asked: OpenInferenceServicer, name: str, version: str) -> open_inference_pb2.ModelMetadataResponse:
    return asked.model_metadata(open_inference_pb2.ModelMetadataRequest(name=name, version=version), CONTEXT)


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("churn", "", True),
        ("churn", "7", True),
        ("churn", "07", False),
        ("churn", "8", False),
        ("Churn", "", False),
        ("propensity", "7", False),
        ("", "", False),
    ],
)
def test_the_served_model_in_the_served_version_is_ready_and_no_other(name: str, version: str, ready: bool) -> None:
    assert is_ready(servicer(), name, version) == ready


def test_nothing_is_ready_before_the_first_model_and_while_the_server_drains() -> None:
    for asked in (servicer(None), servicer(ready=False)):
        assert not is_ready(asked, "churn", "")
    request = open_inference_pb2.ServerReadyRequest()
    assert [servicer(ready=ready).server_ready(request, CONTEXT).ready for ready in (True, False)] == [True, False]
    assert servicer(None, ready=False).server_live(open_inference_pb2.ServerLiveRequest(), CONTEXT).live


@pytest.mark.parametrize(
    ("name", "version", "resource"),
    [("chrn", "7", Resource("model", "chrn")), ("churn", "8", Resource("model version", "8"))],
)
def test_what_is_unknown_is_named(name: str, version: str, resource: Resource) -> None:
    with pytest.raises(Refusal) as refused:
        metadata(servicer(), name, version)
    assert (refused.value.kind, refused.value.resource) == (UNKNOWN_MODEL, resource)


def test_another_model_is_unknown_even_where_none_is_served_yet() -> None:
    for name, kind in (("chrn", UNKNOWN_MODEL), ("churn", NO_MODEL)):
        with pytest.raises(Refusal) as refused:
            metadata(servicer(None), name, "")
        assert refused.value.kind is kind


def test_metadata_names_the_version_that_is_served() -> None:
    assert list(metadata(servicer(), "churn", "").versions) == ["7"]
