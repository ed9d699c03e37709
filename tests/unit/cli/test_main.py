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
    "promote churn --override audit --override memory --by Ada --reason pilot --accept-break",
    "promote churn --wait host:51051,other:51051 --wait-seconds 5",
    "rollback churn --wait",
    "models",
    "sync churn@champion --to folder --watch --allow-unaudited",
    "sync churn@champion --to folder --watch --metrics-port 9101 --host 0.0.0.0",
    "mlflow --backend postgresql://host/db --artifacts s3://bucket --host 0.0.0.0 --port 5001 --allowed-hosts mlflow",
    "serve churn --bundles folder --port 50051 --workers 2",
    "up",
    "up --sync-metrics-port 0",
    "score churn --input file.parquet --output folder",
    "audit drift churn@candidate --input file.parquet --by age income --out folder --push host:9091 --textfile f.prom",
    "audit fairness churn@champion --as-of 2024-01-01 --out folder --push host:9091 --textfile f.prom",
    "audit retire churn --push host:9091",
    "forget ids.txt --in folder --in another",
    "score clustering --input file.parquet --output folder --target host:50054",
    "score all --input one.csv two.csv --output folder --restart --with-features --max-rejected 0.5 --workers 2",
    "score churn cltv --as-of 2024-01-01 --output folder --engine spark --progress json --push host:9091",
    "score churn cltv --input f --output d --target churn=host:1 --target cltv=host:2 --textfile f.prom",
    "score churn --input f.parquet --output d --target host:1 --ca ca.crt --certificate c.crt --key c.key --token t",
    "export scores --out list.csv",
    "export one two --out s3://bucket/list.parquet --where f --order-by value --ascending --top 10% --columns a,b",
    "export scores --out list.csv --as Key=customer_id --as Risk=churn --except one.txt --except two.txt --project p",
    "token shop --role score --file tokens",
]

MISTAKES = [
    "",
    "train",
    "train fraud",
    "train churn --as-of yesterday",
    "train churn --as-of 2999-01-01",
    "features build --out file.parquet",
    "sync churn@champion",
    "sync churn@champion --to folder --watch --metrics-port 65536",
    "sync churn@champion --to folder --watch --metrics-port some",
    "score churn --input file.parquet",
    "score churn --output folder",
    "score --input file.parquet --output folder",
    "score churn --input file.parquet --as-of 2024-01-01 --output folder",
    "score churn --as-of yesterday --output folder",
    "score churn --input file.parquet --output folder --max-rejected 1.5",
    "score churn --input file.parquet --output folder --max-rejected nan",
    "score churn --input file.parquet --output folder --max-rejected few",
    "score churn --input file.parquet --output folder --workers 0",
    "score churn --input file.parquet --output folder --workers -1",
    "score churn --input file.parquet --output folder --engine cloud",
    "score churn --input file.parquet --output folder --progress loud",
    "export scores",
    "export --out list.csv",
    "serve churn --port many",
    "token shop",
    "token shop --role root",
    "audit",
    "audit drift churn",
    "audit fairness",
    "audit fairness churn --as-of yesterday",
    "audit retire churn",
    "forget",
]


def command_of(words: str) -> list[str]:
    """The words of the grammar up to the function that runs."""
    return words.split()[: 2 if words.startswith(("features", "audit")) else 1]


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
    assert [call.rpartition(".")[2] for call in ran] == [command_of(words)[-1]]


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
        (OSError("libgomp.so.1: cannot open shared object file"), command.EXIT_FAILED, "Debian has it in libgomp1"),
        (
            ModuleNotFoundError("No module named 'mlflow'", name="mlflow.tracking"),
            command.EXIT_USAGE,
            "pip install 'regulars[registry]'",
        ),
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), command.EXIT_USAGE, "pip install boto3\n"),
        *(
            (ModuleNotFoundError(name=package), command.EXIT_USAGE, f"pip install 'regulars[{extra}]'")
            for package, extra in (
                ("psycopg2", "postgres"),
                ("pyspark", "spark"),
                ("py4j", "spark"),
                ("ibis", "training"),
            )
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


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), ModuleNotFoundError("No module named 'cli.modles'", name="cli.modles")]
)
def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    def fail(name: str) -> object:
        raise bug

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(type(bug)):
        command.main(["models"])


HELPS = ["", "features ", "audit ", *(f"{' '.join(command_of(words))} " for words in GRAMMAR)]


@pytest.mark.parametrize("words", [f"{words}--help" for words in HELPS])
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


BLOCKED = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import cli.main
sys.exit(cli.main.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [
        ("mlflow", "models", "registry"),
        ("mlflow", "sync churn@champion --to folder", "registry"),
        ("mlflow", "up", "registry"),
        ("mlflow", "mlflow", "registry"),
        ("rich", "promote churn", "registry"),
        ("rich", "score churn --input file --output folder", "batch"),
        ("pyarrow", "score churn --input file --output folder", "batch"),
        ("pyarrow", "features build --as-of 2024-01-01 --out file", "training"),
        ("ibis", "features build --as-of 2024-01-01 --out file", "training"),
        ("mlflow", "train churn", "training"),
        ("lightgbm", "train churn", "training"),
    ],
)
def test_a_package_that_is_not_installed_names_the_extra_that_brings_it(
    tmp_path: Path, package: str, words: str, extra: str
) -> None:
    project = tmp_path / "regulars.toml"
    project.write_text(
        '[project]\nname = "shop"\n[tables.customers]\nsource = "c.csv"\ncustomer = "id"\nchurned = "left"\n'
    )
    (tmp_path / ".regulars").mkdir()
    (tmp_path / ".regulars" / "mlflow.db").touch()
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, package, *words.split(), "--project", str(project)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command.EXIT_USAGE, done.stderr
    assert f"needs {package}: pip install 'regulars[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_needs_no_extra() -> None:
    options = command._parser().parse_args(["serve", "churn"])
    assert options.extra == ""
    # What it imports, and that nothing optional is among it, tests/integration/test_serving_environment.py shows.


def test_an_expected_error_is_one_line_without_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["models", "--project", str(tmp_path / "none.toml")]) == command.EXIT_FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regulars models: {tmp_path / 'none.toml'}: the file does not exist")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("sync churn --to folder", "churn is not MODEL@ALIAS; for example churn@champion"),
        ("sync other@champion --to folder", "there is no model other; there are churn"),
        ("sync churn@champion --to folder --metrics-port 0", "a single sync is none; add --watch"),
        ("sync churn@champion --to folder --watch --host 0.0.0.0", "where /metrics listens; add --metrics-port"),
        ("score churn --input f --output o --target h:1 --bundles b", "give --target"),
        ("score churn --input f --output o --bundles nowhere", "nowhere holds no released churn"),
        ("serve churn --workers 0", "REGULARS_WORKERS must be at least 1"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(capsys: pytest.CaptureFixture[str], words: str, complaint: str) -> None:
    assert command.main(words.split()) == command.EXIT_FAILED
    assert complaint in capsys.readouterr().err
