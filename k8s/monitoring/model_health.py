"""What goes into the models and what comes out: for who answers for them."""

from __future__ import annotations

from k8s.monitoring.panels import Dashboard, Look, Panel, Query, Row, Variable, rising
from k8s.monitoring.promql import in_an_hour
from k8s.monitoring.selection import INSTANCE, MODEL, NAMESPACE, NAMESPACED, OF_MODEL, SERVER
from k8s.monitoring.shared import A_DAY, BATCH_SHIFT, SERVED_VERSIONS, SHIFTED, SHIFTED_FAR, SWAPS

RANKED = Variable("output", "Output", "output", f'regulars_scores_total{{{SERVER}, decile!=""}}')
BANDED = Variable("banded", "Output with bands", "output", f'regulars_scores_total{{{SERVER}, band!=""}}', hidden=True)

_OF_RUNS = f"and on (models) regulars_batch_rows{{{OF_MODEL}}}"
"""Of those that scored with one of the chosen models."""

_CUSTOMERS = in_an_hour("regulars_rows_total", "model")

SERVED = Row(
    "What is served",
    (
        SERVED_VERSIONS,
        Panel(
            "Age of training",
            "Time since the served model was trained. An old one is not wrong, but knows nobody who came since: train, "
            "audit and promote another.",
            "s",
            (Query(f"max by (model) (time() - regulars_model_trained_at_seconds{{{SERVER}}})", "{{model}}"),),
            Look.FIGURES,
            width=12,
            limits=rising(45 * A_DAY, 90 * A_DAY),
            alerts=("RegularsModelOld",),
        ),
    ),
)

SCORES = Row(
    "Scores",
    (
        Panel(
            "Shift of scores",
            f"Population stability index of a day's scores against the reference base of the served bundle; {SHIFTED} "
            f"is usually looked into, {SHIFTED_FAR} large. Then see which inputs are missing or unseen below, and run "
            "regulars audit drift. With few calls it is noise.",
            "none",
            (
                Query(
                    f'max by (model, output) (output:regulars_scores:psi1d{{{NAMESPACED}, output=~"$output"}})',
                    "{{model}} {{output}}",
                ),
            ),
            width=12,
            limits=rising(SHIFTED, SHIFTED_FAR),
            alerts=("RegularsScoresDrifted",),
        ),
        BATCH_SHIFT,
        Panel(
            "Deciles of $output",
            "Shares of the hour's scores by the decile of the reference base that they fall in. Each is a tenth as "
            "long as customers are like those whom the model was tested on.",
            "none",
            (
                Query(
                    in_an_hour("regulars_scores_total", "model, decile", 'output=~"$output"', 'decile!=""'),
                    "{{model}} decile {{decile}}",
                ),
            ),
            stacking="percent",
            repeated=RANKED.name,
        ),
        Panel(
            "Bands of $banded",
            "Shares of the hour's scores by band, which is what callers act on. A band that fills up means more "
            "letters than anybody planned: tell who sends them.",
            "none",
            (
                Query(
                    in_an_hour("regulars_scores_total", "model, band", 'output=~"$banded"', 'band!=""'),
                    "{{model}} {{band}}",
                ),
            ),
            stacking="percent",
            repeated=BANDED.name,
        ),
    ),
)

INPUTS = Row(
    "Inputs",
    (
        Panel(
            "Missing by feature",
            "Share of the customers of the last hour whose feature the caller did not have. A step is a pipeline of "
            "the caller's that broke; the scores go on, and know less.",
            "percentunit",
            (
                Query(
                    f"max by (model, feature) (feature:regulars_missing:ratio_increase1h{{{NAMESPACED}}})",
                    "{{model}} {{feature}}",
                ),
            ),
            width=12,
            height=10,
            alerts=("RegularsFeatureMissing",),
        ),
        Panel(
            "Values that training never saw",
            "Share of the customers of the last hour with a value out of the range of training, or a category that it "
            "did not have. Usual units mixed up, a new channel, or a time to train anew.",
            "percentunit",
            (
                Query(
                    in_an_hour("regulars_warnings_total", "model, feature, kind")
                    + f" / on (model) group_left () {_CUSTOMERS}",
                    "{{model}} {{feature}} {{kind}}",
                ),
            ),
            width=12,
            height=10,
        ),
        Panel(
            "Customers by status",
            "Customers a second by what became of them. Those who are not ok got a status instead of a score.",
            "suffix:/s",
            (
                Query(
                    f"sum by (model, status) (rate(regulars_rows_total{{{SERVER}}}[$__rate_interval]))",
                    "{{model}} {{status}}",
                ),
            ),
            width=12,
            stacking="normal",
        ),
        Panel(
            "Customers without a score",
            "Share of the customers of the last hour who are outside the model's population. Callers who ask for "
            "people that no model can score waste their calls; a step is a change in whom they ask for.",
            "percentunit",
            (
                Query(
                    in_an_hour("regulars_rows_total", "model", 'status!="ok"') + f" / {_CUSTOMERS}",
                    "{{model}}",
                ),
            ),
            width=12,
        ),
    ),
)

