"""The manifests as a whole: they render, Kubernetes knows every field, and nothing is named that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from cli.models import MODELS
from tests.support.manifests import MANIFESTS, NAMESPACE, ROOT, Rendering, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.manifests import Resource

VERSIONS = ["1.31", "1.37"]
"""The oldest version that is supported, and the newest whose schemas are here: docs/kubernetes.md names the oldest."""

VALIDATOR = ROOT / ".venv-kubernetes/bin/python"
CUSTOM = MANIFESTS / "schemas"
GUIDE = ROOT / "docs/kubernetes.md"

OURS = {"regulars-serving", "regulars-jobs", "regulars-jobs-spark"}
OTHERS = {"docker.io/prom/pushgateway"}

SECRET_NAME = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|CREDENTIAL|BACKEND_STORE|API_KEY")
COMPONENTS = sorted(file.parent.name for file in (MANIFESTS / "components").glob("*/kustomization.yaml"))


ALONE = {"canary": "../../models/churn", "shadow": "../../models/churn", "spark": "../../jobs"}
"""What a component is put on; the others on all models."""


def wrong_with(resources: Iterable[Resource]) -> list[str]:
    """What Kubernetes, and those who made the custom resources, would complain of."""
    assert VALIDATOR.exists(), "run './dev test' once, which installs .venv-kubernetes"
    distinct = {json.dumps(resource, sort_keys=True): resource for resource in resources}
    question = json.dumps({"resources": list(distinct.values()), "versions": VERSIONS, "custom": str(CUSTOM)})
    script = ROOT / "tests/support/validate_manifests.py"
    done = subprocess.run([VALIDATOR, script], input=question, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def kustomization(folder: Path, **content: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="session")
def alone(manifests_with_everything: Path) -> dict[str, Rendering]:
    """Each component by itself."""
    k8s = manifests_with_everything.parents[1]
    folders = {
        name: kustomization(
            k8s / "alone" / name,
            resources=[ALONE.get(name, "../../models")],
            components=[f"../../components/{name}"],
        )
        for name in COMPONENTS
    }
    return {name: Rendering(name, render(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def tracks(manifests_with_everything: Path) -> Rendering:
    """A canary and a shadow of every model."""
    folder = manifests_with_everything.parents[1] / "tracks"
    names = [f"{model}-{track}" for model in MODELS for track in ("canary", "shadow")]
    for name in names:
        model, _, track = name.partition("-")
        kustomization(folder / name, resources=[f"../../models/{model}"], components=[f"../../components/{track}"])
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["../mlflow", *names]}))
    return Rendering("tracks", render(folder))


def test_every_resource_is_one_that_kubernetes_knows_field_by_field(
    everything: Rendering, alone: dict[str, Rendering], tracks: Rendering
) -> None:
    overlays = [resource for name in ("local", "production") for resource in render(MANIFESTS / "overlays" / name)]
    parts = [resource for one in alone.values() for resource in one.resources]
    assert wrong_with((*overlays, *parts, *everything.resources, *tracks.resources)) == []


def test_a_field_that_is_misspelt_and_a_kind_without_a_schema_are_found(everything: Rendering) -> None:
    misspelt = {
        "Deployment": "enableServiceLink",
        "PodMonitor": "podMetricEndpoints",
        "ServiceMonitor": "selectors",
        "PrometheusRule": "group",
        "HorizontalPodAutoscaler": "minReplica",
    }
    resources = []
    for kind, field in misspelt.items():
        resource = next(everything.of_kind(kind))
        resources.append({**resource, "spec": {**resource["spec"], field: []}})
    unknown = {"apiVersion": "example.com/v1", "kind": "Wish", "metadata": {"name": "rain"}}
    complaints = wrong_with([*resources, unknown])
    for told in (*misspelt.values(), "Wish rain"):
        assert any(told in complaint for complaint in complaints), told


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_can_be_had_alone(component: str, alone: dict[str, Rendering]) -> None:
    assert alone[component].workloads


@pytest.mark.parametrize("track", ["canary", "shadow"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_have_a_canary_and_a_shadow(model: str, track: str, tracks: Rendering) -> None:
    (deployment,) = (one for one in tracks.deployments if one.name == f"regulars-{model}-{track}")
    assert deployment.labels["app.kubernetes.io/component"] == model
    assert deployment.labels["regulars/track"] == track
    assert deployment.containers["sync"].words[1] == f"{model}@candidate"


def test_every_model_has_its_server(rendering: Rendering) -> None:
    stable = {one.labels["app.kubernetes.io/component"] for one in rendering.servers if one.name.count("-") == 1}
    assert stable == set(MODELS)


def test_a_model_is_one_small_folder() -> None:
    for model in MODELS:
        files = [file for file in (MANIFESTS / "models" / model).rglob("*") if file.is_file()]
        assert [file.name for file in files] == ["kustomization.yaml"]
        assert len(files[0].read_text().splitlines()) <= 10


def test_everything_lies_in_the_one_namespace_that_refuses_pods_with_privileges(rendering: Rendering) -> None:
    (namespace,) = rendering.of_kind("Namespace")
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [one for one in rendering.resources if one is not namespace]
    assert {one["metadata"].get("namespace") for one in others} == {NAMESPACE}


def test_names_are_unique(rendering: Rendering) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendering.resources]
    assert len(names) == len(set(names))


def test_images_are_ours_or_named_here_and_each_says_its_version(rendering: Rendering) -> None:
    for container in rendering.containers:
        name, _, tag = container.image.rpartition(":")
        assert name.removeprefix("registry.example.com/") in OURS | OTHERS, container
        assert tag, container
        assert tag != "latest", container


def test_no_manifest_holds_a_secret(rendering: Rendering) -> None:
    assert not list(rendering.of_kind("Secret"))
    for container in rendering.containers:
        for entry in container.spec.get("env", []):
            if SECRET_NAME.search(entry["name"]) and "value" in entry:
                # A file of the pod's own volume has no password.
                assert entry["value"].startswith("sqlite:///"), f"{container}: {entry['name']}"
    for settings in rendering.of_kind("ConfigMap"):
        assert not [name for name in settings["data"] if SECRET_NAME.search(name)], settings["metadata"]["name"]
        assert not re.search(r"://[^/\s]*:[^/\s]*@", json.dumps(settings["data"])), settings["metadata"]["name"]


PLACES = {
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
"""Where a volume names what it is made of."""

SOURCES = {
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}
"""Where a variable names what holds it."""


def references(rendering: Rendering) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that pods ask for."""
    for workload in rendering.workloads:
        yield "ServiceAccount", workload.pod["serviceAccountName"]
        for volume in workload.volumes.values():
            yield from ((kind, volume[place][name]) for place, (kind, name) in PLACES.items() if place in volume)
    for container in rendering.containers:
        variables = [entry.get("valueFrom", {}) for entry in container.spec.get("env", [])]
        for source in (*variables, *container.spec.get("envFrom", [])):
            yield from ((kind, source[place]["name"]) for place, kind in SOURCES.items() if place in source)


