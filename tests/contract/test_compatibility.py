"""Where no input breaks, a server with the later version takes whatever one with the earlier version takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import assume, event, given
from hypothesis import strategies as st

from model_registry.compatibility import breaks
from model_registry.schema import Feature, Output, Schema
from regulars.scoring.v1 import scoring_pb2
from services.core.codec import Codec
from services.core.errors import Refusal
from tests.support.bundles import manifest

if TYPE_CHECKING:
    from model_registry.schema import FeatureKind

NAMES = ("age", "orders", "channel", "plan")
OUTPUTS = (Output("risk", "probability"),)
KINDS: tuple[FeatureKind, FeatureKind] = ("numeric", "categorical")


def schemas() -> st.SearchStrategy[Schema]:
    feature = st.builds(Feature, name=st.sampled_from(NAMES), kind=st.sampled_from(KINDS), nullable=st.booleans())
    features = st.lists(feature, min_size=1, unique_by=lambda one: one.name)
    return features.map(lambda chosen: Schema(tuple(chosen), OUTPUTS))


@st.composite
def customers(draw: st.DrawFn, schema: Schema) -> scoring_pb2.Customer:
    """A customer with some of the schema's features, each of its kind."""
    customer = scoring_pb2.Customer(id="17")
    for feature in schema.features:
        if feature.nullable and draw(st.booleans()):
            continue
        if feature.kind == "numeric":
            customer.numeric[feature.name] = draw(st.sampled_from([0.0, 1.5, -3.0]))
        else:
            customer.categorical[feature.name] = draw(st.sampled_from(["web", "shop"]))
    return customer


def takes(schema: Schema, customer: scoring_pb2.Customer) -> bool:
    try:
        columns = Codec(schema, max_rows=1).decode_customer(customer)
    except Refusal:
        return False
    assert not any(math.isinf(value) for value in columns.numeric[0])
    return True


@given(data=st.data(), before=schemas(), after=schemas())
def test_customers_that_were_taken_are_taken(data: st.DataObject, before: Schema, after: Schema) -> None:
    customer = data.draw(customers(before))
    assume(takes(before, customer))
    broken = breaks(manifest(schema=before), manifest(schema=after))
    event("breaks" if broken else "fits")
    assert broken or takes(after, customer)


@given(before=schemas(), after=schemas())
def test_what_breaks_does_break_somebody(before: Schema, after: Schema) -> None:
    everything = scoring_pb2.Customer(id="17")
    least = scoring_pb2.Customer(id="18")
    for feature in before.features:
        for customer in (everything,) if feature.nullable else (everything, least):
            if feature.kind == "numeric":
                customer.numeric[feature.name] = 1.0
            else:
                customer.categorical[feature.name] = "web"
    broken = breaks(manifest(schema=before), manifest(schema=after))
    assert bool(broken) != (takes(after, everything) and takes(after, least))
