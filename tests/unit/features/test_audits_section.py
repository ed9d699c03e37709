"""`[audits]` and its waivers in the project file."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from features.project import ProjectError, load_project, project_reference
from tests.unit.features.test_project import LEAST

if TYPE_CHECKING:
    from tests.unit.features.conftest import WriteProject

WAIVER = """
[[audits.waivers]]
model = "churn"
finding = "churn_probability/tpr_gap/age/65+"
reason = "too few customers"
by = "Ada Lovelace"
expires = 2027-12-31
"""


def test_the_defaults_are_those_of_the_documentation(write_project: WriteProject) -> None:
    project = load_project(write_project(LEAST))
    assert (project.audits.top_share, project.audits.minimum_outcomes, project.audits.minimum_customers) == (
        0.2,
        30,
        200,
    )
    assert (project.audits.tpr_gap, project.audits.exposure_ratio, project.audits.total_error) == (0.1, 0.8, 0.1)
    assert project.waivers == ()


def test_waivers_are_read_in_their_order(write_project: WriteProject) -> None:
    project = load_project(write_project(f"{LEAST}[audits]\ntop_share = 0.1\n{WAIVER}{WAIVER.replace('65+', '18')}"))
    assert project.audits.top_share == 0.1
    first, second = project.waivers
    assert (first.finding, first.by, first.expires) == (
        "churn_probability/tpr_gap/age/65+",
        "Ada Lovelace",
        dt.date(2027, 12, 31),
    )
    assert second.finding.endswith("/18")


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("[audits]\ntpr_gap = 1.5\n", "audits.tpr_gap", "must be a number above 0 and below 1"),
        ("[audits]\ntop_share = 1\n", "audits.top_share", "must be a number above 0 and below 1"),
        ("[audits]\ntop_shar = 0.1\n", "audits.top_shar", "nearest key is audits.top_share"),
        ("[audits]\nwaivers = 3\n", "audits.waivers", "Write it as [[audits.waivers]]"),
        (WAIVER.replace('by = "Ada Lovelace"\n', ""), "audits.waivers.by", "is required and missing"),
        (WAIVER.replace("2027-12-31", '"2027-12-31"'), "audits.waivers.expires", "without quotes"),
        (WAIVER.replace("2027-12-31", "2027-12-31T00:00:00"), "audits.waivers.expires", "must be a date"),
        ("[audits.waivers]\nmodel = 'x'\n", "audits.waivers", "Write it as [[audits.waivers]]"),
    ],
)
def test_an_error_names_the_key_and_the_remedy(write_project: WriteProject, text: str, key: str, says: str) -> None:
    with pytest.raises(ProjectError) as raised:
        load_project(write_project(LEAST + text))
    assert raised.value.key == key
    assert says in str(raised.value)


def test_the_reference_tells_them() -> None:
    for key in ("audits.top_share", "audits.cramers_v", "audits.waivers.expires"):
        assert f"| `{key}` |" in project_reference()
