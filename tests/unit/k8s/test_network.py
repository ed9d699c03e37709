"""Who finds whom, who may talk to whom, who is scaled, evicted and scraped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.manifests import Rendering, Workload, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTH = 50060
NAMES_PORTS = {("UDP", 53), ("TCP", 53)}


def pods_of(service: dict[str, Any], rendering: Rendering) -> list[Workload]:
    selector = {"matchLabels": service["spec"]["selector"]}
    return [workload for workload in rendering.workloads if matches(selector, workload.labels)]


def tracks(workloads: list[Workload]) -> set[str | None]:
    return {workload.labels.get("regulars/track") for workload in workloads}


# Services


def test_every_port_of_a_service_is_one_of_its_pods(rendering: Rendering) -> None:
    for service in rendering.of_kind("Service"):
        pods = pods_of(service, rendering)
        assert pods, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            assert all(pod.ports[port["targetPort"]] == port["port"] for pod in pods), service["metadata"]["name"]


def test_callers_find_every_server_and_only_those_that_are_ready(rendering: Rendering) -> None:
    """Clients balance over addresses, so they are given addresses and not one that stands for all."""
    for server in rendering.servers:
        (service,) = (one for one in rendering.of_kind("Service") if server in pods_of(one, rendering))
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is False
        assert [port["name"] for port in service["spec"]["ports"]] == ["grpc"]


def test_no_service_mixes_models(rendering: Rendering) -> None:
    for service in rendering.of_kind("Service"):
        assert len({pod.labels["app.kubernetes.io/component"] for pod in pods_of(service, rendering)}) == 1


def test_a_canary_stands_behind_the_champions_service_and_a_shadow_behind_its_own(everything: Rendering) -> None:
    services = {one["metadata"]["name"]: one for one in everything.of_kind("Service")}
    assert tracks(pods_of(services["regulars-churn"], everything)) == {"stable", "canary"}
    assert tracks(pods_of(services["regulars-churn-shadow"], everything)) == {"shadow"}


def test_no_callers_service_has_a_shadow_among_its_pods(rendering: Rendering) -> None:
    for service in rendering.of_kind("Service"):
        if not service["metadata"]["name"].endswith("-shadow"):
            assert "shadow" not in tracks(pods_of(service, rendering)), service["metadata"]["name"]


def test_no_deployment_takes_the_pods_of_another_for_its_own(rendering: Rendering) -> None:
    for one in rendering.deployments:
        selector = one.resource["spec"]["selector"]
        assert [other for other in rendering.workloads if matches(selector, other.labels)] == [one]


# Tracks


def track(rendering: Rendering, name: str) -> Workload:
    (workload,) = (one for one in rendering.servers if one.labels["regulars/track"] == name)
    return workload


def test_the_stable_track_follows_the_champion_and_refuses_what_is_not_cleared(rendering: Rendering) -> None:
    for server in rendering.servers:
        if server.labels["regulars/track"] == "stable":
            words = server.containers["sync"].words
            assert words[1].endswith("@champion"), server
            assert "--allow-unaudited" not in words, server


def test_a_canary_answers_callers_so_its_candidate_must_have_passed_its_audit(everything: Rendering) -> None:
    words = track(everything, "canary").containers["sync"].words
    assert words[1] == "churn@candidate"
    assert "--allow-unaudited" not in words


def test_a_shadow_answers_nobody_so_its_candidate_may_be_audited_later(everything: Rendering) -> None:
    words = track(everything, "shadow").containers["sync"].words
    assert words[1] == "churn@candidate"
    assert "--allow-unaudited" in words


def test_the_champions_servers_send_copies_to_the_shadow_and_the_shadow_sends_none(everything: Rendering) -> None:
    target = "dns:///regulars-churn-shadow.regulars:50051"
    senders = [one.name for one in everything.servers if "REGULARS_SHADOW" in one.containers["server"].environment]
    assert senders == ["regulars-churn"]
    stable = next(one for one in everything.servers if one.name == "regulars-churn")
    assert stable.containers["server"].environment["REGULARS_SHADOW"] == target


def test_the_shadow_asks_its_server_for_nothing_that_it_does_not_bring(everything: Rendering) -> None:
    environment = track(everything, "shadow").containers["server"].environment
    assert not {"REGULARS_TOKENS", "REGULARS_TLS_CLIENT_CA"} & environment.keys()


def test_labels_are_those_that_everybody_relies_on(rendering: Rendering) -> None:
    for workload in rendering.workloads:
        assert workload.labels["app.kubernetes.io/name"] == "regulars", workload
        assert workload.labels["app.kubernetes.io/component"], workload
        assert workload.role in {"server", "shadow", "mlflow", "job", "pushgateway"}, workload


# Numbers


def test_every_server_of_the_stable_track_is_scaled_by_one_hand(rendering: Rendering) -> None:
    """Where there is an autoscaler, applying manifests sets no number back."""
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in rendering.of_kind("HorizontalPodAutoscaler")}
    stable = {one.name: one for one in rendering.servers if one.labels["regulars/track"] == "stable"}
    assert scaled.keys() == (set() if rendering.name == "local" else stable.keys())
    for deployment in rendering.deployments:
        assert ("replicas" in deployment.resource["spec"]) is (deployment.name not in scaled), deployment


def test_a_model_is_scaled_by_what_its_server_does(rendering: Rendering) -> None:
    for scaler in rendering.of_kind("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
        (metric,) = spec["metrics"]
        assert metric["containerResource"]["container"] == "server"
        down = spec["behavior"]["scaleDown"]
        # Connections live for five minutes.
        assert down["stabilizationWindowSeconds"] >= 300


def test_a_node_can_be_drained_and_takes_one_server_of_a_model_at_a_time(rendering: Rendering) -> None:
    budgets = list(rendering.of_kind("PodDisruptionBudget"))
    for server in rendering.servers:
        held = [budget for budget in budgets if matches(budget["spec"]["selector"], server.labels)]
        assert len(held) == (server.role == "server"), server
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


# Who is scraped


def test_prometheus_scrapes_servers_and_what_follows_the_registry(rendering: Rendering) -> None:
    for monitor in rendering.of_kind("PodMonitor"):
        pods = [one for one in rendering.workloads if matches(monitor["spec"]["selector"], one.labels)]
        assert pods == list(rendering.servers)
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        assert wanted == {"metrics", "sync-metrics"}
        assert all(wanted <= pod.ports.keys() for pod in pods)


def test_prometheus_takes_what_was_pushed_at_its_word(rendering: Rendering) -> None:
    for monitor in rendering.of_kind("ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        (service,) = (one for one in rendering.of_kind("Service") if matches(selector, one["metadata"]["labels"]))
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert endpoint["honorLabels"] is True


def test_jobs_push_to_the_gateway_that_is_there(rendering: Rendering) -> None:
    services = {one["metadata"]["name"]: one for one in rendering.of_kind("Service")}
    for job in rendering.cron_jobs:
        name, _, port = job.containers["job"].environment["PUSHGATEWAY"].removeprefix("http://").partition(":")
        assert int(port) in {one["port"] for one in services[name]["spec"]["ports"]}, job


def test_everybody_asks_the_registry_that_is_there(rendering: Rendering) -> None:
    services = {one["metadata"]["name"]: one for one in rendering.of_kind("Service")}
    asking = [one for one in rendering.containers if "MLFLOW_TRACKING_URI" in one.environment]
    assert {one.workload.role for one in asking} >= {"server", "job"}
    for container in asking:
        name, _, port = container.environment["MLFLOW_TRACKING_URI"].removeprefix("http://").partition(":")
        assert int(port) in {one["port"] for one in services[name]["spec"]["ports"]}, container


def test_dashboards_are_where_grafana_looks(rendering: Rendering) -> None:
    if rendering.name == "local":
        return
    (dashboards,) = (one for one in rendering.of_kind("ConfigMap") if "service-overview.json" in one["data"])
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(dashboards["data"]) == 3


# Who may talk to whom


@pytest.fixture
def policies(rendering: Rendering) -> list[dict[str, Any]]:
    policies = list(rendering.of_kind("NetworkPolicy"))
    assert bool(policies) is (rendering.name != "local")
    return policies


def ways(policy: dict[str, Any], direction: str, peers: str) -> Iterator[tuple[dict[str, Any], set[int]]]:
    """Each peer that a policy lets in or out, with its ports."""
    for rule in policy["spec"].get(direction, []):
        for peer in rule[peers]:
            yield peer, {port["port"] for port in rule["ports"]}


def of_ours(peer: dict[str, Any]) -> bool:
    """Whether a peer is pods of this namespace."""
    return peer.keys() == {"podSelector"}


def test_nothing_may_connect_that_no_policy_lets(policies: list[dict[str, Any]]) -> None:
    for policy in policies:
        if policy["metadata"]["name"] == "regulars-default":
            assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not policies or "regulars-default" in {one["metadata"]["name"] for one in policies}


def test_every_port_is_open_that_a_pod_listens_on_and_no_other(
    rendering: Rendering, policies: list[dict[str, Any]]
) -> None:
    """But the port of health, which the node's own probes reach without."""
    for workload in rendering.workloads if policies else ():
        lets_in = [one for one in policies if matches(one["spec"]["podSelector"], workload.labels)]
        opened = {port for one in lets_in for _, ports in ways(one, "ingress", "from") for port in ports}
        assert opened == set(workload.ports.values()) - {HEALTH}, workload


