"""How the servers fare: for who is on call."""

from __future__ import annotations

from k8s.monitoring.objectives import (
    AVAILABILITY,
    AVAILABILITY_LEFT,
    BAD,
    OBJECTIVES,
    ONE_CUSTOMER,
    PROMPT_SECONDS,
    PROMPTNESS_LEFT,
)
from k8s.monitoring.panels import Dashboard, Look, Panel, Query, Row, falling, rising
from k8s.monitoring.promql import per_second, quantile
from k8s.monitoring.selection import INSTANCE, MODEL, NAMESPACE, NAMESPACED, SERVER
from k8s.monitoring.shared import A_DAY, SERVED_VERSIONS, SWAPS


def failing(by: str) -> str:
    """The share of calls that fail through no fault of the caller's."""
    return f"{per_second('grpc_server_handled_total', by, BAD)} / {per_second('grpc_server_handled_total', by)}"


def by_version(rates: str) -> str:
    """Rates by namespace and instance, as those of the versions that are served there."""
    served = f"topk by (namespace, instance) (1, regulars_model_info{{{SERVER}}} == 1)"
    return f"sum by (model, version) ({rates} * on (namespace, instance) group_left (model, version) {served})"


_EACH = "namespace, instance"
_HANDLED = per_second("grpc_server_handled_total", _EACH)
_FAILED = per_second("grpc_server_handled_total", _EACH, BAD)
_PROMPT = per_second("grpc_server_handling_seconds_sum", _EACH, ONE_CUSTOMER)
_COUNT = per_second("grpc_server_handling_seconds_count", _EACH, ONE_CUSTOMER)

AT_A_GLANCE = Row(
    "At a glance",
    (
        Panel(
            "Calls",
            "Calls a second that were completed. None at all while callers are up: see whether the servers are ready, "
            "and whether their Service has endpoints.",
            "reqps",
            (Query(per_second("grpc_server_handled_total", "grpc_service"), "{{grpc_service}}"),),
            Look.FIGURES,
            width=6,
            height=5,
            decimals=1,
            alerts=("RegularsAbsent", "RegularsTargetDown"),
        ),
        Panel(
            "Calls that fail",
            "Share of calls that fail through no fault of the caller's. Which code it is stands under 'Failures by "
            "code'; its cause stands in the log of that server, by event and type.",
            "percentunit",
            (Query(failing("grpc_service"), "{{grpc_service}}"),),
            Look.FIGURES,
            width=6,
            height=5,
            limits=rising(1 - AVAILABILITY, 0.01),
            decimals=2,
        ),
        AVAILABILITY_LEFT,
        PROMPTNESS_LEFT,
        Panel(
            "Servers that serve",
            "Servers that have a bundle, by model. Fewer than replicas: a server is starting, or refuses what was "
            "released and says why in its log.",
            "none",
            (Query(f"count by (model) (regulars_model_info{{{SERVER}}} == 1)", "{{model}}"),),
            Look.FIGURES,
            width=8,
            height=5,
            alerts=("RegularsModelNotServed", "RegularsServerWithoutModel"),
        ),
        Panel(
            "Last look at the registry",
            "Time since sync last saw the folder hold what the alias names. Servers serve on without it; a promotion "
            "or a rollback does not reach them. See the log of the container sync, and whether MLflow answers.",
            "s",
            (
                Query(
                    f"max by (model) (time() - regulars_sync_last_success_timestamp_seconds{{{NAMESPACED}}})",
                    "{{model}}",
                ),
            ),
            Look.FIGURES,
            width=8,
            height=5,
            limits=rising(300, 900),
            alerts=("RegularsSyncFailing",),
        ),
        Panel(
            "Certificate expires in",
            "The soonest end of a server's certificate. Renew the file: servers read it anew by themselves. Servers "
            "in clear text are left out.",
            "s",
            (Query(f"min(regulars_certificate_expiry_seconds{{{SERVER}}} > 0) - time()", "the soonest"),),
            Look.FIGURES,
            width=8,
            height=5,
            limits=falling(3 * A_DAY, 14 * A_DAY),
            alerts=("RegularsCertificateExpiresSoon", "RegularsCertificateExpiring"),
        ),
    ),
)

