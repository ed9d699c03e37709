from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as command
from cli.errors import CommandError

REPOSITORY = Path(__file__).parents[3]

GRAMMAR = [
    "train churn --project shop.toml --as-of 2024-01-01",
    "train all",
    "features build --as-of 2024-01-01 --out file.parquet",
    "promote churn --version 3 --dry-run",
    "rollback churn",
    "models",
    "sync churn@champion --to folder --watch",
    "serve churn --bundles folder --port 50051 --workers 2",
    "up",
    "score churn --input file.parquet --output folder",
]

MISTAKES = [
    "",
    "train",
    "train propensity",
    "train churn --as-of yesterday",
    "features build --out file.parquet",
    "sync churn@champion",
    "score churn --input file.parquet",
    "serve churn --port many",
]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that were run, none of which does anything."""
    calls: list[str] = []

    class Commands:
        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> object:
            def run(options: object) -> int:
                calls.append(f"{self._module}.{name}")
                return 0

            return run

    monkeypatch.setattr("importlib.import_module", Commands)
    return calls


@pytest.mark.parametrize("words", GRAMMAR)
def test_the_grammar(ran: list[str], words: str) -> None:
    assert command.main(words.split()) == 0
    expected = words.split()[1] if words.startswith("features") else words.split(maxsplit=1)[0]
    assert [call.rpartition(".")[2] for call in ran] == [expected]


@pytest.mark.parametrize("words", GRAMMAR)
def test_every_command_leads_to_a_function(words: str) -> None:
    options = command._parser().parse_args(words.split())
    module = __import__(f"cli.{options.module}", fromlist=["module"])
    assert callable(getattr(module, options.function))


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_a_usage_error(ran: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words.split())
    assert ended.value.code == command.EXIT_USAGE
    assert ran == []


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (CommandError("do this instead"), command.EXIT_FAILED, "regulars models: do this instead\n"),
        (PermissionError(13, "Permission denied", "file"), command.EXIT_FAILED, "Permission denied"),
        (
            ModuleNotFoundError("No module named 'mlflow'", name="mlflow.tracking"),
            command.EXIT_USAGE,
            "pip install 'regulars[registry]'",
        ),
        (KeyboardInterrupt(), command.EXIT_INTERRUPTED, ""),
    ],
)
def test_what_a_command_says_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str
) -> None:
    def fail(name: str) -> object:
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    assert command.main(["models"]) == status
    assert text in capsys.readouterr().err


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ZeroDivisionError):
        command.main(["models"])


@pytest.mark.parametrize("words", ["--help", "train --help", "features build --help", "serve --help", "score --help"])
def test_help_imports_nothing_heavy(words: str) -> None:
    script = (
        "import sys, cli.main\n"
        "try:\n    cli.main.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'grpc', 'mlflow', 'pandas', 'rich', 'ibis', 'onnxruntime', 'google') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words.split()], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