def connections(
    rendering: Rendering, policies: list[dict[str, Any]], direction: str, peers: str
) -> Iterator[tuple[str, str, int]]:
    """Name of the pods that a policy is about, name of those of ours that it lets in or out, and the port."""
    for workload in rendering.workloads:
        about = [policy for policy in policies if matches(policy["spec"]["podSelector"], workload.labels)]
        for peer, ports in (way for policy in about for way in ways(policy, direction, peers)):
            others = [one for one in rendering.workloads if of_ours(peer) and matches(peer["podSelector"], one.labels)]
            yield from ((workload.name, other.name, port) for other in others for port in ports)


def test_whom_one_may_connect_to_lets_it_in(rendering: Rendering, policies: list[dict[str, Any]]) -> None:
    let_out = set(connections(rendering, policies, "egress", "to"))
    let_in = {(other, name, port) for name, other, port in connections(rendering, policies, "ingress", "from")}
    assert let_out == let_in
    assert bool(let_out) is bool(policies)


def test_who_asks_a_name_may_ask_for_names(rendering: Rendering, policies: list[dict[str, Any]]) -> None:
    names = [one for one in policies if one["metadata"]["name"] == "regulars-names"]
    for policy in names:
        assert all(matches(policy["spec"]["podSelector"], workload.labels) for workload in rendering.workloads)
        (rule,) = policy["spec"]["egress"]
        assert {(port["protocol"], port["port"]) for port in rule["ports"]} == NAMES_PORTS
    assert bool(names) is bool(policies)


def test_only_those_who_are_labelled_may_call(policies: list[dict[str, Any]]) -> None:
    for policy in policies:
        for peer, ports in ways(policy, "ingress", "from"):
            if 50051 in ports and not of_ours(peer):
                assert peer["podSelector"]["matchLabels"] == {"regulars/caller": "true"}
                assert peer["namespaceSelector"]["matchLabels"] == {"regulars/caller": "true"}


def test_servers_connect_to_nobody_but_the_registry_the_shadow_and_the_collector(everything: Rendering) -> None:
    (server,) = (one for one in everything.servers if one.name == "regulars-churn")
    policies = [
        one for one in everything.of_kind("NetworkPolicy") if matches(one["spec"]["podSelector"], server.labels)
    ]
    reached = {port for one in policies for _, ports in ways(one, "egress", "to") for port in ports}
    assert reached == {53, 5000, 50051, 4317}
    assert not any("ipBlock" in peer for one in policies for peer, _ in ways(one, "egress", "to"))
