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

LAST_PORT = 65_535

# Packages of the extras. Which extra a command needs stands beside its grammar, unless a setting asks for one more.
OPTIONAL_PACKAGES = frozenset(
    {
        "duckdb",
        "fsspec",
        "ibis",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "onnx",
        "onnxmltools",
        "pandas",
        "psycopg2",
        "py4j",
        "pyarrow",
        "pyspark",
        "rich",
        "scipy",
        "sklearn",
    }
)
OWN_EXTRAS = {"ibis": "training", "psycopg2": "postgres", "py4j": "spark", "pyspark": "spark"}
OPENMP = "libgomp.so.1"
"""The one library of the system that no wheel brings; slim systems lack it."""
OURS = frozenset({"audits", "cli", "features", "model_registry", "regulars", "services", "training"})


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
            _say(f"regulars {options.command} needs {package}: pip install {_source(package, options.extra)}")
            return EXIT_USAGE
        if not isinstance(error, (CommandError, *expected_errors())):
            raise
        _say(f"regulars {options.command}: {error}{_remedy(error)}")
        return EXIT_FAILED
    return status


def _missing_package(error: BaseException | None) -> str:
    """The package that is not installed, if that is why something failed; one of ours is a bug."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or "").partition(".")[0]
            return "" if package in OURS else package
        error = error.__cause__
    return ""


def _remedy(error: Exception) -> str:
    """What the system's loader leaves out: who has the library that it misses."""
    return "; LightGBM needs it: Debian has it in libgomp1, Fedora in libgomp" if OPENMP in str(error) else ""


def _source(package: str, extra: str) -> str:
    """What brings a package; one that is in no extra, such as an object store's, comes by itself."""
    return f"'regulars[{OWN_EXTRAS.get(package, extra)}]'" if package in OPTIONAL_PACKAGES else package


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the command's own voice


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="regulars", description="Score customers: train, promote and serve models from your own tables."
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

    _add_promote(commands)

    rollback = _command(commands, "rollback", "registry", "make the previous champion champion again", "registry")
    _with_model(rollback)
    _with_waiting(rollback)
    _with_registry(rollback)

    models = _command(commands, "models", "registry", "list versions with aliases, figures and ages", "registry")
    _with_registry(models)

    sync = _command(commands, "sync", "registry", "bring an alias's bundle into a local folder", "registry")
    sync.add_argument("target", metavar="MODEL@ALIAS", help="for example churn@champion")
    sync.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder that servers watch")
    sync.add_argument("--watch", action="store_true", help="keep following the alias")
    sync.add_argument(
        "--allow-unaudited", action="store_true", help="release versions that have neither been promoted nor audited"
    )
    sync.add_argument(
        "--metrics-port", type=_port, metavar="P", help="with --watch: port of /metrics; 0 picks a free one"
    )
    sync.add_argument("--host", help="address of /metrics (default: 127.0.0.1); 0.0.0.0 for every interface")
    _with_registry(sync)

    _add_mlflow(commands)

    serve = _command(commands, "serve", "serve", "serve a model out of a folder of bundles")
    _with_model(serve)
    serve.add_argument("--bundles", type=Path, metavar="DIR", help="the folder that 'regulars sync' fills")
    serve.add_argument("--port", type=int, metavar="P", help="gRPC port (default: the model's own)")
    serve.add_argument("--metrics-port", type=int, metavar="P", help="port of /metrics (default: a free one)")
    serve.add_argument("--workers", type=int, metavar="N", help="processes on the one port (default: 1)")

    up = _command(commands, "up", "up", "sync and serve every model that has a champion", "registry")
    up.add_argument(
        "--sync-metrics-port",
        type=_port,
        metavar="P",
        help="port of /metrics of what follows the registry, on 127.0.0.1; 0 picks a free one",
    )
    _with_project(up)

    _add_token(commands)
    _add_score(commands)
    _add_export(commands)

    _add_audits(commands)

    forget = _command(commands, "forget", "forget", "take customers out of everything the suite stores", "training")
    forget.add_argument("file", type=Path, metavar="FILE", help="their ids, one a line")
    forget.add_argument(
        "--in",
        dest="places",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for scores and features here too (default: beside the project)",
    )
    _with_project(forget)
    return parser


