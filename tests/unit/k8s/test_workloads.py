"""What must hold of every pod: its rights, its bounds, its probes, its settings, its end."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from cli.main import _parser
from services.core.health import LIVE
from services.core.settings import PREFIX, Settings
from services.core.workers import LAST_SECONDS
from tests.support.manifests import Container, Rendering, Workload, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

USER = 10001


def settings_of(server: Workload) -> Settings:
    environment = server.containers["server"].environment
    return Settings.from_environment({name: value for name, value in environment.items() if name.startswith(PREFIX)})


def executor(everything: Rendering) -> Workload:
    """Spark's executors are pods of a template that stands in a ConfigMap."""
    (files,) = (one["data"] for one in everything.of_kind("ConfigMap") if "executor.yaml" in one["data"])
    template = yaml.safe_load(files["executor.yaml"])
    resource = {"kind": "Deployment", "metadata": {"name": "executor"}, "spec": {"template": template}}
    return Workload(resource, everything)


@pytest.fixture
def workloads(rendering: Rendering) -> tuple[Workload, ...]:
    on_spark = any(one.labels.get("regulars/spark") for one in rendering.workloads)
    return (*rendering.workloads, *([executor(rendering)] if on_spark else []))


# Rights


def test_pods_run_as_the_one_user_without_privileges(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        context = workload.pod["securityContext"]
        assert context["runAsNonRoot"] is True, workload
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (USER, USER, USER), workload
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, workload


def test_containers_are_restricted_and_write_nothing_to_their_image(workloads: tuple[Workload, ...]) -> None:
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for workload in workloads:
        for container in workload.containers.values():
            assert container.spec["securityContext"] == restricted, container


def test_pods_share_nothing_with_their_node(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & workload.pod.keys(), workload
        assert not any("hostPath" in volume for volume in workload.volumes.values()), workload
        assert not any("hostPort" in port for one in workload.containers.values() for port in one.spec.get("ports", []))


def test_no_pod_has_a_token_of_the_cluster_but_the_driver_of_spark(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        drives = workload.kind == "CronJob" and "regulars/spark" in workload.labels
        assert workload.pod["automountServiceAccountToken"] is drives, workload


def test_no_service_account_gives_its_token_by_itself(rendering: Rendering) -> None:
    accounts = list(rendering.of_kind("ServiceAccount"))
    assert accounts
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_rights_in_the_cluster_are_those_of_spark_alone_and_over_pods_alone(everything: Rendering) -> None:
    assert not list(everything.of_kind("ClusterRole", "ClusterRoleBinding"))
    (role,) = everything.of_kind("Role")
    assert [rule["resources"] for rule in role["rules"]] == [["pods"]]
    (binding,) = everything.of_kind("RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["regulars-spark"]


def test_service_links_are_off(workloads: tuple[Workload, ...]) -> None:
    """The variables that they bring are named like settings, and a server refuses those that are none."""
    assert all(workload.pod["enableServiceLinks"] is False for workload in workloads)


# Bounds


def test_every_container_says_what_it_needs_and_may_take(rendering: Rendering) -> None:
    for container in rendering.containers:
        requests = {name: quantity(text) for name, text in container.spec["resources"]["requests"].items()}
        assert requests.keys() == container.limits.keys() == {"cpu", "memory"}, container
        assert all(requests[name] <= container.limits[name] for name in requests), container


def test_the_processor_limit_is_the_one_place_that_says_how_many_work(rendering: Rendering) -> None:
    for server in rendering.servers:
        assert settings_of(server).workers == server.containers["server"].limits["cpu"], server
    for job in rendering.cron_jobs:
        container = job.containers["job"]
        assert float(container.environment["OMP_NUM_THREADS"]) == container.limits["cpu"], job


def test_folders_of_a_pod_are_bounded(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        for volume in workload.volumes.values():
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], f"{workload}: {volume['name']}"


def test_what_a_container_may_write_to_memory_is_at_most_half_of_its_own(rendering: Rendering) -> None:
    for container in rendering.containers:
        written = [mount["name"] for mount in container.mounts.values() if not mount.get("readOnly")]
        folders = [container.workload.volumes[name].get("emptyDir", {}) for name in written]
        held = sum(quantity(folder["sizeLimit"]) for folder in folders if folder.get("medium") == "Memory")
        assert held <= container.limits["memory"] / 2, container


def test_bundles_touch_no_nodes_disk(rendering: Rendering) -> None:
    for server in rendering.servers:
        assert server.volumes["bundles"]["emptyDir"]["medium"] == "Memory", server


def test_every_container_can_write_to_tmp(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        for container in workload.containers.values():
            if container.name != "pushgateway":
                assert "/tmp" in container.mounts, container
                assert not container.mounts["/tmp"].get("readOnly"), container


def test_every_mount_has_its_volume(workloads: tuple[Workload, ...]) -> None:
    for workload in workloads:
        mounted = {mount["name"] for one in workload.containers.values() for mount in one.mounts.values()}
        assert mounted == workload.volumes.keys(), workload


def test_files_that_are_followed_are_mounted_as_folders(rendering: Rendering) -> None:
    """What is mounted by subPath stays as it was when the pod began."""
    for server in rendering.servers:
        for one in server.containers.values():
            assert not any("subPath" in mount for mount in one.mounts.values()), one


def test_secrets_are_read_by_the_pods_group_and_nobody_else(rendering: Rendering) -> None:
    for workload in rendering.workloads:
        for volume in workload.volumes.values():
            assert "secret" not in volume or volume["secret"]["defaultMode"] == 0o440, workload


def test_the_project_file_is_no_link(rendering: Rendering) -> None:
    """In a folder it would be a link, and what it names would be sought beside the file that it leads to."""
    with_project = [one for one in rendering.containers if "project" in one.workload.volumes]
    assert with_project
    for container in with_project:
        assert container.mounts["/project/regulars.toml"]["subPath"] == "regulars.toml", container


# Settings and commands


def test_a_server_takes_its_settings_and_refuses_none(rendering: Rendering) -> None:
    for server in rendering.servers:
        settings = settings_of(server)
        ports = server.containers["server"].ports
        assert (settings.host, settings.port, settings.metrics_port, settings.health_port) == (
            "0.0.0.0",
            ports["grpc"],
            ports["metrics"],
            ports["health"],
        ), server


def test_ports_are_those_that_everybody_relies_on(rendering: Rendering) -> None:
    for server in rendering.servers:
        assert server.ports == {"grpc": 50051, "health": 50060, "metrics": 9100, "sync-metrics": 9101}, server


def test_files_that_a_setting_names_are_mounted(rendering: Rendering) -> None:
    for server in rendering.servers:
        settings, mounts = settings_of(server), server.containers["server"].mounts
        files = (
            settings.tls_certificate,
            settings.tls_key,
            settings.tls_client_ca,
            settings.tokens,
            settings.shadow_ca,
        )
        for file in filter(None, files):
            assert str(file.parent) in mounts, f"{server}: {file}"
            assert mounts[str(file.parent)]["readOnly"] is True, f"{server}: {file}"


def test_production_lets_nobody_call_in_clear_text_or_without_showing_who_it_is(rendering: Rendering) -> None:
    if rendering.name == "local":
        return
    for server in rendering.servers:
        settings = settings_of(server)
        assert settings.tls_certificate, server
        assert settings.tokens or settings.tls_client_ca or server.role == "shadow", server


def test_variables_that_name_others_come_after_them(workloads: tuple[Workload, ...]) -> None:
    """Else the kubelet leaves `$(NAME)` as it stands."""
    for workload in workloads:
        for container in workload.containers.values():
            left = [
                text for text in (*container.words, *container.environment.values()) if "$(" in _without_shell(text)
            ]
            assert not left, container


def _without_shell(text: str) -> str:
    """A shell's own `$(command)` has a space or a quote where a variable's name has none."""
    return "" if "\n" in text or "exec " in text else text


FAKE = """#!/bin/sh
for word; do printf '%s\\n' "$word"; done >> "$CALLS"
printf '\\0' >> "$CALLS"
"""


def calls_of(container: Container, folder: Path) -> Iterator[list[str]]:
    """The command lines of `regulars` that a container comes to, without their first word."""
    if "command" not in container.spec:
        yield container.words
        return
    folder.mkdir()
    (folder / "regulars").write_text(FAKE)
    (folder / "regulars").chmod(0o755)
    told = folder / "calls"
    told.touch()
    environment = container.environment | {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(told)}
    script = _words_of_a_script(container.words)
    subprocess.run(script, env=environment, check=True, timeout=30, cwd=folder)
    yield from (call.splitlines() for call in told.read_text().split("\0") if call)


def _words_of_a_script(words: Sequence[str]) -> Sequence[str]:
    assert words[0] in {"sh", "sleep"}
    return words if words[0] == "sh" else ["true"]


def test_every_command_line_is_one_that_regulars_takes(rendering: Rendering, tmp_path: Path) -> None:
    commands = set()
    ours = [one for one in rendering.containers if "regulars-" in one.image]
    for number, container in enumerate(ours):
        for words in calls_of(container, tmp_path / str(number)):
            # Ends the test by SystemExit where it does not.
            commands.add(_parser().parse_args(words).command)
    assert commands == {"serve", "sync", "mlflow", "train", "audit", "features", "score"}


def test_nobody_but_people_promotes(rendering: Rendering) -> None:
    assert "promote" not in json.dumps([one.spec for one in rendering.containers])


def test_a_server_serves_what_its_sidecar_brings(rendering: Rendering) -> None:
    for server in rendering.servers:
        model = server.labels["app.kubernetes.io/component"]
        options = _parser().parse_args(server.containers["sync"].words)
        serving = _parser().parse_args(server.containers["server"].words)
        assert (options.target.partition("@")[0], serving.model) == (model, model), server
        assert str(options.to) == str(settings_of(server).bundles) == "/bundles", server
        assert options.watch, server
        assert (options.metrics_port, options.host) == (server.ports["sync-metrics"], "0.0.0.0"), server
        written, read = (server.containers[name].mounts["/bundles"] for name in ("sync", "server"))
        assert written["name"] == read["name"] == "bundles", server
        assert (written.get("readOnly", False), read["readOnly"]) == (False, True), server


def test_a_server_knows_no_registry(rendering: Rendering) -> None:
    for server in rendering.servers:
        assert not [name for name in server.containers["server"].environment if name.startswith("MLFLOW")], server


def test_a_pod_starts_while_the_registry_is_down(rendering: Rendering) -> None:
    """Nothing has to end before the server starts: what follows the registry is a sidecar."""
    for server in rendering.servers:
        (sidecar,) = server.pod["initContainers"]
        assert (sidecar["name"], sidecar["restartPolicy"]) == ("sync", "Always"), server
        # Its readiness would be the pod's.
        assert not {"readinessProbe", "startupProbe", "lifecycle"} & sidecar.keys(), server


# Life


def test_probes_ask_the_port_where_health_is_alone(rendering: Rendering) -> None:
    """The port for callers may ask for TLS, which probes do not know."""
    for server in rendering.servers:
        container = server.containers["server"]
        probes = [container.spec[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert {probe["grpc"]["port"] for probe in probes} == {container.ports["health"]}, server


def test_a_server_without_a_model_is_not_ready_and_not_killed(rendering: Rendering) -> None:
    for server in rendering.servers:
        spec = server.containers["server"].spec
        assert spec["livenessProbe"]["grpc"]["service"] == spec["startupProbe"]["grpc"]["service"] == LIVE, server
        # The whole server, whose status follows the model's.
        assert not spec["readinessProbe"]["grpc"].get("service"), server


def test_neither_load_nor_a_slow_start_kills_anybody(rendering: Rendering) -> None:
    """It takes a minute without any answer in five seconds."""
    for workload in rendering.deployments:
        (container,) = (one for one in workload.containers.values() if not one.is_sidecar)
        for probe in (container.spec["startupProbe"], container.spec["livenessProbe"]):
            assert probe["timeoutSeconds"] >= 5, workload
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 60, workload


def test_a_pod_has_time_to_drain(rendering: Rendering) -> None:
    for server in rendering.servers:
        settings = settings_of(server)
        hook = server.containers["server"].spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        drain = hook["seconds"] + settings.drain_pause_seconds + settings.grace_seconds + LAST_SECONDS
        assert server.pod["terminationGracePeriodSeconds"] > drain, server


def test_endpoints_have_time_to_learn_that_a_server_goes(rendering: Rendering) -> None:
    for server in rendering.servers:
        assert 5 <= settings_of(server).drain_pause_seconds <= 30, server


def test_a_rollout_takes_nobody_away_before_another_is_there(rendering: Rendering) -> None:
    for workload in rendering.deployments:
        strategy = workload.resource["spec"]["strategy"]
        alone = any("persistentVolumeClaim" in volume for volume in workload.volumes.values())
        if alone:
            # Two pods cannot have its volume at once.
            assert strategy == {"type": "Recreate"}, workload
        else:
            assert strategy["rollingUpdate"]["maxUnavailable"] == 0, workload
            assert strategy["rollingUpdate"]["maxSurge"] >= 1, workload


def test_a_new_server_proves_itself_before_an_old_one_goes(rendering: Rendering) -> None:
    assert all(server.resource["spec"]["minReadySeconds"] >= 10 for server in rendering.servers)


def test_servers_of_a_model_are_spread_over_machines_and_zones(rendering: Rendering) -> None:
    for server in rendering.servers:
        constraints = server.pod["topologySpreadConstraints"]
        keys = {one["topologyKey"] for one in constraints}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}, server
        for one in constraints:
            assert one["labelSelector"]["matchLabels"].items() <= server.labels.items(), server
            assert "app.kubernetes.io/component" in one["labelSelector"]["matchLabels"], server
