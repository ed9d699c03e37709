"""The objectives over 30 days: so many calls are answered, and so many of those for one customer in time.

The alerts ask the same recorded series.
"""

from __future__ import annotations

from k8s.monitoring.panels import Look, Panel, Query, Row, falling, rising
from k8s.monitoring.selection import SERVICE

BAD = 'grpc_code=~"Internal|Unavailable|ResourceExhausted|Unknown|DataLoss"'
"""Calls that fail through no fault of the caller's."""

ONE_CUSTOMER = 'grpc_type="unary", grpc_method=~"(Predict|Assign).+"'
"""Calls that score one customer."""

AVAILABILITY = 0.999
PROMPTNESS, PROMPT_SECONDS = 0.99, 0.025

FAST_BURN, MEDIUM_BURN = 14.4, 6.0
"""Times the pace that would use up 30 days' budget in 30 days, at which an hour, or six hours, page."""

SPEEDS = ("Fast", "Medium", "Slow")
"""Of burning, as the alerts are named."""

FAILED_CALLS = f"grpc_service:regulars_calls_failed:increase5m{{{SERVICE}}}"
ALL_CALLS = f"grpc_service_grpc_code:regulars_calls:increase5m{{{SERVICE}}}"
SLOW_CALLS = f"grpc_service:regulars_calls_slow:increase5m{{{SERVICE}}}"
CALLS_FOR_ONE = f'grpc_service_le:regulars_calls_for_one:increase5m{{{SERVICE}, le="+Inf"}}'
"""What the rules record of five minutes."""


def burn(missed: str, objective: float) -> str:
    """How many times faster than sustainable the budget is used."""
    return f"({missed}) / {1 - objective:.3g}"


def left(missed: str, asked: str, objective: float) -> str:
    """The share of 30 days' budget that is left: five minutes after five, as the rules have recorded them."""
    sums = (f"sum by (grpc_service) (sum_over_time({one}[30d:5m]))" for one in (missed, asked))
    return f"1 - {burn(' / '.join(sums), objective)}"


def paces(missed: str, objective: float) -> tuple[Query, ...]:
    """How fast the budget is used, in the windows that the rules record."""
    return tuple(
        Query(
            burn(f"grpc_service:regulars_calls_{missed}:ratio_increase{window}{{{SERVICE}}}", objective),
            f"{{{{grpc_service}}}} {window}",
        )
        for window in ("5m", "1h", "6h")
    )


def _left_of_30_days(name: str, meaning: str, bad: str, every: str, objective: float) -> Panel:
    return Panel(
        f"{name} left of 30 days",
        meaning,
        "percentunit",
        (Query(left(bad, every, objective), "{{grpc_service}}"),),
        Look.FIGURES,
        width=6,
        height=5,
        limits=falling(0.0, 0.25),
        decimals=1,
    )


AVAILABILITY_LEFT = _left_of_30_days(
    "Availability",
    f"What is left of the {1 - AVAILABILITY:.1%} of calls that may fail in 30 days. Near zero, hold back "
    "promotions and deployments; below, the objective is missed.",
    FAILED_CALLS,
    ALL_CALLS,
    AVAILABILITY,
)

PROMPTNESS_LEFT = _left_of_30_days(
    "Promptness",
    f"What is left of the {1 - PROMPTNESS:.0%} of calls for one customer that may take longer than "
    f"{1000 * PROMPT_SECONDS:.0f} ms in 30 days. Near zero, add replicas before you look further.",
    SLOW_CALLS,
    CALLS_FOR_ONE,
    PROMPTNESS,
)

OBJECTIVES = Row(
    "Objectives",
    (
        Panel(
            "Availability: pace of the budget",
            f"1 uses up 30 days' budget in 30 days; {FAST_BURN:g} over an hour pages, and {MEDIUM_BURN:g} over six. "
            "Look for the code under 'Failures by code', for one server under 'Busy calls', for a version under "
            "'Failing calls by version'.",
            "suffix:x",
            paces("failed", AVAILABILITY),
            width=12,
            limits=rising(MEDIUM_BURN, FAST_BURN),
            alerts=tuple(f"RegularsErrorBudget{speed}Burn" for speed in SPEEDS),
        ),
        Panel(
            "Promptness: pace of the budget",
            f"The same of calls for one customer that take longer than {1000 * PROMPT_SECONDS:.0f} ms. If it rises "
            "with 'Queue', there are too few servers; if not, see 'Mean time by version' for a slower model.",
            "suffix:x",
            paces("slow", PROMPTNESS),
            width=12,
            limits=rising(MEDIUM_BURN, FAST_BURN),
            alerts=tuple(f"RegularsLatencyBudget{speed}Burn" for speed in SPEEDS),
        ),
    ),
)
