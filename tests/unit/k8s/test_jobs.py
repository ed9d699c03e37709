"""What must hold of the jobs that come by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.manifests import Rendering, Workload


@pytest.fixture
def jobs(rendering: Rendering) -> tuple[Workload, ...]:
    assert rendering.cron_jobs
    return rendering.cron_jobs


def test_no_job_runs_beside_itself(jobs: tuple[Workload, ...]) -> None:
    assert all(job.resource["spec"]["concurrencyPolicy"] == "Forbid" for job in jobs)


def test_a_job_that_was_missed_starts_within_an_hour_or_not_at_all(jobs: tuple[Workload, ...]) -> None:
    assert all(job.resource["spec"]["startingDeadlineSeconds"] == 3600 for job in jobs)


def test_no_job_runs_for_ever_or_is_tried_for_ever(jobs: tuple[Workload, ...]) -> None:
    for job in jobs:
        assert 0 < job.job["activeDeadlineSeconds"] <= 6 * 3600, job
        assert 0 <= job.job["backoffLimit"] <= 3, job
        assert job.pod["restartPolicy"] == "Never", job


def test_what_jobs_left_behind_is_kept_for_some_runs(jobs: tuple[Workload, ...]) -> None:
    for job in jobs:
        spec = job.resource["spec"]
        assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 3), job


def test_hours_are_those_of_one_zone_that_knows_no_summer(jobs: tuple[Workload, ...]) -> None:
    assert all(job.resource["spec"]["timeZone"] == "Etc/UTC" for job in jobs)


def test_a_candidate_is_audited_when_its_training_must_have_ended(jobs: tuple[Workload, ...]) -> None:
    by_name = {job.name: job for job in jobs}
    train, audit = by_name["regulars-train"], by_name["regulars-audit-fairness"]
    begins, then = (job.resource["spec"]["schedule"].split() for job in (train, audit))
    assert begins[2:] == then[2:]
    assert (int(then[1]) - int(begins[1])) * 3600 >= train.job["activeDeadlineSeconds"]


def test_only_the_toolbox_waits_for_people(jobs: tuple[Workload, ...]) -> None:
    assert {job.name for job in jobs if job.resource["spec"].get("suspend")} == {"regulars-toolbox"}


def test_jobs_write_nothing_to_the_tables(jobs: tuple[Workload, ...]) -> None:
    for job in jobs:
        mount = job.containers["job"].mounts["/project/data"]
        assert mount.get("readOnly", False) is not (job.name == "regulars-toolbox"), job


def test_a_job_that_failed_says_so_where_one_of_its_models_did(jobs: tuple[Workload, ...]) -> None:
    for job in jobs:
        script = job.containers["job"].words
        if "audit" in job.name:
            assert "|| status=$?" in script[-1], job
            assert script[-1].rstrip().endswith("exit $status"), job
