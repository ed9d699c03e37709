from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_registry.release import Release
from model_registry.sync_metrics import Following, SyncMetrics

RELEASE = Release("7", "champion", "abcdef0123456789" * 4)

Page = dict[tuple[str, str, str], float]


def page(*followings: Following) -> Page:
    """Values by name, model and version as they stand on the page."""
    port = SyncMetrics(*followings).show("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels["model"], sample.labels.get("version", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_from_the_start_there_is_no_success_and_no_failure_and_nothing_released() -> None:
    assert page(Following("churn", "champion")) == {
        ("regulars_sync_last_success_timestamp_seconds", "churn", ""): 0,
        ("regulars_sync_failures_total", "churn", ""): 0,
    }


def test_each_follower_tells_of_its_model() -> None:
    churn, cltv = Following("churn", "champion", lambda: 1.7e9), Following("cltv", "champion")
    churn.succeeded()
    churn.release = RELEASE
    cltv.failed()
    cltv.failed()
    assert page(churn, cltv) == {
        ("regulars_sync_last_success_timestamp_seconds", "churn", ""): 1.7e9,
        ("regulars_sync_last_success_timestamp_seconds", "cltv", ""): 0,
        ("regulars_sync_failures_total", "churn", ""): 0,
        ("regulars_sync_failures_total", "cltv", ""): 2,
        ("regulars_sync_release_info", "churn", "7"): 1,
    }


def test_the_release_is_told_with_the_digits_that_servers_tell() -> None:
    following = Following("churn", "champion")
    following.release = RELEASE
    (info,) = [family for family in SyncMetrics(following).collect() if family.name == "regulars_sync_release_info"]
    assert [sample.labels for sample in info.samples] == [
        {"model": "churn", "alias": "champion", "version": "7", "digest": "abcdef012345"}
    ]


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        SyncMetrics().show("127.0.0.1", taken.getsockname()[1])
