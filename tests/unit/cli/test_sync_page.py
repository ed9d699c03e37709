from __future__ import annotations

import logging
import socket
import urllib.request

import pytest

from cli.errors import CommandError
from cli.sync_page import show_metrics
from model_registry.sync_metrics import Following


def test_a_free_port_is_told_in_the_log_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "cli.sync_page"):
        show_metrics("127.0.0.1", 0, Following("churn", "champion"))
    (record,) = caplog.records
    fields = record.__dict__["fields"]
    with urllib.request.urlopen(f"http://{fields['host']}:{fields['metrics_port']}/metrics") as answer:
        assert 'regulars_sync_failures_total{alias="champion",model="churn"} 0.0' in answer.read().decode()


def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"127\.0\.0\.1 port {port} \(Address already in use\); name another"):
            show_metrics("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(CommandError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        show_metrics("192.0.2.1", 0)
