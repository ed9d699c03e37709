"""Dashboards as the JSON that Grafana 10 and 11 load."""

from __future__ import annotations

import math
from itertools import count
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from k8s.monitoring.panels import WIDEST, Look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k8s.monitoring.panels import Dashboard, Limits, Marks, Panel, Query, Row, Variable

SCHEMA_VERSION = 39
"""Of Grafana 10.3 to 11; later ones migrate it by themselves."""

RUNBOOKS = "docs/runbooks.md"
"""What every dashboard's hidden variable `runbooks` holds; a URL of that page makes the links lead there."""

PREFIX = "regulars"
HEADING_HEIGHT = 1

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


def dashboard(described: Dashboard) -> Json:
    """The whole page."""
    return {
        "uid": uid_of(described),
        "title": described.title,
        "description": described.description,
        "tags": list(described.tags),
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": described.since, "to": "now"},
        "refresh": described.refresh,
        "links": _links(described),
        "annotations": {"list": [_marks(one) for one in described.marks]},
        "templating": {"list": [_datasource(), *map(_variable, described.variables), _runbooks()]},
        "panels": list(_laid(described.rows)),
    }


def uid_of(described: Dashboard) -> str:
    return f"{PREFIX}-{described.name}"


def _laid(rows: tuple[Row, ...]) -> Iterator[Json]:
    """Headings and panels, each below or beside the one before."""
    numbers = count(1)
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": WIDEST, "h": HEADING_HEIGHT}
        heading = {"id": next(numbers), "type": "row", "title": row.title, "collapsed": False, "panels": []}
        yield {**heading, "gridPos": place}
        top += HEADING_HEIGHT
        left = height = 0
        for panel in row.panels:
            if left + panel.width > WIDEST:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": next(numbers), **_panel(panel), "gridPos": place}
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel) -> Json:
    links = [
        {"title": f"Runbook of {alert}", "url": f"${{runbooks}}#{alert.lower()}", "targetBlank": True}
        for alert in panel.alerts
    ]
    made: Json = {
        "type": panel.look.value,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            _target(query, letter, panel.look) for query, letter in zip(panel.queries, ascii_uppercase, strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.look],
        "links": links,
    }
    if panel.look is Look.TABLE:
        excluded = {"Time": True, "Value": True}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded}}]
    if panel.repeated:
        made |= {"repeat": panel.repeated, "repeatDirection": "h", "maxPerRow": WIDEST // panel.width}
    return made


def _target(query: Query, letter: str, look: Look) -> Json:
    """What is drawn over time asks for a range, a figure for what is now."""
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "format": "table" if look is Look.TABLE else "time_series",
        "range": look is Look.LINES,
        "instant": look is not Look.LINES,
    }


def _defaults(panel: Panel) -> Json:
    made: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.look is Look.LINES else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel.limits)},
        "mappings": [],
    }
    if panel.decimals is not None:
        made["decimals"] = panel.decimals
    if panel.look is Look.LINES:
        made["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 10 if panel.stacking == "none" else 60,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": panel.stacking, "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.limits else "off"},
        }
    return made


def _steps(limits: Limits) -> list[Json]:
    """Grafana calls what begins nowhere null."""
    begun = limits if limits and math.isinf(limits[0][1]) else (("green", -math.inf), *limits)
    return [{"color": colour, "value": None if math.isinf(value) else value} for colour, value in begun]


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}

_OPTIONS: dict[Look, Json] = {
    Look.LINES: {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Look.FIGURES: {
        "reduceOptions": _REDUCED,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
    },
    Look.TABLE: {"cellHeight": "sm", "showHeader": True},
    Look.BARS: {
        "reduceOptions": _REDUCED,
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
    },
}


def _marks(marks: Marks) -> Json:
    return {
        "name": marks.title,
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        # Grafana takes milliseconds.
        "expr": f"({marks.expression}) * 1000",
        "useValueForTime": True,
        "titleFormat": marks.legend,
    }


def _links(described: Dashboard) -> list[Json]:
    others: Json = {"title": "Regulars", "type": "dashboards", "asDropdown": True, "includeVars": True}
    others |= {"tags": list(described.tags), "keepTime": True}
    return [others, {"title": "Runbooks", "type": "link", "icon": "doc", "url": "${runbooks}", "targetBlank": True}]


_SHOWN, _HIDDEN = 0, 2


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": _SHOWN}


def _runbooks() -> Json:
    return {"name": "runbooks", "type": "constant", "query": RUNBOOKS, "hide": _HIDDEN}


def _variable(variable: Variable) -> Json:
    question = f"label_values({variable.selector}, {variable.label})"
    made: Json = {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": question, "qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        # Whenever the time range changes.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": _HIDDEN if variable.hidden else _SHOWN,
    }
    if variable.matching_all is not None:
        made["allValue"] = variable.matching_all
    return made