BATCH = Row(
    "Batch runs",
    (
        Panel(
            "Last complete run",
            "Time since a run over these models was last complete. A run that failed goes on where it stopped when the "
            "same command is given again; its log says what was wrong.",
            "s",
            (
                Query(
                    f"time() - max by (models) (regulars_batch_last_success_timestamp_seconds {_OF_RUNS})",
                    "{{models}}",
                ),
            ),
            Look.FIGURES,
            limits=rising(26 * 3600, 50 * 3600),
            alerts=("RegularsBatchMissed",),
        ),
        Panel(
            "Duration of the last attempt",
            "How long the last attempt took; one that went on after a stop took less than a whole run.",
            "s",
            (
                Query(
                    f"max by (models) (regulars_batch_duration_seconds {_OF_RUNS})",
                    "{{models}}",
                ),
            ),
            Look.FIGURES,
        ),
        Panel(
            "Rows set aside",
            "Rows of the last run that nobody can score: without an id, with one that stands twice, or that a model "
            "cannot take. They lie in the folder of the scores, each with its reason.",
            "none",
            (
                Query(
                    f"max by (models) (regulars_batch_rejected_rows {_OF_RUNS})",
                    "{{models}}",
                ),
            ),
            Look.FIGURES,
            limits=rising(1, 1000),
            alerts=("RegularsBatchRowsRejected",),
        ),
        Panel(
            "Customers of the last run",
            "Customers by model and status. Far fewer than the run before: see what was read.",
            "none",
            (
                Query(
                    f"max by (models, model, status) (regulars_batch_rows{{{OF_MODEL}}})",
                    "{{model}} {{status}} ({{models}})",
                ),
            ),
            width=24,
        ),
    ),
)

_EVERYBODY = in_an_hour("regulars_shadow_customers_total", "model")
_BOTH = in_an_hour("regulars_shadow_customers_total", "model", 'scored_by="both"')


def disagreements(fields: str, customers: str) -> str:
    """The share of customers of whom the shadow says something else, by field."""
    those = in_an_hour("regulars_shadow_disagreements_total", "model, field", fields)
    return f"{those} / on (model) group_left () {customers}"


SHADOW = Row(
    "Shadow",
    (
        Panel(
            "Copies of calls",
            "Copies of calls for the shadow, by what became of them. failed: the shadow is away, slow or refuses, "
            "which the code tells; dropped: too many waited, so lower REGULARS_SHADOW_SHARE or give the shadow more; "
            "incomparable: it answers another question. No caller notices any of it.",
            "reqps",
            (
                Query(
                    "sum by (model, outcome, grpc_code) "
                    f"(rate(regulars_shadow_calls_total{{{SERVER}}}[$__rate_interval]) > 0)",
                    "{{model}} {{outcome}} {{grpc_code}}",
                ),
            ),
            stacking="normal",
            alerts=("RegularsShadowFails",),
        ),
        Panel(
            "Customers of whom it says something else",
            "Share of the hour's compared customers: of all for the status, else of those whom both scored. Another "
            "band is another letter, so look at these before you promote.",
            "percentunit",
            (
                Query(disagreements('field="status"', _EVERYBODY), "{{model}} {{field}}"),
                Query(disagreements('field!="status"', _BOTH), "{{model}} {{field}}"),
            ),
            alerts=("RegularsShadowDisagrees",),
        ),
        Panel(
            "How far its numbers lie off",
            "The difference that 99 % of the hour's compared customers stay within, as a share. Zero is equal to the "
            "bit.",
            "percentunit",
            (
                Query(
                    f"histogram_quantile(0.99, {in_an_hour('regulars_shadow_difference_bucket', 'le, model, field')})",
                    "{{model}} {{field}}",
                ),
            ),
        ),
        Panel(
            "Scored by",
            "The hour's compared customers by who scored them. Many of whom one alone has a score: the two models "
            "answer for different people.",
            "none",
            (
                Query(
                    in_an_hour("regulars_shadow_customers_total", "model, scored_by"),
                    "{{model}} {{scored_by}}",
                ),
            ),
            width=12,
            stacking="percent",
        ),
        Panel(
            "Versions of the shadow",
            "What the shadow answered with last. It is to be the candidate.",
            "none",
            (Query(f"sum by (model, version, digest, instance) (regulars_shadow_info{{{SERVER}}} == 1)"),),
            Look.TABLE,
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    name="model-health",
    title="Regulars: model health",
    description="Versions and their age, scores and their shift, inputs, batch runs, and the shadow.",
    variables=(NAMESPACE, MODEL, INSTANCE, RANKED, BANDED),
    rows=(SERVED, SCORES, INPUTS, BATCH, SHADOW),
    marks=(SWAPS,),
    since="now-7d",
    refresh="5m",
)
