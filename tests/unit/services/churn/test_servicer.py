from __future__ import annotations

from dataclasses import replace

import pytest

from model_registry.bundle import BundleError
from model_registry.schema import Band, Output, Schema
from services.churn.servicer import SERVICE, check
from tests.support.bundles import SCHEMA


def with_output(**changes: object) -> Schema:
    return replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], **changes),))  # type: ignore[arg-type]  # a test changes what it likes


def test_the_service_has_the_name_that_callers_use() -> None:
    assert SERVICE == "regulars.churn.v1.ChurnService"


def test_a_schema_with_the_probability_and_its_bands_is_taken() -> None:
    check(SCHEMA)
    check(replace(SCHEMA, outputs=(Output("more", ""), *SCHEMA.outputs)))


@pytest.mark.parametrize(
    "schema",
    [
        replace(SCHEMA, outputs=()),
        with_output(name="probability"),
        with_output(bands=()),
        with_output(bands=(Band("LOW", 0.0), Band("HIGH", 0.5))),
        with_output(bands=(Band("HIGH", 0.0), Band("MEDIUM", 0.25), Band("LOW", 0.5))),
    ],
)
def test_a_schema_that_risk_bands_cannot_express_is_refused_with_what_is_missing(schema: Schema) -> None:
    with pytest.raises(BundleError, match="no output churn_probability with bands LOW, MEDIUM, HIGH; retrain churn"):
        check(schema)
