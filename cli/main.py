"""The `regulars` command: its grammar. Each command lives in a module that is imported only when it runs."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CommandError, expected_errors
from cli.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

PROJECT_FILE = Path("regulars.toml")

# Packages of the extras. Which extra a command needs stands beside its grammar.
OPTIONAL_PACKAGES = frozenset(
    {
        "duckdb",
        "ibis",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "onnx",
        "onnxmltools",
        "pandas",
        "pyarrow",
        "rich",
        "sklearn",
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        module = importlib.import_module(f"cli.{options.module}")
        status: int = getattr(module, options.function)(options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        package = _missing_package(error)
        if package:
            _say(f"regulars {options.command} needs {package}: pip install 'regulars[{options.extra}]'")
            return EXIT_USAGE
        if not isinstance(error, (CommandError, *expected_errors())):
            raise
        _say(f"regulars {options.command}: {error}")
        return EXIT_FAILED
    return status


def _missing_package(error: BaseException | None) -> str:
    """The package of an extra that is not installed, if that is why something failed."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or "").partition(".")[0]
            return package if package in OPTIONAL_PACKAGES else ""
        error = error.__cause__
    return ""


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the command's own voice


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="regulars", description="Score customers: train, promote and serve churn models from your own tables."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = _command(commands, "train", "train", "train a model, register it as candidate", "training")
    train.add_argument("model", choices=[*MODELS, "all"])
    _with_project(train)
    _with_as_of(train, "stand at this date: nothing from that day on is read (default: the end of the data)")

    features = commands.add_parser("features", help="features of your customers")
    parts = features.add_subparsers(dest="part", required=True, metavar="PART")
    build = _command(
        parts, "build", "features", "write every customer's features at a date to a Parquet file", "training"
    )
    _with_project(build)
    _with_as_of(build, "the snapshot's date; only what happened before it is read", required=True)
    build.add_argument("--out", type=Path, required=True, metavar="FILE", help="the Parquet file to write")

    promote = _command(
        commands, "promote", "registry", "run every gate; if all pass, make a version champion", "registry"
    )
    _with_model(promote)
    promote.add_argument("--version", default="", help="the version to promote (default: the candidate)")
    promote.add_argument("--dry-run", action="store_true", help="show the gates and move nothing")
    _with_registry(promote)

    rollback = _command(commands, "rollback", "registry", "make the previous champion champion again", "registry")
    _with_model(rollback)
    _with_registry(rollback)

    models = _command(commands, "models", "registry", "list versions with aliases, figures and ages", "registry")
    _with_registry(models)

    sync = _command(commands, "sync", "registry", "bring an alias's bundle into a local folder", "registry")
    sync.add_argument("target", metavar="MODEL@ALIAS", help="for example churn@champion")
    sync.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder that servers watch")
    sync.add_argument("--watch", action="store_true", help="keep following the alias")
    _with_registry(sync)

    serve = _command(commands, "serve", "serve", "serve a model out of a folder of bundles")
    _with_model(serve)
    serve.add_argument("--bundles", type=Path, metavar="DIR", help="the folder that 'regulars sync' fills")
    serve.add_argument("--port", type=int, metavar="P", help="gRPC port (default: the model's own)")
    serve.add_argument("--metrics-port", type=int, metavar="P", help="port of /metrics (default: a free one)")
    serve.add_argument("--workers", type=int, metavar="N", help="processes on the one port (default: 1)")

    up = _command(commands, "up", "up", "sync and serve every model that has a champion", "registry")
    _with_project(up)

    score = _command(commands, "score", "score", "score a file of customers into a folder", "batch")
    _with_model(score)
    score.add_argument("--input", type=Path, required=True, metavar="FILE", help="Parquet or CSV with customer_id")
    score.add_argument("--output", type=Path, required=True, metavar="DIR", help="where scores.parquet goes")
    score.add_argument(
        "--bundles", type=Path, metavar="DIR", help="score here, with the bundle released in this folder"
    )
    score.add_argument("--target", metavar="HOST:PORT", help="score through this running server")
    _with_project(score)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    module: str,
    summary: str,
    extra: str = "",
) -> argparse.ArgumentParser:
    """`module` holds the function of that name; `extra` brings the packages it imports."""
    command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    command.set_defaults(module=module, function=name, extra=extra)
    return command


def _with_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", choices=MODELS)


def _with_project(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--project", type=Path, default=PROJECT_FILE, metavar="FILE", help="the project (default: regulars.toml)"
    )


def _with_registry(command: argparse.ArgumentParser) -> None:
    _with_project(command)
    command.add_argument("--registry", default="", metavar="URI", help="MLflow tracking URI (default: the project's)")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date such as 2025-12-31") from None


def _with_as_of(command: argparse.ArgumentParser, meaning: str, *, required: bool = False) -> None:
    command.add_argument("--as-of", type=_date, required=required, metavar="DATE", help=meaning)


if __name__ == "__main__":
    sys.exit(main())
