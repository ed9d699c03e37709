from __future__ import annotations

import logging
import urllib.request
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import up as command
from cli.errors import CommandError
from cli.models import MODELS
from model_registry.registry import RegistryError
from model_registry.release import Release

OPTIONS = Namespace(project=Path("regulars.toml"), sync_metrics_port=None)


class Ended:
    """A server that has ended by itself."""

    returncode = 7

    def poll(self) -> int:
        return self.returncode

    def terminate(self) -> None: ...

    def wait(self) -> int:
        return self.returncode


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose servers were started, none of which runs."""
    models: list[str] = []

    def start(model: str, bundles: Path) -> Ended:
        models.append(model)
        return Ended()

    project = SimpleNamespace(registry=SimpleNamespace(tracking_uri="", bundles=Path("bundles")))
    monkeypatch.setattr(command, "load_project", lambda path: project)
    monkeypatch.setattr(command, "allows_unaudited", lambda project: False)
    monkeypatch.setattr(command, "sync_once", lambda *arguments, allow_unaudited: None)
    monkeypatch.setattr(command, "follow", lambda *arguments, allow_unaudited, following: None)
    monkeypatch.setattr("services.core.logs.configure", lambda level: None)
    monkeypatch.setattr(command, "_start", start)
    return models


def with_champions(monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    registry = SimpleNamespace(resolve=lambda model, alias: SimpleNamespace() if model in models else None)
    monkeypatch.setattr(command, "MlflowRegistry", lambda uri, *, must_exist: registry)


def test_models_without_a_champion_are_named_and_the_others_served(
    monkeypatch: pytest.MonkeyPatch, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with_champions(monkeypatch, "churn", "cltv")
    assert command.up(OPTIONS) == 1
    assert started == ["churn", "cltv"]
    said = capsys.readouterr().out
    assert "without a champion, and not served: propensity, clustering" in said
    assert "127.0.0.1:50051" in said
    assert "127.0.0.1:50053" in said
    assert "server ended by itself with status 7" in said


def test_where_all_are_served_nobody_is_missed(
    monkeypatch: pytest.MonkeyPatch, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with_champions(monkeypatch, *MODELS)
    command.up(OPTIONS)
    assert started == list(MODELS)
    assert "without a champion" not in capsys.readouterr().out


def test_without_any_champion_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    with_champions(monkeypatch)
    with pytest.raises(CommandError, match="no model has a champion yet; run 'regulars train all'"):
        command.up(OPTIONS)
    assert started == []


def failing(*arguments: object, allow_unaudited: bool) -> None:
    raise RegistryError("version 2 of churn has passed no fairness audit")


def test_a_champion_that_is_refused_leaves_the_last_release_serving(
    monkeypatch: pytest.MonkeyPatch, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with_champions(monkeypatch, "churn")
    monkeypatch.setattr(command, "sync_once", failing)
    monkeypatch.setattr(command, "read_release", lambda bundles, model: Release("1", "champion", "a" * 64))
    command.up(OPTIONS)
    assert started == ["churn"]
    assert "churn stays at version 1: version 2 of churn has passed no fairness audit" in capsys.readouterr().err


def test_where_nothing_was_ever_released_it_is_an_error(monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    with_champions(monkeypatch, "churn")
    monkeypatch.setattr(command, "sync_once", failing)
    monkeypatch.setattr(command, "read_release", lambda bundles, model: None)
    with pytest.raises(RegistryError, match="no fairness audit"):
        command.up(OPTIONS)
    assert started == []


def test_where_the_registry_fails_what_was_released_before_is_served(
    monkeypatch: pytest.MonkeyPatch, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def resolve(model: str, alias: str) -> None:
        raise RegistryError("the registry does not answer")

    monkeypatch.setattr(command, "MlflowRegistry", lambda uri, *, must_exist: SimpleNamespace(resolve=resolve))
    releases = {"churn": Release("1", "champion", "a" * 64)}
    monkeypatch.setattr(command, "read_release", lambda bundles, model: releases.get(model))
    command.up(OPTIONS)
    assert started == ["churn"]
    assert "serving what was released last: the registry does not answer" in capsys.readouterr().err
    releases.clear()
    with pytest.raises(RegistryError, match="does not answer"):
        command.up(OPTIONS)


def test_the_followers_share_a_page_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, started: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with_champions(monkeypatch, "churn", "cltv")
    with caplog.at_level(logging.INFO, "cli.sync_page"):
        command.up(Namespace(project=Path("regulars.toml"), sync_metrics_port=0))
    (record,) = caplog.records
    with urllib.request.urlopen(f"http://127.0.0.1:{record.__dict__['fields']['metrics_port']}/metrics") as answer:
        page = answer.read().decode()
    assert [f'regulars_sync_failures_total{{alias="champion",model="{model}"}} 0.0' in page for model in MODELS] == [
        model in {"churn", "cltv"} for model in MODELS
    ]
