"""The operations dashboard: is everything received, rated and written in time, and where not?

Its panels ask Prometheus. Names of metrics are those of the packages' `metrics.py`.
"""

from __future__ import annotations

import dataclasses

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from dashboards.config import DashboardsConfig
from dashboards.panels import Panel, lines, number

OPERATIONS_UID = "flowrate-operations"

PLUGIN = "prometheus"


@dataclasses.dataclass(frozen=True)
class Expression:
    """A PromQL expression, and how its series are called (``{{stage}}`` is a label's value)."""

    promql: str
    legend: str = ""

    def target(self, ref_id: str, datasource: DataSourceRef) -> prometheus.Dataquery:
        """Return the builder of the query as the dashboard's JSON has it."""
        query = prometheus.Dataquery().expr(self.promql).ref_id(ref_id).datasource(datasource)
        query.legend_format(self.legend or "__auto").range()
        return query


def per_second(metric: str, by: str = "") -> str:
    """Return a counter's rate, summed over everything but the labels `by`."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}[$__rate_interval]))"


def quantile(share: float, histogram: str, selector: str = "", by: str = "") -> str:
    """Return a quantile of a histogram over all processes, per label `by`."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({histogram}_bucket{{{selector}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate}))"


def _latency(stage: str) -> list[Expression]:
    selector = f'stage="{stage}"'
    return [
        Expression(quantile(share, "flowrate_usage_latency_seconds", selector), name)
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


NOW: tuple[Panel, ...] = (
    Panel(
        "Processes that answer",
        "Processes whose metrics endpoint Prometheus reached at its last attempt.",
        4,
        4,
        [Expression('sum(up{job=~"flowrate.*"})')],
        number(units.Short),
    ),
    Panel(
        "Processes that do not",
        "Processes that Prometheus is told to ask and that do not answer.",
        4,
        4,
        [Expression('count(up{job=~"flowrate.*"} == 0) or vector(0)')],
        number(units.Short, red_from=1.0),
    ),
    Panel(
        "Oldest watermark",
        "The most that any stage is behind now; red where minutes wait for it too long.",
        4,
        4,
        [Expression("max(flowrate_stream_watermark_age_seconds)")],
        number(units.Seconds, red_from=120.0),
    ),
    Panel(
        "Messages behind",
        "All topic partitions together, behind what their consumers have committed.",
        4,
        4,
        [
            Expression(
                "sum(max by (topic, partition) (flowrate_stream_consumer_lag_messages))"
                " or vector(0)"
            )
        ],
        number(units.Short),
    ),
    Panel(
        "In spools",
        "Octets that wait on the collectors' disks for Kafka.",
        4,
        4,
        [Expression("sum(flowrate_spool_octets) or vector(0)")],
        number(units.BytesIEC, red_from=2_147_483_648.0),
    ),
    Panel(
        "Oldest output",
        "Age of the oldest committed output that Kafka has not acknowledged.",
        4,
        4,
        [Expression("max(flowrate_stream_outbox_oldest_seconds) or vector(0)")],
        number(units.Seconds, red_from=60.0),
    ),
)

LATENCY: tuple[Panel, ...] = (
    Panel(
        "Received until rated",
        "Age of usage at the commit of its charge, since its packet or datagram came.",
        8,
        8,
        _latency("received_to_rated"),
        lines(units.Seconds),
    ),
    Panel(
        "Minute's end until rated",
        "The same since the end of the minute it was used in: with the NAS's interval in it.",
        8,
        8,
        _latency("event_to_rated"),
        lines(units.Seconds),
    ),
    Panel(
        "Received until in the warehouse",
        "Age of usage when the sink had committed it.",
        8,
        8,
        _latency("received_to_sunk"),
        lines(units.Seconds),
    ),
)

STAGES: tuple[Panel, ...] = (
    Panel(
        "Messages behind, by topic",
        "Sum over the partitions of each topic.",
        12,
        8,
        [
            Expression(
                "sum by (topic) (max by (topic, partition)"
                " (flowrate_stream_consumer_lag_messages))",
                "{{topic}}",
            )
        ],
        lines(units.Short),
    ),
    Panel(
        "Age of watermarks, by stage",
        "Everything received until this long ago is in; the slowest partition counts.",
        12,
        8,
        [Expression("max by (stage) (flowrate_stream_watermark_age_seconds)", "{{stage}}")],
        lines(units.Seconds),
    ),
    Panel(
        "Time of a round, by stage",
        "95th percentile, with the transaction; and of Kafka's acknowledgement.",
        8,
        8,
        [
            Expression(
                quantile(0.95, "flowrate_stream_round_seconds", by="stage"),
                "{{stage}}",
            ),
            Expression(
                quantile(0.95, "flowrate_stream_publish_seconds"),
                "acknowledgement by Kafka",
            ),
        ],
        lines(units.Seconds),
    ),
    Panel(
        "Rows per second",
        "What stages read of topics, what was rated, and what was dropped as a repetition.",
        8,
        8,
        [
            Expression(per_second("flowrate_stream_rows_read_total"), "read"),
            Expression(per_second("flowrate_rate_rated_rows_total"), "rated"),
            Expression(per_second("flowrate_stream_repeats_dropped_total"), "repeated messages"),
        ],
        lines(units.Short),
    ),
    Panel(
        "Tasks, by worker",
        "How the partitions are shared out.",
        8,
        8,
        [Expression("sum by (instance) (flowrate_stream_tasks)", "{{instance}}")],
        lines(units.Short, stacked=True),
    ),
)

OUTBOX: tuple[Panel, ...] = (
    Panel(
        "Outputs that wait",
        "Rows of the outbox, and messages on their way to Kafka.",
        8,
        8,
        [
            Expression("sum(flowrate_stream_outbox_rows)", "in the outbox"),
            Expression("sum(flowrate_stream_relay_in_flight_messages)", "on their way"),
        ],
        lines(units.Short),
    ),
    Panel(
        "Age of the oldest output",
        "By worker.",
        8,
        8,
        [
            Expression(
                "max by (instance) (flowrate_stream_outbox_oldest_seconds)",
                "{{instance}}",
            )
        ],
        lines(units.Seconds),
    ),
    Panel(
        "Until Kafka acknowledges",
        "From sending an output until every in-sync replica has it.",
        8,
        8,
        [
            Expression(quantile(share, "flowrate_stream_publish_seconds"), name)
            for share, name in ((0.5, "p50"), (0.99, "p99"))
        ],
        lines(units.Seconds),
    ),
)

RECEIVING: tuple[Panel, ...] = (
    Panel(
        "Flow datagrams per second",
        "Received, made durable, and lost before they were.",
        8,
        8,
        [
            Expression(per_second("flowrate_flow_received_datagrams_total"), "received"),
            Expression(per_second("flowrate_flow_appended_datagrams_total"), "durable"),
            Expression(per_second("flowrate_flow_overflow_datagrams_total"), "dropped"),
            Expression(per_second("flowrate_flow_kernel_drops"), "dropped by the kernel"),
        ],
        lines(units.Short),
    ),
    Panel(
        "Accounting packets per second",
        "Received, answered once durable, repeated by the NAS, and left unanswered.",
        8,
        8,
        [
            Expression(per_second("flowrate_radius_received_packets_total"), "received"),
            Expression(per_second("flowrate_radius_durable_packets_total"), "answered"),
            Expression(per_second("flowrate_radius_duplicate_packets_total"), "repeated"),
            Expression(per_second("flowrate_radius_unanswered_packets_total"), "unanswered"),
            Expression(per_second("flowrate_radius_kernel_drops"), "dropped by the kernel"),
        ],
        lines(units.Short),
    ),
    Panel(
        "Spools",
        "Octets that wait for Kafka, by collector.",
        8,
        8,
        [Expression("sum by (instance) (flowrate_spool_octets)", "{{instance}}")],
        lines(units.BytesIEC, stacked=True),
    ),
)

OUTSIDE: tuple[Panel, ...] = (
    Panel(
        "Warehouse",
        "Rows inserted, and inserts that failed and are replayed.",
        8,
        8,
        [
            Expression(per_second("flowrate_warehouse_sink_rows_total"), "rows"),
            Expression(per_second("flowrate_warehouse_sink_failures_total"), "failed inserts"),
        ],
        lines(units.Short),
    ),
    Panel(
        "Commands and notifications",
        "What was sent, and what ended without effect.",
        8,
        8,
        [
            Expression(per_second("flowrate_commands_sent_total"), "commands sent"),
            Expression(per_second("flowrate_commands_verified_total"), "commands verified"),
            Expression(per_second("flowrate_commands_failed_total"), "commands failed"),
            Expression(
                per_second("flowrate_notifications_delivered_total"), "notifications delivered"
            ),
            Expression(per_second("flowrate_notifications_failed_total"), "notifications failed"),
        ],
        lines(units.Short),
    ),
    Panel(
        "API",
        "Requests answered, refused, and ended in an error of ours.",
        8,
        8,
        [
            Expression(per_second("flowrate_api_requests_total"), "answered"),
            Expression(per_second("flowrate_api_problems_total"), "problems"),
            Expression(per_second("flowrate_api_failures_total"), "failures"),
        ],
        lines(units.Short),
    ),
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", NOW),
    ("Latency by event time", LATENCY),
    ("Stages", STAGES),
    ("Outbox", OUTBOX),
    ("Receiving", RECEIVING),
    ("What leaves", OUTSIDE),
)
"""The dashboard from top to bottom: row titles with their panels."""


def operations_dashboard(config: DashboardsConfig) -> builders.Dashboard:
    """Return the operations dashboard's builder."""
    datasource = DataSourceRef(type_val=PLUGIN, uid=config.prometheus_uid)
    dashboard = (
        builders.Dashboard("Flowrate: operations")
        .uid(OPERATIONS_UID)
        .description("Whether everything is received, rated and written in time, and where not.")
        .tags(["flowrate"])
        .time("now-1h", "now")
        .refresh(f"{config.refresh_seconds}s")
        .timezone(config.time_zone)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    # Fixed ids keep links to a panel (and Grafana's alert rules on it) over a new publish.
    for row, (title, panels) in enumerate(ROWS, start=1):
        dashboard.with_row(builders.Row(title).id(row * 100))
        for order, panel in enumerate(panels, start=row * 100 + 1):
            dashboard.with_panel(panel.build(datasource).id(order))
    return dashboard
