"""The laws of the images that can be read off their recipe. `./dev test-images` builds and runs them."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from cli.reference import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
RUNS = re.findall(r"^RUN (.*)", DOCKERFILE, re.MULTILINE)
PARTS = re.findall(r"([\w-]+)\) packages=", DOCKERFILE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements_of(name: str) -> list[str]:
    """Each with its hashes, in one line."""
    return (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ").splitlines()


def versions_of(name: str) -> dict[str, set[str]]:
    """By the package's name; where Pythons differ, there are several."""
    found: dict[str, set[str]] = {}
    for line in requirements_of(name):
        requirement = Requirement(line.partition(" --hash")[0])
        found.setdefault(requirement.name, set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def test_there_is_an_image_for_each_part() -> None:
    assert PARTS == ["serving", "jobs", "jobs-spark"]


@pytest.mark.parametrize("name", ["build", *PARTS])
def test_whatever_is_installed_is_known_by_its_hash(name: str) -> None:
    assert [line for line in requirements_of(name) if "==" not in line or "--hash=sha256:" not in line] == []


def test_pip_installs_by_hash_or_from_what_it_built() -> None:
    calls = [call for run in RUNS for call in re.split("&&|;", run) if re.search(r"bin/pip .*(install|wheel)", call)]
    assert len(calls) == 4
    assert [call for call in calls if "--require-hashes" not in call and "--no-index" not in call] == []


def test_an_argument_stays_in_the_image_so_none_holds_a_secret() -> None:
    assert set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE)) == {"BASE", "PART"}


def test_it_runs_as_a_number_that_is_not_roots() -> None:
    """Kubernetes cannot tell whether a name is root's."""
    last_stage = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[-1]
    user, group = map(int, re.findall(r"^USER (\d+):(\d+)$", last_stage, re.MULTILINE)[-1])
    assert user > 0
    assert group > 0


def test_a_server_brings_nothing_that_training_needs() -> None:
    foreign = {"duckdb", "lightgbm", "mlflow", "mlflow-skinny", "onnx", "pandas", "pyarrow", "scikit-learn", "scipy"}
    assert foreign & versions_of("serving").keys() == set()


def test_the_build_brings_what_the_project_builds_with() -> None:
    locked = versions_of("build")
    for text in PROJECT["build-system"]["requires"]:
        requirement = Requirement(text)
        assert all(requirement.specifier.contains(version) for version in locked[requirement.name])


@pytest.mark.parametrize("part", PARTS)
def test_stubs_are_generated_for_the_versions_that_run_them(part: str) -> None:
    build, run = versions_of("build"), versions_of(part)
    assert {name: build[name] for name in ("grpcio", "protobuf")} == {
        name: run[name] for name in ("grpcio", "protobuf")
    }


def test_a_build_sees_what_the_wheel_is_made_of_and_nothing_else() -> None:
    first, *patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert first == "*"
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    packages = {path.partition("/")[0] for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert let_in == {"LICENSE", "README.md", "pyproject.toml", "requirements", *packages}
