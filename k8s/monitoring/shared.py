"""What several pages show alike."""

from __future__ import annotations

from k8s.monitoring.panels import Look, Marks, Panel, Query, rising
from k8s.monitoring.selection import OF_MODEL, SERVER

A_DAY = 86_400
"""Seconds."""

SHIFTED, SHIFTED_FAR = 0.1, 0.25
"""Population stability indices from which a shift is usually looked into, and called large."""

SERVED_VERSIONS = Panel(
    "Served versions",
    "What each server serves, and when that was trained. Two versions of one model are a release on its way, or a "
    "canary; for longer than a minute otherwise, see swaps that were refused.",
    "none",
    (
        Query(
            f"sum by (model, version, alias, digest, trained_at, instance) (regulars_model_info{{{SERVER}}} == 1)",
        ),
    ),
    Look.TABLE,
    width=12,
)

BATCH_SHIFT = Panel(
    "Shift of scores in batch runs",
    "Population stability index of the last batch run's scores against the reference base of the model that it scored "
    f"with; {SHIFTED} is usually looked into, {SHIFTED_FAR} large. Then run regulars audit drift.",
    "none",
    (
        Query(
            f"max by (models, model, output) (regulars_batch_score_psi{{{OF_MODEL}}})",
            "{{model}} {{output}} ({{models}})",
        ),
    ),
    width=12,
    limits=rising(SHIFTED, SHIFTED_FAR),
    alerts=("RegularsBatchScoresDrifted",),
)

SWAPS = Marks(
    "Swaps",
    f"max by (model) (regulars_model_served_since_seconds{{{SERVER}}})",
    "{{model}} was swapped in",
)
