"""Publishing: what a gateway gets, what a collector reads, and why neither may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import GaugeMetricFamily

from model_registry.publishing import PublishingError, push, require_collected, retire, write_textfile
from tests.support.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


class Rows:
    """A gauge of 7."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("rows", "Customers.", 7)


GROUP = {"models": "churn,cltv"}


def test_a_push_replaces_a_group_and_a_retirement_deletes_it() -> None:
    gateway = Gateway()
    with gateway.listening() as url:
        push(Rows(), url, "job", GROUP)
        retire(url, "job", GROUP)
    (method, path, body), (last, same, _) = gateway.calls
    assert (method, last) == ("PUT", "DELETE")
    assert path == same == "/metrics/job/job/models/churn%2Ccltv"
    assert body == "# HELP rows Customers.\n# TYPE rows gauge\nrows 7.0\n"


@pytest.mark.parametrize("status", [400, 500])
def test_a_gateway_that_refuses_is_told_of(status: int) -> None:
    with Gateway(status).listening() as url:
        with pytest.raises(PublishingError, match=f"{url}: .*{status}"):
            push(Rows(), url, "job", GROUP)
        with pytest.raises(PublishingError, match=str(status)):
            retire(url, "job", GROUP)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nowhere:port", "http://user:secret@nowhere"])
def test_a_gateway_that_is_not_there_is_told_of_without_a_password(url: str) -> None:
    with pytest.raises(PublishingError, match="Pushgateway") as raised:
        push(Rows(), url, "job", GROUP)
    assert "secret" not in str(raised.value)


def test_a_text_file_replaces_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "job.prom"
    file.write_text("rows 9\n")
    write_textfile(Rows(), file)
    assert file.read_text().endswith("\nrows 7.0\n")
    assert [path.name for path in tmp_path.iterdir()] == ["job.prom"]


def test_a_text_file_that_no_collector_would_read_is_refused(tmp_path: Path) -> None:
    for refuse in (require_collected, lambda path: write_textfile(Rows(), path)):
        with pytest.raises(PublishingError, match=r"ends in \.prom"):
            refuse(tmp_path / "job.txt")
    require_collected(tmp_path / "job.prom")
    assert list(tmp_path.iterdir()) == []
