"""score: the whole customer base into a folder of scores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cli.console import Steps, err
from cli.errors import CommandError
from cli.models import MODELS
from cli.progress import AUTO, Meter, metered
from cli.score_summary import show
from features.project import load_project
from model_registry.bundle import read_bundle
from model_registry.publishing import push, require_collected, write_textfile
from model_registry.release import bundle_folder, read_release
from services.batch.engines import LocalEngine
from services.batch.intake import remove_made, take_in, take_in_batches, taken_before
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.publishing import JOB, result_of
from services.batch.run import TooManyRejectedError, run
from services.batch.scorers import BundleModel, ServerModel
from services.batch.source import read_source
from services.client import CallError, Security
from services.core.service import load_service

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cli.progress import Reading
    from services.batch.engines import Engine
    from services.batch.intake import Intake
    from services.batch.run import Summary
    from services.batch.scorers import Model

ALL = "all"

SPARK, GRPC = "spark", "grpc"


def score(options: argparse.Namespace) -> int:
    """Scores with the released bundles, or through servers; goes on where an earlier attempt stopped."""
    _require_consistent(options)
    if options.textfile:
        require_collected(options.textfile)
    steps = Steps() if options.progress == AUTO else _silence
    steps("looking up the models")
    names = MODELS if ALL in options.models else tuple(dict.fromkeys(options.models))
    models = list(_served(names, options) if _through_servers(options) else _released(names, options))
    engine = _engine(options)
    output = Place(options.output)
    meter = Meter()
    try:
        taken = _taken(models, output, options, steps)
        source = read_source(taken.files)
        task, identity = plan(models, source, output, with_features=options.with_features, repeated=taken.repeated)
        steps(f"scoring {source.rows:,} rows into {output}")
        with metered(options.progress) as meter:
            summary = run(
                task,
                source,
                identity,
                engine,
                progress=meter,
                restart=options.restart,
                most_rejected=options.max_rejected,
            )
        remove_made(output)
    except TooManyRejectedError as error:
        show(error.summary, models, output)
        raise
    except KeyboardInterrupt:
        _say_how_to_go_on(meter.last, options)
        raise
    show(summary, models, output)
    _publish(summary, options)
    return 0


def _require_consistent(options: argparse.Namespace) -> None:
    if _through_servers(options) and options.bundles:
        raise CommandError("give --target to score through a server, or --bundles to score here; not both")
    if options.target and options.engine not in {None, GRPC}:
        raise CommandError(f"--engine {options.engine} scores with bundles; leave it out to score through --target")
    if options.workers and options.engine == SPARK:
        raise CommandError("--workers are processes of this machine; Spark's configuration says how many it has")


def _through_servers(options: argparse.Namespace) -> bool:
    return bool(options.target) or options.engine == GRPC


def _released(names: tuple[str, ...], options: argparse.Namespace) -> Iterator[Model]:
    """The bundles that 'regulars sync' released."""
    bundles: Path = options.bundles or load_project(options.project).registry.bundles
    for name in names:
        release = read_release(bundles, name)
        if release is None:
            raise CommandError(
                f"{bundles} holds no released {name}; run 'regulars sync {name}@champion --to {bundles}', "
                "or give --target for a running server"
            )
        yield BundleModel(read_bundle(bundle_folder(bundles, name, release.digest)), release.version)


def _served(names: tuple[str, ...], options: argparse.Namespace) -> Iterator[Model]:
    """What servers serve: those that are given, or those of 'regulars up' on this machine."""
    security = Security(ca=options.ca, certificate=options.certificate, key=options.key, token=options.token)
    targets = dict(_target(text, names) for text in options.target) if options.target else _targets_of_up(names)
    missing = [name for name in names if name not in targets]
    if missing:
        raise CommandError(f"no server is given for {missing[0]}; add --target {missing[0]}=HOST:PORT")
    for name in names:
        try:
            yield ServerModel.at(name, targets[name], security)
        except CallError as error:
            raise CommandError(
                f"cannot ask the server of {name} at {targets[name]} what it serves: {error}; see that it runs, and "
                "lets you in"
            ) from error


def _target(text: str, names: tuple[str, ...]) -> tuple[str, str]:
    """With one model its name need not stand before the address."""
    name, found, address = text.partition("=")
    if found and name in names:
        return name, address
    if not found and len(names) == 1:
        return names[0], text
    raise CommandError(f"--target {text} does not say of which model; write for example {names[0]}=HOST:PORT")


def _targets_of_up(names: tuple[str, ...]) -> dict[str, str]:
    return {name: f"127.0.0.1:{load_service(name).PORT}" for name in names}


def _taken(
    models: Sequence[Model], output: Place, options: argparse.Namespace, progress: Callable[[str], None]
) -> Intake:
    """Whom to score: the customers of the input, or those of the project's tables at a date."""
    if options.input:
        progress(f"reading {', '.join(options.input)}")
        return take_in(options.input, output, [model.schema for model in models])
    # The extra 'training' brings what it imports.
    from cli.features import customers_as_of  # noqa: PLC0415

    project = load_project(options.project)
    name = f"customers of {project.name} as of {options.as_of}"
    before = None if options.restart else taken_before(name, output)
    if before is not None:
        progress("going on with the features that were built before")
        return before
    return take_in_batches(name, customers_as_of(project, options.as_of, progress).to_batches(), output)


def _engine(options: argparse.Namespace) -> Engine:
    if options.engine == SPARK:
        # The extra 'spark' brings what it imports.
        from services.batch.spark import SparkEngine  # noqa: PLC0415

        return SparkEngine.on_this_session()
    return LocalEngine(options.workers)


def _say_how_to_go_on(last: Reading | None, options: argparse.Namespace) -> None:
    done = f"{last.rows:,} of {last.of:,} rows are scored" if last else "no row is scored yet"
    again = "the same command without --restart" if options.restart and last else "the same command"
    err.print(f"interrupted: {done}; {again} goes on from there")


def _silence(message: str) -> None:
    """For machines, and for whoever wants no progress."""


def _publish(summary: Summary, options: argparse.Namespace) -> None:
    result = result_of(summary, time.time())
    if options.push:
        push(result, options.push, JOB, result.grouping)
    if options.textfile:
        write_textfile(result, options.textfile)
