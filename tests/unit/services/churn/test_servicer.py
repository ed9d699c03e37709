from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import BundleError
from model_registry.schema import Band, Output
from services.churn.servicer import SERVICE, Answers, check
from tests.support.bundles import SCHEMA, manifest

if TYPE_CHECKING:
    from model_registry.bundle import Manifest


def with_output(**changes: object) -> Manifest:
    return manifest(schema=replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], **changes),)))  # type: ignore[arg-type]  # a test changes what it likes


def test_the_service_has_the_name_that_callers_use() -> None:
    assert SERVICE == "regulars.churn.v1.ChurnService"


def test_a_bundle_with_the_probability_and_its_bands_is_taken() -> None:
    check(manifest())
    check(manifest(schema=replace(SCHEMA, outputs=(Output("more", ""), *SCHEMA.outputs))))


@pytest.mark.parametrize(
    "refused",
    [
        manifest(schema=replace(SCHEMA, outputs=())),
        with_output(name="probability"),
        with_output(reference=()),
        with_output(bands=()),
        with_output(bands=(Band("LOW", 0.0), Band("HIGH", 0.5))),
        with_output(bands=(Band("HIGH", 0.0), Band("MEDIUM", 0.25), Band("LOW", 0.5))),
    ],
)
def test_a_bundle_that_the_answers_cannot_express_is_refused_with_what_is_missing(refused: Manifest) -> None:
    complaint = "no output churn_probability with a reference and bands LOW, MEDIUM, HIGH; retrain churn"
    for use in (check, Answers):
        with pytest.raises(BundleError, match=complaint):
            use(refused)
