"""Waiting for servers: what their metrics say decides, and nothing else."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cli import waiting
from cli.errors import CommandError
from cli.waiting import metrics_pages, wait_until_served
from model_registry.registry import RegisteredVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = RegisteredVersion("churn", "7", "run", "abcdef0123456789", datetime.now(UTC))
NOBODY = "127.0.0.1:1"
LONG = 30.0


def info(version: str, digest: str = "abcdef012345", model: str = "churn", value: float = 1.0) -> str:
    labels = f'model="{model}",version="{version}",alias="champion",digest="{digest}",trained_at="2026-01-01"'
    return f"regulars_model_info{{{labels}}} {value}\n"


@dataclass
class Page:
    """A metrics page that says one thing after the other, and the last of them for ever."""

    contents: list[str]
    looks: int = 0
    url: str = ""
    server: http.server.HTTPServer = field(init=False)

    def __post_init__(self) -> None:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.looks += 1
                content = page.contents.pop(0) if len(page.contents) > 1 else page.contents[0]
                self.send_response(200 if content else 503)
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002 - its name in the base class

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"


@contextmanager
def showing(*contents: str) -> Iterator[Page]:
    page = Page(list(contents))
    thread = threading.Thread(target=page.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield page
    finally:
        page.server.shutdown()
        thread.join()
        page.server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)


def test_it_waits_for_every_server_and_tells_what_changes() -> None:
    said: list[str] = []
    first = showing("", "# TYPE x gauge\nx 1\n", info("6"), info("6"), info("7"))
    with first as slow, showing(info("7")) as quick:
        assert wait_until_served(VERSION, (slow.url, quick.url), LONG, said.append) == {}
    assert [text for text in said if slow.url in text] == [
        f"{slow.url} does not answer (Service Unavailable)",
        f"{slow.url} serves no churn yet",
        f"{slow.url} serves version 6",
        f"{slow.url} serves version 7",
    ]
    assert [text for text in said if quick.url in text] == [f"{quick.url} serves version 7"]


def test_a_server_of_several_processes_serves_it_when_the_last_of_them_does() -> None:
    both = info("6") + info("7")
    with showing(both, both, info("6", value=0.0) + info("7")) as page:
        assert wait_until_served(VERSION, (page.url,), LONG, lambda _: None) == {}
    assert page.looks == 3


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (info("6"), "serves version 6"),
        (info("6") + info("5") + info("7"), "serves version 5 and 6"),
        (info("7", model="cltv"), "serves no churn yet"),
        (info("7", digest="another00000"), "serves another bundle as version 7"),
        ("<html>welcome</html>", "is no metrics page"),
    ],
)
def test_whoever_does_not_serve_it_in_time_is_named(content: str, state: str) -> None:
    with showing(content) as page:
        lacking = wait_until_served(VERSION, (page.url,), 0.01, lambda _: None)
    assert lacking == {page.url: state}


def test_a_server_that_is_down_is_named() -> None:
    (page,) = metrics_pages(NOBODY)
    assert wait_until_served(VERSION, (page,), 0.01, lambda _: None) == {page: "does not answer (Connection refused)"}


def test_nobody_is_waited_for_where_no_page_is_named() -> None:
    assert wait_until_served(VERSION, (), LONG, lambda _: None) == {}


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("", ()),
        ("10.0.0.7:51051", ("http://10.0.0.7:51051/metrics",)),
        ("http://a:1, b:2/other", ("http://a:1/metrics", "http://b:2/other")),
        ("https://a/metrics,", ("https://a/metrics",)),
    ],
)
def test_pages_are_written_short_or_long(text: str, pages: tuple[str, ...]) -> None:
    assert metrics_pages(text) == pages


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://a:1", "http://"])
def test_what_is_no_page_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is no metrics page; give HOST:PORT"):
        metrics_pages(text)
