"""What a run is to do: the models and the source, checked against each other before the first row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.frame import FrameError, columns_from_arrow
from services.batch.answers import CONSENT, agreeing
from services.batch.errors import InputError
from services.batch.rejected import ID
from services.batch.run import Identity
from services.batch.shards import FAULT, ROW, Task
from services.batch.source import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from services.batch.place import Place
    from services.batch.scorers import Model
    from services.batch.source import Source


def plan(
    models: Sequence[Model],
    source: Source,
    output: Place,
    *,
    with_features: bool = False,
    repeated: Place | None = None,
) -> tuple[Task, Identity]:
    """What is asked of each shard, and what the run is.

    Args:
        models: one version of each model to score with.
        source: the customers.
        output: the folder for the scores.
        with_features: whether the features stand beside the scores.
        repeated: a Parquet file of the ids that stand more than once in the source, if any do.

    Raises:
        InputError: the source has no ids, lacks a column that a model needs, has one of them twice or of another kind
            than the model takes, or a consent that is not true or false.
    """
    found = source.schema.names
    if ID not in found:
        raise InputError(f"the input has no column {ID}; it has {', '.join(found) or 'none'}")
    features = list(dict.fromkeys(feature.name for model in models for feature in model.schema.features))
    beside = [name for name in (CONSENT, ROW, FAULT) if name in found]
    names = tuple(dict.fromkeys((ID, *beside, *features)))
    twice = [name for name in names if found.count(name) > 1]
    if twice:
        raise InputError(f"columns stand more than once in the input: {', '.join(twice)}; rename one of each")
    kind = source.schema.field(ID).type
    if not is_id(kind):
        raise InputError(f"{ID} must be text or whole numbers, is {kind}")
    agreeing(source.schema.empty_table())
    for model in models:
        _require_columns(source.schema, model)
    carried = tuple(features) if with_features else ()
    identity = Identity(
        input={"files": list(source.files), "rows": source.rows, "digest": source.digest},
        models={model.name: {"version": model.version, "digest": model.digest} for model in models},
        carried=list(carried),
    )
    return Task(identity.digest, output, tuple(models), names, carried, repeated), identity


def _require_columns(schema: pa.Schema, model: Model) -> None:
    missing = [feature.name for feature in model.schema.features if feature.name not in schema.names]
    if missing:
        raise InputError(f"the input lacks columns that {model.name} needs: {', '.join(missing)}")
    try:
        columns_from_arrow(schema.empty_table(), model.schema)
    except FrameError as error:
        raise InputError(f"{model.name} cannot score the input: {error}") from error