def brought() -> set[tuple[str, str]]:
    """Kind and name of what the guide tells the operator to bring."""
    table = GUIDE.read_text().split("<!-- brought -->")[1].split("<!-- /brought -->")[0]
    return set(re.findall(r"^\| (\w+) \| `([\w-]+)` \|", table, re.MULTILINE))


def test_what_pods_ask_for_is_rendered_or_the_guide_tells_the_operator_to_bring_it(rendering: Rendering) -> None:
    rendered = {(one["kind"], one["metadata"]["name"]) for one in rendering.resources}
    assert set(references(rendering)) - rendered - brought() == set()


def test_the_operator_brings_nothing_that_no_pod_asks_for(everything: Rendering) -> None:
    assert brought() - set(references(everything)) == set()


def test_the_guide_names_the_oldest_version_that_is_checked() -> None:
    assert f"Kubernetes {VERSIONS[0]} or later" in GUIDE.read_text()


def test_a_change_of_settings_is_a_rollout(rendering: Rendering) -> None:
    """Their ConfigMaps are named by what they hold."""
    for workload in rendering.workloads:
        for container in workload.containers.values():
            for source in container.spec.get("envFrom", []):
                if "configMapRef" in source:
                    assert re.search(r"-[a-z0-9]{10}$", source["configMapRef"]["name"]), container


def test_jobs_on_spark_give_their_executors_their_own_image(everything: Rendering) -> None:
    (job,) = (one for one in everything.cron_jobs if one.labels.get("regulars/spark"))
    container = job.containers["job"]
    assert container.environment["SPARK_IMAGE"] == container.image
    assert f"spark.kubernetes.container.image={container.image} " in container.environment["PYSPARK_SUBMIT_ARGS"]
