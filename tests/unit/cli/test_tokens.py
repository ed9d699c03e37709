from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli import main as command
from services.core.access import Role, digest_of, read_grants

if TYPE_CHECKING:
    from pathlib import Path


def make(*words: str) -> int:
    return command.main(["token", *words])


def test_the_token_is_printed_once_and_its_digest_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = tmp_path / "tokens"
    assert make("shop", "--role", "score", "--file", str(tokens)) == 0
    said = capsys.readouterr()
    token = said.out.removesuffix("\n")
    (entry,) = read_grants(tokens.read_bytes())
    assert (entry.name, entry.role, entry.digest) == ("shop", Role.SCORE, digest_of(token))
    assert token not in tokens.read_text() + said.err
    assert tokens.stat().st_mode & 0o777 == 0o600


def test_a_further_one_stands_on_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tmp_path / "tokens"
    monkeypatch.setenv("REGULARS_TOKENS", str(tokens))
    assert make("shop", "--role", "score") == 0
    # As an editor leaves it.
    tokens.write_text(f"# the shop's\n{tokens.read_text().strip()}")
    assert make("ops", "--role", "admin") == 0
    assert [(entry.name, entry.role) for entry in read_grants(tokens.read_bytes())] == [
        ("shop", Role.SCORE),
        ("ops", Role.ADMIN),
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("Shop", "", "'Shop' is no name of a token"), ("shop", "damaged\n", "tokens: line 1 is not a name")],
)
def test_what_servers_would_refuse_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, why: str
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(content)
    assert make(name, "--role", "score", "--file", str(tokens)) == command.EXIT_FAILED
    said = capsys.readouterr()
    assert (said.out, tokens.read_text()) == ("", content)
    assert why in said.err


def test_it_asks_for_the_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGULARS_TOKENS", raising=False)
    assert make("shop", "--role", "score") == command.EXIT_FAILED
    assert "give --file" in capsys.readouterr().err
