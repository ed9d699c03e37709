"""What each model declares, over the tables of a shop and bundles of the models' conventions."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits.fairness import audit
from audits.job import declaration
from audits.policy import Policy
from audits.population import read_population
from cli.models import MODELS
from features.project import load_project
from features.tables import open_tables
from model_registry.schema import Band, Output, Schema
from tests.support.audited import FREQUENCY, RECENCY, RISKS, linear_bundle, shop

if TYPE_CHECKING:
    from pathlib import Path

    from audits.fairness import FairnessAudit
    from features.project import Project

pytestmark = pytest.mark.usefixtures("few_resamples")

DAY = dt.date(2023, 9, 1)
LONG_AWAY, OFTEN = np.array([[0.05], [0.0]]), np.array([[0.0], [0.05]])
CLUSTERS = (Band("Frequent", 1.0), Band("Rare", 2.0))

BUNDLES = {
    "churn": {Output("churn_probability", "probability", RISKS): (LONG_AWAY, -2.0, "Sigmoid")},
    "propensity": {
        Output("purchase_probability", "probability"): (-LONG_AWAY, 1.0, "Sigmoid"),
        Output("purchase_probability[tea]", "probability", category="tea"): (-LONG_AWAY, 0.0, "Sigmoid"),
        Output("response_probability", "probability"): (OFTEN, -3.0, "Sigmoid"),
    },
    "cltv": {
        Output("expected_value", "EUR"): (OFTEN, 60.0, "Relu"),
        Output("lower_bound", "EUR"): (OFTEN, 0.0, "Relu"),
        Output("upper_bound", "EUR"): (OFTEN, 200.0, "Relu"),
    },
    "clustering": {
        Output("cluster_id", "cluster", CLUSTERS): (0.01 * LONG_AWAY, 1.5, "Round"),
        Output("distance", "scaled units", (Band("USUAL", 0.0), Band("UNUSUAL", 2.0))): (LONG_AWAY, 0.0, "Relu"),
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return load_project(shop(tmp_path_factory.mktemp("shop")))


def audited(project: Project, model: str, folder: Path) -> FairnessAudit:
    outputs = BUNDLES[model]
    schema = Schema((RECENCY, FREQUENCY), tuple(outputs))
    formulas = {output.name: formula for output, formula in outputs.items()}
    bundle = linear_bundle(folder / "bundle", model, schema, formulas, 30)
    declared = declaration(model)
    categories = tuple(output.category for output in outputs if output.category)
    tables = replace(open_tables(project), categories=categories)
    answers = declared.answers(tables, project, DAY, 30)
    population = read_population(tables, bundle, answers, DAY, 30)
    limits = Policy.of(replace(project.audits, minimum_customers=100), (), model, DAY)
    return audit(population, declared.yardsticks(population, limits), limits)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_of_the_suite_is_audited(project: Project, model: str, tmp_path: Path) -> None:
    result = audited(project, model, tmp_path)
    assert len(result.population) > 300
    assert {"gender", "age"} <= {one.attribute for one in result.findings}
    assert all(one.tolerance for one in result.findings)


def test_propensity_is_audited_by_each_purchase_that_the_tables_tell_of(project: Project, tmp_path: Path) -> None:
    """No responses are mapped, so what the model says of them cannot be held against anything."""
    outputs = audited(project, "propensity", tmp_path).outputs
    assert [(one.yardstick.name, one.yardstick.title) for one in outputs] == [
        ("purchase_probability", "Probability to buy anything"),
        ("purchase_probability[tea]", "Probability to buy tea"),
    ]
