"""Whether those who call one version can call another in its place, and go on reading its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.bundle import Manifest
    from model_registry.schema import Feature, Output


def breaks(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """What callers of `before` would stumble over if `after` answered them; empty where they notice nothing.

    Law: where this names no input, every customer that `before` takes, `after` takes too. An input of another unit
    would be taken and misread, and an answer about another time span would be misunderstood, so both count.
    """
    return (*_broken_inputs(before, after), *_broken_outputs(before, after), *_broken_horizon(before, after))


def _broken_inputs(before: Manifest, after: Manifest) -> Iterator[str]:
    earlier = {feature.name: feature for feature in before.schema.features}
    later = {feature.name: feature for feature in after.schema.features}
    for name, feature in earlier.items():
        if name not in later:
            yield f"input {name} is refused: it is gone"
        else:
            yield from _changed_input(feature, later[name])
    for name, feature in later.items():
        if name not in earlier and not feature.nullable:
            yield f"input {name} is new and required"


def _changed_input(before: Feature, after: Feature) -> Iterator[str]:
    if after.kind != before.kind:
        yield f"input {before.name} is {after.kind}, was {before.kind}"
    if after.unit != before.unit:
        yield f"input {before.name} is in {_unit(after)}, was in {_unit(before)}"
    if before.nullable and not after.nullable:
        yield f"input {before.name} is required, could be left out"


def _broken_outputs(before: Manifest, after: Manifest) -> Iterator[str]:
    later = {output.name: output for output in after.schema.outputs}
    for output in before.schema.outputs:
        if output.name not in later:
            yield f"output {output.name} is gone"
        elif later[output.name].unit != output.unit:
            yield f"output {output.name} is in {_unit(later[output.name])}, was in {_unit(output)}"


def _broken_horizon(before: Manifest, after: Manifest) -> Iterator[str]:
    if after.horizon_days != before.horizon_days:
        yield f"answers speak of {after.horizon_days} days, spoke of {before.horizon_days}"


def _unit(one: Feature | Output) -> str:
    return one.unit or "no unit"
