from __future__ import annotations

import math
import re

import grpc
import pytest
from prometheus_client import REGISTRY

from services.core.errors import STATUS_TABLE
from services.core.metrics import FAMILIES, LABELS, Family, MethodMetrics, code_label, unix_time
from tests.support.metrics import page, series

# As google.golang.org/grpc/codes spells them.
GO = [
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
]


def test_every_code_is_spelled_as_in_go() -> None:
    by_number = sorted(grpc.StatusCode, key=lambda code: code.value[0])
    assert [code_label(code) for code in by_number] == GO


def test_the_standard_names_have_the_labels_of_go_grpc_middleware() -> None:
    method = ("grpc_type", "grpc_service", "grpc_method")
    assert {family.name: (family.kind, family.labels) for family in FAMILIES if family.name.startswith("grpc_")} == {
        "grpc_server_started_total": ("counter", method),
        "grpc_server_handled_total": ("counter", (*method, "grpc_code")),
        "grpc_server_msg_received_total": ("counter", method),
        "grpc_server_msg_sent_total": ("counter", method),
        "grpc_server_handling_seconds": ("histogram", method),
    }


def test_a_method_stands_on_the_page_before_its_first_call_with_every_code_it_can_end_with() -> None:
    MethodMetrics("unary", "regulars.test.v1.Unused", "Ask")
    method = {"grpc_type": "unary", "grpc_service": "regulars.test.v1.Unused", "grpc_method": "Ask"}
    shown = page(**method)
    assert set(shown.values()) == {0.0}
    codes = {dict(labels)["grpc_code"] for name, labels in shown if name == "grpc_server_handled_total"}
    assert codes == {"OK", *(code_label(kind.code) for kind in STATUS_TABLE)}
    for name in ("started_total", "msg_received_total", "msg_sent_total", "handling_seconds_count"):
        assert series(f"grpc_server_{name}") in shown


def test_every_metric_of_ours_is_declared_and_so_documented() -> None:
    ours = {
        name
        for family in REGISTRY.collect()
        for name in (f"{family.name}_total" if family.type == "counter" else family.name,)
        if name.startswith(("regulars_", "grpc_"))
    }
    assert ours == {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_is_named_by_the_rules_and_says_what_it_is(family: Family) -> None:
    assert re.fullmatch(r"(regulars|grpc_server)_[a-z_]+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.name.endswith("_seconds") == (family.unit in {"seconds", "Unix time"})
    assert family.meaning.endswith(".")
    assert set(family.labels) <= set(LABELS)


def test_every_label_that_is_explained_is_some_metric_s() -> None:
    assert set(LABELS) == {label for family in FAMILIES for label in family.labels}


@pytest.mark.parametrize(
    ("text", "time"),
    [("1970-01-02T00:00:00Z", 86400.0), ("1970-01-01T02:00:01+02:00", 1.0), ("1970-01-01T00:00:00.5+00:00", 0.5)],
)
def test_a_time_is_read_as_unix_time(text: str, time: float) -> None:
    assert unix_time(text) == time


@pytest.mark.parametrize("text", ["", "yesterday", "2018-13-01T00:00:00Z"])
def test_what_is_no_time_is_no_number(text: str) -> None:
    assert math.isnan(unix_time(text))
