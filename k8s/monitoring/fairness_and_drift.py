"""What the audits found: for who answers for the models, and for whom they are answered."""

from __future__ import annotations

from k8s.monitoring.panels import Dashboard, Look, Panel, Query, Row, Variable, rising
from k8s.monitoring.selection import OF_MODEL
from k8s.monitoring.shared import A_DAY, BATCH_SHIFT

MODEL = Variable("model", "Model", "model", "regulars_audit_last_success_timestamp_seconds")
ATTRIBUTE = Variable("attribute", "Attribute", "attribute", f"regulars_audit_rows{{{OF_MODEL}}}", matching_all=".*")

GROUPS = f'{OF_MODEL}, attribute=~"$attribute"'


def audit(name: str, selector: str) -> str:
    return f"regulars_audit_{name}{{{selector}}}"


VERDICTS = Row(
    "Audits",
    (
        Panel(
            "Verdicts",
            "What the last audits came to. FAIL: promotion is refused; read the report beside the version, then "
            "mitigate or waive with a reason. INCONCLUSIVE and INSUFFICIENT: too few customers to tell. DRIFTED: see "
            "what moved, and train anew.",
            "none",
            (Query(f"max by (model, audit, verdict) ({audit('verdict', OF_MODEL)})"),),
            Look.TABLE,
            alerts=("RegularsFairnessFailed",),
        ),
        Panel(
            "Last audit",
            "Time since an audit last ran to its end, whatever its verdict. Older than its schedule: the job fails or "
            "does not start; see its log.",
            "s",
            (
                Query(
                    f"time() - max by (model, audit) ({audit('last_success_timestamp_seconds', OF_MODEL)})",
                    "{{model}} {{audit}}",
                ),
            ),
            Look.FIGURES,
            limits=rising(8 * A_DAY, 35 * A_DAY),
            alerts=("RegularsFairnessAuditMissed", "RegularsDriftAuditMissed", "RegularsAuditAbsent"),
        ),
        Panel(
            "Duration",
            "How long the last audits took. It grows with the customers; a step is a machine that is short of memory.",
            "s",
            (Query(f"max by (model, audit) ({audit('duration_seconds', OF_MODEL)})", "{{model}} {{audit}}"),),
            Look.FIGURES,
        ),
    ),
)

FAIRNESS = Row(
    "Fairness",
    (
        Panel(
            "Disparities",
            "How far each group lies from the others, by output and metric, as the last audit judged it; its report "
            "has the intervals and the limits, which differ by metric. A figure alone is no verdict.",
            "none",
            (
                Query(
                    f"max by (model, output, metric, attribute, group) ({audit('disparity', GROUPS)})",
                    "{{model}} {{output}} {{metric}} {{attribute}}={{group}}",
                ),
            ),
            width=24,
            height=12,
            decimals=3,
        ),
        Panel(
            "Customers by group",
            "Customers of the last audits by group; those too few to be shown are left out. A group that shrinks is "
            "judged with less certainty, and one that vanishes not at all: see whether its column is still filled.",
            "none",
            (
                Query(
                    f"max by (model, audit, attribute, group) ({audit('rows', GROUPS)})",
                    "{{model}} {{audit}} {{attribute}}={{group}}",
                ),
            ),
            Look.BARS,
            width=24,
            height=12,
        ),
    ),
)

DRIFT = Row(
    "Drift",
    (
        Panel(
            "Inputs and outputs that moved",
            "How many drifted in the last audit. Its report names them. Inputs alone: the world or a pipeline changed; "
            "outputs too: who acts on the scores will notice.",
            "none",
            (Query(f"max by (model, part) ({audit('moved', OF_MODEL)})", "{{model}} {{part}}"),),
            width=12,
            limits=rising(1, 5),
            alerts=("RegularsInputsDrifted",),
        ),
        BATCH_SHIFT,
    ),
)

DASHBOARD = Dashboard(
    name="fairness-and-drift",
    title="Regulars: fairness and drift",
    description="Verdicts of the audits, disparities between groups, and what moved.",
    variables=(MODEL, ATTRIBUTE),
    rows=(VERDICTS, FAIRNESS, DRIFT),
    since="now-30d",
    refresh="15m",
)