TRAFFIC = Row(
    "Calls and failures",
    (
        Panel(
            "Calls by method",
            "Calls completed a second. A method that falls to nothing while the others go on: ask its callers.",
            "reqps",
            (Query(per_second("grpc_server_handled_total", "grpc_service, grpc_method"), "{{grpc_method}}"),),
        ),
        Panel(
            "Failures by code",
            "Calls that were not OK. InvalidArgument, NotFound and Unauthenticated are the caller's; Unavailable is a "
            "server that drains or has nothing to serve; ResourceExhausted a full lane; Internal is ours.",
            "reqps",
            (
                Query(
                    per_second("grpc_server_handled_total", "grpc_method, grpc_code", 'grpc_code!="OK"'),
                    "{{grpc_method}} {{grpc_code}}",
                ),
            ),
            stacking="normal",
        ),
        Panel(
            "Customers answered",
            "Customers a second, over all ways to ask. Tables and streams show here and hardly among the calls.",
            "suffix:/s",
            (Query(per_second("regulars_rows_total", "model"), "{{model}}"),),
        ),
    ),
)

LATENCY = Row(
    "Latency and where it goes",
    (
        Panel(
            "Calls for one customer",
            "Quantiles of the time to handle a call, from when a thread has it. If they rise and the stages do not, "
            "calls wait: see the queue.",
            "s",
            tuple(
                Query(quantile(share, "grpc_service", ONE_CUSTOMER), f"{{{{grpc_service}}}} p{100 * share:g}")
                for share in (0.5, 0.9, 0.99)
            ),
            limits=rising(PROMPT_SECONDS, 4 * PROMPT_SECONDS),
        ),
        Panel(
            "99 % of the calls by method",
            "The time within which 99 % of a method's calls are handled. A stream lasts as long as its caller likes.",
            "s",
            (Query(quantile(0.99, "grpc_method"), "{{grpc_method}}"),),
        ),
        Panel(
            "99 % of each stage",
            "queue: waiting for a thread; decode: customers into columns; run: the graph; encode: the answer. A long "
            "queue wants replicas; a long run is a larger model or a busy machine; decode and encode grow with tables.",
            "s",
            (
                Query(
                    quantile(0.99, "grpc_method, stage", metric="regulars_stage_seconds"),
                    "{{grpc_method}} {{stage}}",
                ),
            ),
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Calls in flight by lane",
            "Calls that are admitted and not completed, over the chosen servers. A lane holds REGULARS_INTERACTIVE_"
            "CALLS, _BATCH_CALLS or _BULK_CALLS in each process; near that, calls are about to be refused.",
            "none",
            (Query(f"sum by (lane) (regulars_calls_in_flight{{{SERVER}}})", "{{lane}}"),),
        ),
        Panel(
            "Calls refused by lane",
            "Calls that found their lane full and got ResourceExhausted. Add replicas or workers; a larger lane only "
            "lets them wait longer.",
            "reqps",
            (Query(per_second("regulars_calls_rejected_total", "lane"), "{{lane}}"),),
            alerts=("RegularsCallsRejected",),
        ),
        Panel(
            "Queue",
            "The time within which work on 99 % of the calls begins. It is the first to rise where processors are "
            "short.",
            "s",
            (
                Query(
                    quantile(0.99, "grpc_service", 'stage="queue"', metric="regulars_stage_seconds"),
                    "{{grpc_service}}",
                ),
            ),
            alerts=("RegularsCallsQueue",),
        ),
        Panel(
            "Busy calls",
            "Calls that were worked on at a time, on average, by server. One that has far more than the others gets "
            "more connections, or is slower.",
            "none",
            (Query(per_second("grpc_server_handling_seconds_sum", _EACH), "{{instance}}"),),
        ),
        Panel(
            "Processor",
            "Cores in use by server. At the limit of the container, calls wait in the queue. Servers of several "
            "workers do not tell; there ask the container's own metrics.",
            "suffix:cores",
            (Query(f"rate(process_cpu_seconds_total{{{SERVER}}}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "Memory",
            "Memory held by server. It steps up while two versions are loaded and comes back; what climbs from swap "
            "to swap is worth a report. Servers of several workers do not tell.",
            "bytes",
            (Query(f"process_resident_memory_bytes{{{SERVER}}}", "{{instance}}"),),
        ),
        Panel(
            "Workers",
            "Workers that run, of servers with several. Fewer than REGULARS_WORKERS while one is restarted.",
            "none",
            (Query(f"regulars_workers{{{SERVER}}} > 0", "{{model}} {{instance}}"),),
            width=12,
            alerts=("RegularsWorkersMissing",),
        ),
        Panel(
            "Deaths of workers",
            "Workers that ended by themselves within the hour. Their last lines in the log say why; without any, the "
            "kernel killed them for memory.",
            "none",
            (Query(f"sum by (model) (increase(regulars_worker_deaths_total{{{SERVER}}}[1h]))", "{{model}}"),),
            width=12,
            alerts=("RegularsWorkersDying",),
        ),
    ),
)

RELEASES = Row(
    "Releases",
    (
        SERVED_VERSIONS,
        Panel(
            "Released versions",
            "What sync has released beside the servers. A server that serves another has refused it: its log says why, "
            "and the release before stands.",
            "none",
            (Query(f"sum by (model, version, alias, digest, instance) (regulars_sync_release_info{{{NAMESPACED}}})"),),
            Look.TABLE,
            width=12,
            alerts=("RegularsBundleStale",),
        ),
        Panel(
            "Swaps",
            "Bundles that servers loaded within 15 minutes, and those that they refused. A refused one never displaces "
            "a good one; it is damaged, of another schema, too slow, or does not reproduce its golden rows.",
            "none",
            (
                Query(
                    f"sum by (model, outcome) (increase(regulars_swaps_total{{{SERVER}}}[15m]))",
                    "{{model}} {{outcome}}",
                ),
            ),
            alerts=("RegularsReleaseRefused",),
        ),
        Panel(
            "Failures of sync",
            "Looks at the registry that failed within 15 minutes. Servers serve on; see the log of the container sync, "
            "and whether MLflow answers.",
            "none",
            (
                Query(
                    f"sum by (model, alias) (increase(regulars_sync_failures_total{{{NAMESPACED}}}[15m]))",
                    "{{model}}@{{alias}}",
                ),
            ),
            alerts=("RegularsSyncFailing",),
        ),
        Panel(
            "Served since",
            "How long ago the served bundle was swapped in, by server.",
            "s",
            (Query(f"time() - regulars_model_served_since_seconds{{{SERVER}}}", "{{model}} {{instance}}"),),
        ),
        Panel(
            "Calls by version",
            "Calls a second by the version that is served. It shows a canary's share.",
            "reqps",
            (Query(by_version(_HANDLED), "{{model}} {{version}}"),),
        ),
        Panel(
            "Failing calls by version",
            "Share of calls that fail through no fault of the caller's, by version. If only the new one fails: "
            "regulars rollback.",
            "percentunit",
            (Query(f"{by_version(_FAILED)} / {by_version(_HANDLED)}", "{{model}} {{version}}"),),
            alerts=("RegularsCanaryWorse",),
        ),
        Panel(
            "Mean time by version",
            "Mean time of the calls for one customer, by version. A new version that is slower than the old one on the "
            "same machines is a slower model.",
            "s",
            (Query(f"{by_version(_PROMPT)} / {by_version(_COUNT)}", "{{model}} {{version}}"),),
        ),
    ),
)

ACCESS = Row(
    "Access",
    (
        Panel(
            "Calls by token",
            "Calls that a token authorised, by its name. One that is not known to you, or rises beyond its use: revoke "
            "it in the file of tokens.",
            "reqps",
            (Query(per_second("regulars_token_calls_total", "token"), "{{token}}"),),
        ),
        Panel(
            "Calls without the right to them",
            "Calls that brought no token, a wrong one, or one whose role does not reach so far. A few after a change "
            "of tokens are usual; a stream of them is somebody's old token, or somebody who tries.",
            "reqps",
            (
                Query(
                    per_second(
                        "grpc_server_handled_total",
                        "grpc_method, grpc_code",
                        'grpc_code=~"Unauthenticated|PermissionDenied"',
                    ),
                    "{{grpc_method}} {{grpc_code}}",
                ),
            ),
        ),
        Panel(
            "Settings that cannot be read",
            "1 while the files of a setting have changed and cannot be read; what they said before stands. The log "
            "says what is wrong with them.",
            "none",
            (Query(f"max by (setting, instance) (regulars_setting_stale{{{SERVER}}})", "{{setting}} {{instance}}"),),
            limits=rising(0.5, 1),
            alerts=("RegularsSettingStale",),
        ),
    ),
)

DASHBOARD = Dashboard(
    name="service-overview",
    title="Regulars: service overview",
    description="Calls, failures, latency, objectives, saturation and releases of the servers.",
    variables=(NAMESPACE, MODEL, INSTANCE),
    rows=(AT_A_GLANCE, TRAFFIC, LATENCY, OBJECTIVES, SATURATION, RELEASES, ACCESS),
    marks=(SWAPS,),
)
