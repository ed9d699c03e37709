"""The files that are generated, and what stands in them."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from k8s.monitoring import fairness_and_drift, model_health, service_overview
from k8s.monitoring.grafana import dashboard

COMPONENT = Path(__file__).parents[1] / "components" / "monitoring"

DASHBOARDS = (service_overview.DASHBOARD, model_health.DASHBOARD, fairness_and_drift.DASHBOARD)

HEAD = "# Generated out of rules/*.yaml by 'python -m k8s.monitoring': edit those.\n"


def generated() -> dict[Path, str]:
    """What each file has to hold."""
    pages = {
        COMPONENT / "dashboards" / f"{one.name}.json": json.dumps(dashboard(one), indent=2, ensure_ascii=False) + "\n"
        for one in DASHBOARDS
    }
    return {**pages, COMPONENT / "prometheus-rule.yaml": HEAD + prometheus_rule(COMPONENT / "rules")}


def prometheus_rule(rules: Path) -> str:
    """One PrometheusRule with the groups of every rule file of the folder, in the order of their names."""
    groups = [group for file in sorted(rules.glob("*.yaml")) for group in yaml.safe_load(file.read_text())["groups"]]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "regulars"},
        "spec": {"groups": groups},
    }
    text: str = yaml.safe_dump(resource, sort_keys=False, width=120, allow_unicode=True)
    return text