def _add_promote(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    promote = _command(
        commands, "promote", "registry", "run every gate; if all pass, make a version champion", "registry"
    )
    _with_model(promote)
    promote.add_argument("--version", default="", help="the version to promote (default: the candidate)")
    promote.add_argument("--dry-run", action="store_true", help="show the gates and change nothing")
    promote.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="GATE",
        help="answer for this gate, should it fail; needs --by and --reason (may be given several times)",
    )
    promote.add_argument("--by", default="", metavar="NAME", help="who answers for the overrides")
    promote.add_argument("--reason", default="", metavar="TEXT", help="why they are right")
    promote.add_argument(
        "--accept-break", action="store_true", help="promote although callers of the champion must change"
    )
    _with_waiting(promote)
    _with_registry(promote)


def _add_token(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    token = _command(commands, "token", "tokens", "make a token that servers accept, and print it once")
    token.add_argument("name", metavar="NAME", help="whose it is, as logs and metrics show it")
    token.add_argument(
        "--role", choices=["score", "admin"], required=True, help="what it allows: scoring, or reflection too"
    )
    token.add_argument("--file", type=Path, metavar="F", help="file of tokens to add it to (default: $REGULARS_TOKENS)")


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    score = _command(commands, "score", "score", "score the whole customer base into a folder", "batch")
    score.add_argument(
        "models", nargs="+", choices=[*MODELS, "all"], metavar="MODEL", help=f"{', '.join(MODELS)}, or all of them"
    )
    customers = score.add_mutually_exclusive_group(required=True)
    customers.add_argument(
        "--input", nargs="+", metavar="FILE", help="Parquet or CSV with customer_id: files, folders, patterns, URLs"
    )
    _with_as_of(customers, "score the project's customers at this date; their features are built first")
    score.add_argument("--output", required=True, metavar="DIR", help="folder of the scores; a run goes on where it is")
    score.add_argument("--restart", action="store_true", help="replace another run that the folder holds")
    score.add_argument("--with-features", action="store_true", help="write the features beside the scores")
    score.add_argument(
        "--max-rejected",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="of rows that may be set aside (default: 0.01)",
    )
    score.add_argument(
        "--engine",
        choices=["local", "spark", "grpc"],
        help="where the work is done: processes of this machine, a Spark session, or running servers "
        "(default: local, or grpc where --target is given)",
    )
    score.add_argument("--workers", type=_count, metavar="N", help="processes (default: one a core)")
    score.add_argument(
        "--bundles", type=Path, metavar="DIR", help="score here, with the bundles released in this folder"
    )
    score.add_argument(
        "--target",
        action="append",
        metavar="[MODEL=]HOST:PORT",
        help="score through this running server; once for each model (default: those of 'regulars up')",
    )
    for name, meaning in (
        ("ca", "authorities of the server's certificate, PEM: speak TLS"),
        ("certificate", "certificate to show to the server, PEM"),
        ("key", "its private key, PEM"),
        ("token", "file that holds the token to call with"),
    ):
        score.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"with --target: {meaning}")
    score.add_argument(
        "--progress",
        choices=["auto", "json", "none"],
        default="auto",
        help="on standard error: a bar on a terminal, lines of JSON, or nothing (default: auto)",
    )
    _with_publishing(score)
    _with_project(score)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = _command(commands, "export", "export", "write a list for a marketing tool out of scores", "batch")
    export.add_argument(
        "scores", nargs="+", metavar="SCORES", help="folders of scores; those of different models are joined by id"
    )
    export.add_argument("--out", required=True, metavar="FILE", help="the list, .csv or .parquet: a path or URL")
    export.add_argument(
        "--where", metavar="FILTER", help="who, for example 'churn high and value top'; docs/export.md says more"
    )
    export.add_argument(
        "--order-by", default="", metavar="COLUMN", help="highest first (default: the value at risk, or a probability)"
    )
    export.add_argument("--ascending", action="store_true", help="lowest first")
    export.add_argument("--top", default="", metavar="N", help="so many of them, or such a share: 500 or 10%%")
    export.add_argument("--columns", default="", metavar="COLUMN[,COLUMN]", help="what stands beside the ids")
    export.add_argument(
        "--as",
        dest="names",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="what a column is called on the list (may be given several times)",
    )
    export.add_argument(
        "--except",
        dest="excepted",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="ids that are not to be contacted, one a line (may be given several times)",
    )
    _with_project(export)


