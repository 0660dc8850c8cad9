"""The operations dashboard: is everything received, rated and written in time, and where not?

Its panels ask Prometheus. Names of metrics are those of the packages' `metrics.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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


def quantile(share: float, histogram: str, selector: str = "", by: str = "") -> str:
    """Return a quantile of a histogram over all processes, per label `by`."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({histogram}_bucket{{{selector}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate}))"


def _quantiles(histogram: str, percents: Sequence[int], selector: str = "") -> list[Expression]:
    return [Expression(quantile(each / 100, histogram, selector), f"p{each}") for each in percents]


def _latency(title: str, description: str, stage: str) -> Panel:
    """Return the panel of how old usage is when it has come through a stage of its way."""
    selector = f'stage="{stage}"'
    asked = _quantiles("flowrate_usage_latency_seconds", (50, 95, 99), selector)
    return Panel(title, description, 8, 8, asked, lines(units.Seconds))


def _newest(
    title: str, description: str, promql: str, unit: str, red_from: float | None = None
) -> Panel:
    """Return the panel of one value as it is now, red from a threshold on."""
    return Panel(title, description, 4, 4, [Expression(promql)], number(unit, red_from))


def _rates(title: str, description: str, counter_of_legend: Mapping[str, str]) -> Panel:
    """Return the panel of counters, each as its rate per second over all processes."""
    asked = [
        Expression(f"sum (rate({counter}[$__rate_interval]))", legend)
        for legend, counter in counter_of_legend.items()
    ]
    return Panel(title, description, 8, 8, asked, lines(units.Short))


NOW: tuple[Panel, ...] = (
    _newest(
        "Processes that answer",
        "Processes whose metrics endpoint Prometheus reached at its last attempt.",
        'sum(up{job=~"flowrate.*"})',
        units.Short,
    ),
    _newest(
        "Processes that do not",
        "Processes that Prometheus is told to ask and that do not answer.",
        'count(up{job=~"flowrate.*"} == 0) or vector(0)',
        units.Short,
        red_from=1.0,
    ),
    _newest(
        "Oldest watermark",
        "The most that any stage is behind now; red where minutes wait for it too long.",
        "max(flowrate_stream_watermark_age_seconds)",
        units.Seconds,
        red_from=120.0,
    ),
    _newest(
        "Messages behind",
        "All topic partitions together, behind what their consumers have committed.",
        "sum(max by (topic, partition) (flowrate_stream_consumer_lag_messages)) or vector(0)",
        units.Short,
    ),
    _newest(
        "In spools",
        "Octets that wait on the collectors' disks for Kafka.",
        "sum(flowrate_spool_octets) or vector(0)",
        units.BytesIEC,
        red_from=2_147_483_648.0,
    ),
    _newest(
        "Oldest output",
        "Age of the oldest committed output that Kafka has not acknowledged.",
        "max(flowrate_stream_outbox_oldest_seconds) or vector(0)",
        units.Seconds,
        red_from=60.0,
    ),
)

LATENCY: tuple[Panel, ...] = (
    _latency(
        "Received until rated",
        "Age of usage at the commit of its charge, since its packet or datagram came.",
        "received_to_rated",
    ),
    _latency(
        "Minute's end until rated",
        "The same since the end of the minute it was used in: with the NAS's interval in it.",
        "event_to_rated",
    ),
    _latency(
        "Received until in the warehouse",
        "Age of usage when the sink had committed it.",
        "received_to_sunk",
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
    _rates(
        "Rows per second",
        "What stages read of topics, what was rated, and what was dropped as a repetition.",
        {
            "read": "flowrate_stream_rows_read_total",
            "rated": "flowrate_rate_rated_rows_total",
            "repeated messages": "flowrate_stream_repeats_dropped_total",
        },
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
        _quantiles("flowrate_stream_publish_seconds", (50, 99)),
        lines(units.Seconds),
    ),
)

RECEIVING: tuple[Panel, ...] = (
    _rates(
        "Flow datagrams per second",
        "Received, made durable, and lost before they were.",
        {
            "received": "flowrate_flow_received_datagrams_total",
            "durable": "flowrate_flow_appended_datagrams_total",
            "dropped": "flowrate_flow_overflow_datagrams_total",
            "dropped by the kernel": "flowrate_flow_kernel_drops",
        },
    ),
    _rates(
        "Accounting packets per second",
        "Received, answered once durable, repeated by the NAS, and left unanswered.",
        {
            "received": "flowrate_radius_received_packets_total",
            "answered": "flowrate_radius_durable_packets_total",
            "repeated": "flowrate_radius_duplicate_packets_total",
            "unanswered": "flowrate_radius_unanswered_packets_total",
            "dropped by the kernel": "flowrate_radius_kernel_drops",
        },
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
    _rates(
        "Warehouse",
        "Rows inserted, and inserts that failed and are replayed.",
        {
            "rows": "flowrate_warehouse_sink_rows_total",
            "failed inserts": "flowrate_warehouse_sink_failures_total",
        },
    ),
    _rates(
        "Commands and notifications",
        "What was sent, and what ended without effect.",
        {
            "commands sent": "flowrate_commands_sent_total",
            "commands verified": "flowrate_commands_verified_total",
            "commands failed": "flowrate_commands_failed_total",
            "notifications delivered": "flowrate_notifications_delivered_total",
            "notifications failed": "flowrate_notifications_failed_total",
        },
    ),
    _rates(
        "API",
        "Requests answered, refused, and ended in an error of ours.",
        {
            "answered": "flowrate_api_requests_total",
            "problems": "flowrate_api_problems_total",
            "failures": "flowrate_api_failures_total",
        },
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
