from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.client import ChurnClient, Security, SecurityError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("regulars_secret\n")
    return path


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:50051",
        "127.1.2.3:50051",
        "localhost:50051",
        "LocalHost",
        "[::1]:50051",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv6:[::1]:50051",
        "unix:/run/churn.sock",
    ],
)
def test_on_one_machine_a_token_may_go_in_clear_text(token: Path, target: str) -> None:
    ChurnClient(target, Security(token=token)).close()


@pytest.mark.parametrize(
    "target",
    [
        "churn:50051",
        "0.0.0.0:50051",
        "10.0.0.7:50051",
        "localhost.example.com:50051",
        "127.0.0.1.example.com:50051",
        "dns://10.0.0.1/localhost:50051",
        "dns:///churn:50051",
        "ipv4:127.0.0.1:50051,10.0.0.7:50051",
        "xds:///localhost",
    ],
)
def test_to_another_machine_a_token_needs_tls(token: Path, target: str) -> None:
    with pytest.raises(SecurityError, match=r"clear text to .*; give the authority") as refused:
        ChurnClient(target, Security(token=token))
    assert "secret" not in str(refused.value)


def test_half_of_a_certificate_is_refused() -> None:
    with pytest.raises(SecurityError, match="go together"):
        Security(ca="ca.crt", certificate="client.crt")
    with pytest.raises(SecurityError, match="go together"):
        Security(ca="ca.crt", key="client.key")


def test_a_certificate_without_tls_is_refused() -> None:
    with pytest.raises(SecurityError, match="needs TLS"):
        Security(certificate="client.crt", key="client.key")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match=r"ca\.crt: No such file"):
        ChurnClient("churn:50051", Security(ca=tmp_path / "ca.crt"))
    with pytest.raises(SecurityError, match="token: No such file"):
        Security(token=tmp_path / "token").metadata()


def test_the_token_is_read_at_every_call(token: Path) -> None:
    security = Security(token=token)
    assert security.metadata() == (("authorization", "Bearer regulars_secret"),)
    token.write_text("another")
    assert security.metadata() == (("authorization", "Bearer another"),)
    assert Security().metadata() == ()


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines", "é"])
def test_what_is_no_token_is_not_sent(token: Path, content: str) -> None:
    token.write_text(content)
    with pytest.raises(SecurityError, match="holds no token") as refused:
        Security(token=token).metadata()
    assert content.strip() == "" or content not in str(refused.value)


def test_it_shows_no_secret(token: Path) -> None:
    assert token.read_text().strip() not in repr(Security(token=token))