def _add_mlflow(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    mlflow = _command(commands, "mlflow", "mlflow", "run an MLflow server for this project", "registry")
    mlflow.add_argument(
        "--backend",
        default="",
        metavar="URI",
        help="its database (default: $MLFLOW_BACKEND_STORE_URI, else the project's)",
    )
    mlflow.add_argument(
        "--artifacts", default="", metavar="DIR", help="where it keeps files (default: beside the project's database)"
    )
    mlflow.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every interface")
    mlflow.add_argument("--port", type=int, default=5000, metavar="P", help="port (default: 5000)")
    mlflow.add_argument(
        "--allowed-hosts",
        default="",
        metavar="NAME[,NAME]",
        help="names that clients reach it by, beside those of this machine and private addresses",
    )
    _with_project(mlflow)


def _add_audits(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = commands.add_parser("audit", help="what a registered model does, looked at from outside")
    audits = audit.add_subparsers(dest="part", required=True, metavar="PART")
    drift = _command(
        audits, "drift", "audit", "compare today's customers with a model's own; exit status 0 is STABLE", "training"
    )
    drift.add_argument(
        "target", metavar="MODEL[@ALIAS]", help="for example churn (its champion), churn@candidate, or churn@7"
    )
    drift.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="features, as 'regulars features build' writes them"
    )
    drift.add_argument(
        "--by", nargs="+", default=None, metavar="COLUMN", help="sensitive attributes (default: all that are mapped)"
    )
    drift.add_argument("--out", type=Path, metavar="DIR", help="write the report here too")
    _with_publishing(drift)
    _with_registry(drift)
    fairness = _command(
        audits, "fairness", "audit", "compare how groups of customers come off; exit status 0 is PASS", "training"
    )
    fairness.add_argument(
        "target", metavar="MODEL[@ALIAS]", help="for example churn (its candidate), churn@champion, or version churn@7"
    )
    _with_as_of(fairness, "answers have closed by this date (default: the end of the data)")
    fairness.add_argument("--out", type=Path, metavar="DIR", help="write the report here too")
    _with_publishing(fairness)
    _with_registry(fairness)
    retire = _command(audits, "retire", "audit", "delete what a Pushgateway holds of a model's audits", "training")
    _with_model(retire)
    retire.add_argument("--push", required=True, metavar="URL", help="the Pushgateway")


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


def _with_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        nargs="?",
        const="",
        metavar="URL[,URL]",
        help="until the servers behind these metrics pages serve it (default: the one of 'regulars up')",
    )
    command.add_argument(
        "--wait-seconds", type=float, default=60.0, metavar="N", help="for so long at most (default: 60)"
    )


def _with_publishing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--push", metavar="URL", help="push the result to this Prometheus Pushgateway")
    command.add_argument("--textfile", type=Path, metavar="FILE", help="write the result for node_exporter (*.prom)")


def _date(text: str) -> dt.date:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date such as 2025-12-31") from None
    # Tomorrow's midnight ends today.
    if date > dt.datetime.now(tz=dt.UTC).date() + dt.timedelta(days=1):
        raise argparse.ArgumentTypeError(f"{text} lies in the future, of which no table can tell")
    return date


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return share


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to {LAST_PORT}")
    return int(text)


def _with_as_of(command: argparse._ActionsContainer, meaning: str, *, required: bool = False) -> None:
    command.add_argument("--as-of", type=_date, required=required, metavar="DATE", help=meaning)


if __name__ == "__main__":
    sys.exit(main())
