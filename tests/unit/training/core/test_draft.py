"""What a bundle freezes: the spread of the customers whom the model was tested on, and of no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_registry.schema import Band, Status
from tests.support.bundles import SCHEMA
from tests.support.drift import frozen_model, people


def test_the_spread_is_that_of_the_customers_whom_the_model_scores() -> None:
    columns = people(1000, seed=0)
    columns.numeric[:400, 0] = 400.0
    schema = frozen_model(columns).schema
    recency, frequency, channel = (feature.distribution for feature in schema.features)
    (output,) = (output.distribution for output in schema.outputs)
    assert recency is not None
    assert frequency is not None
    assert channel is not None
    assert output is not None
    assert {one.customers for one in (recency, frequency, channel, output)} == {600}
    assert max(recency.edges) < 90.0
    assert frequency.missing == np.isnan(columns.numeric[400:, 1]).mean()
    assert channel.shares == tuple((columns.categorical[400:] == name).mean() for name in ("shop", "web"))
    assert output.shares == pytest.approx([0.1] * len(output.shares), abs=0.05)
    assert schema.digest == SCHEMA.digest, "no caller notices"


def test_a_category_that_came_after_training_is_unseen() -> None:
    columns = people(1000, seed=0)
    columns.categorical[:50] = "kiosk"
    channel = frozen_model(columns).schema.features[2].distribution
    assert channel is not None
    assert channel.unseen == 0.05


@pytest.mark.parametrize(("thresholds", "are_names"), [((0.0, 0.5), False), ((), False)])
def test_bands_are_bins_only_where_every_value_is_one_of_them(thresholds: tuple[float, ...], are_names: bool) -> None:
    bands = tuple(Band(f"band {at}", at) for at in thresholds)
    schema = replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], bands=bands),))
    spread = frozen_model(people(1000, seed=0), schema=schema).schema.outputs[0].distribution
    assert spread is not None
    assert (spread.edges == thresholds[1:]) is are_names


def test_each_cluster_is_a_bin_even_if_nobody_is_in_it() -> None:
    columns = people(1000, seed=0)
    columns.numeric[:] = (0.0, 1.0)
    columns.categorical[:] = ""
    value = float(np.float32(1 / (1 + np.exp(-1.0))))
    bands = (Band("none", 0.0), Band("all", value), Band("nobody", 1.0))
    schema = replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], bands=bands),), population=SCHEMA.population)
    assert schema.population[0].status == Status.INACTIVE
    spread = frozen_model(columns, schema=schema).schema.outputs[0].distribution
    assert spread is not None
    assert (spread.edges, spread.shares) == ((value, 1.0), (0.0, 1.0, 0.0))
