"""Every question that is asked of the warehouse: the only place with analytics SQL.

A `Query` is a name, SQL with `{name:Type}` parameters, and the class of its rows, whose fields are
the columns in order. API and CLI run it with `rows`; dashboards put Grafana's time range in the
place of the parameters. Ranges are [from_at, until_at) in ms; `at` is the start of a step in ms.

Octets are those of the rows with meter_id `volume`, whose sum is what was measured. What matched
nobody is in a query's result only where it says so. Hours, days and months are local to the
parameter `time_zone` (an IANA name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rating.records import UNATTRIBUTED_PREFIX
from warehouse.answers import (
    AlertRow,
    ChargePoint,
    CommandRow,
    EvidencePiece,
    FlowRow,
    InvoiceRow,
    LagPoint,
    LateUsage,
    LossPoint,
    Now,
    PeriodTotal,
    RatedRow,
    RatePoint,
    SessionRow,
    SessionUsage,
    Total,
    TrafficPoint,
    UnattributedPoint,
)
from warehouse.flow_quality import FLOW_SCOPES, FLOW_STEPS
from warehouse.flow_quality import flow_quality as flow_quality
from warehouse.question import MINUTE_RANGE as _MINUTE_RANGE
from warehouse.question import SCOPES as SCOPES
from warehouse.question import STEPS as STEPS
from warehouse.question import Query as Query
from warehouse.question import step_of as _step
from warehouse.tables import CELL_MINUTES

_CELL_MS = CELL_MINUTES * 60_000
_CELL_RANGE = (
    f"cell >= intDiv({{from_at:Int64}}, {_CELL_MS})"
    f" AND cell < intDiv({{until_at:Int64}} + {_CELL_MS - 1}, {_CELL_MS})"
)
_VOLUME = "meter_id = 'volume'"
_ATTRIBUTED = f"NOT startsWith(rating_key, '{UNATTRIBUTED_PREFIX}')"


def _volume_of(scope: str) -> tuple[str, str]:
    """Return table and condition of a scope's volume rows."""
    if scope == "all":
        return "usage_minute", "NOT is_unattributed"
    return "usage_rated", f"{SCOPES[scope]} AND {_VOLUME}"


def _class_minutes(scope: str) -> str:
    """Return the SELECT of octets per minute and class, each minute split as its quarter hour.

    Rate books accounting octets as unclassified in their minute and later moves the quarter
    hour's octets between classes in its first minute, so single minutes of one class mean nothing.
    Differences of rounded running sums keep every minute's total exact.
    """
    table, condition = _volume_of(scope)
    cell = f"intDiv(minute, {CELL_MINUTES})"
    whole_cells = _CELL_RANGE.replace("cell ", f"{cell} ")

    def octets(way: str) -> str:
        running = f"intDiv(toInt256({way}_minute) * ({way}_before + {way}_class), {way}_cell)"
        before = f"intDiv(toInt256({way}_minute) * {way}_before, {way}_cell)"
        unsplit = f"if({way}_before_rows = 0, {way}_minute, 0)"
        return f"toInt64(if({way}_cell = 0, {unsplit}, {running} - {before})) AS octets_{way}"

    def running(way: str) -> str:
        earlier = (
            "OVER (PARTITION BY cell ORDER BY traffic_class"
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        )
        return (
            f"{way}_class, sum({way}_class) {earlier} AS {way}_before,\n"
            f"  count() {earlier} AS {way}_before_rows,\n"
            f"  sum({way}_class) OVER (PARTITION BY cell) AS {way}_cell"
        )

    return (
        f"SELECT toInt64(minute * 60000) AS at, c.traffic_class AS traffic_class,\n"
        f"  {octets('up')},\n  {octets('down')}\n"
        f"FROM (SELECT minute, {cell} AS cell,\n"
        "  sum(t.octets_up) AS up_minute, sum(t.octets_down) AS down_minute\n"
        f"  FROM {table} AS t WHERE {condition} AND {_MINUTE_RANGE} GROUP BY minute) AS m\n"
        f"INNER JOIN (SELECT cell, traffic_class, {running('up')},\n  {running('down')}\n"
        f"  FROM (SELECT {cell} AS cell, traffic_class,\n"
        "    sum(t.octets_up) AS up_class, sum(t.octets_down) AS down_class\n"
        f"    FROM {table} AS t WHERE {condition} AND {whole_cells}\n"
        "    GROUP BY cell, traffic_class)) AS c ON m.cell = c.cell"
    )


def series(step: str, scope: str = "all", *, by_class: bool = False) -> Query[TrafficPoint]:
    """Return the query of octets per step, ascending; a step without usage is absent.

    step is one of STEPS, scope `all` (everybody attributed), `subscribers` or `rating_keys`
    (a parameter with that list). KeyError for any other. By class, a minute's octets are split as
    its whole quarter hour is: classes are known no finer (docs/decisions/0204).
    """
    table, condition = _volume_of(scope)
    if by_class and step == "minute":
        return Query(
            name=f"series_{scope}_minute_by_class",
            sql=(
                "SELECT at, traffic_class, octets_up, octets_down FROM (\n"
                f"{_class_minutes(scope)}\n) ORDER BY at, traffic_class"
            ),
            row=TrafficPoint,
            meaning="octets per minute and traffic class, the class known per quarter hour",
        )
    label = "traffic_class" if by_class else "'' AS traffic_class"
    return Query(
        name=f"series_{scope}_{step}{'_by_class' if by_class else ''}",
        sql=(
            f"SELECT {_step(step)} AS at, {label},\n"
            "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down\n"
            f"FROM {table} AS t WHERE {condition}\n  AND {_MINUTE_RANGE}\n"
            "GROUP BY at, traffic_class ORDER BY at, traffic_class"
        ),
        row=TrafficPoint,
        meaning=f"octets per {step}" + (" and traffic class" if by_class else ""),
    )


def by_class(scope: str = "all") -> Query[Total]:
    """Return the query of octets per traffic class over a range, greatest first.

    Exact where the range is of whole quarter hours: classes are known no finer.
    """
    table, condition = _volume_of(scope)
    return Query(
        name=f"by_class_{scope}",
        sql=(
            "SELECT traffic_class AS key,\n"
            "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down\n"
            f"FROM {table} AS t WHERE {condition}\n  AND {_MINUTE_RANGE}\n"
            "GROUP BY key ORDER BY octets_up + octets_down DESC, key"
        ),
        row=Total,
        meaning="octets per traffic class",
    )


def top_subscribers(scope: str = "all") -> Query[Total]:
    """Return the query of the subscribers with the most octets, at most `limit`, greatest first.

    The range counts in whole quarter hours: it is widened to them.
    """
    condition = "" if scope == "all" else f" AND {SCOPES[scope]}"
    return Query(
        name=f"top_subscribers_{scope}",
        sql=(
            "SELECT subscriber_id AS key,\n"
            "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down\n"
            f"FROM usage_cell AS t WHERE {_CELL_RANGE}\n"
            f"  AND {_ATTRIBUTED} AND subscriber_id != ''{condition}\n"
            "GROUP BY key ORDER BY octets_up + octets_down DESC, key LIMIT {limit:Int64}"
        ),
        row=Total,
        meaning="subscribers with the most octets",
    )


def rate(*, by_class: bool = False) -> Query[RatePoint]:
    """Return the query of everybody's rate per minute, total or by class, ascending.

    By class, a minute's octets are split as its whole quarter hour is, as in `series`.
    """
    points = series("minute", by_class=by_class)
    return Query(
        name="rate_by_class" if by_class else "rate",
        sql=(
            "SELECT at, traffic_class, octets_up * 8 / 60 AS bps_up, octets_down * 8 / 60 AS"
            f" bps_down\nFROM (\n{points.sql}\n) ORDER BY at, traffic_class"
        ),
        row=RatePoint,
        meaning="mean rate per minute in bit/s" + (", by traffic class" if by_class else ""),
    )


_LINE = (
    "rating_key = {rating_key:String} AND meter_id IN ({meter_id:String}, 'volume')\n"
    f"  AND {_MINUTE_RANGE}"
)

_OF_SOMETHING = "octets_up != 0 OR octets_down != 0 OR quantity != 0"
_OF_A_SESSION = "octets_up != 0 OR octets_down != 0 OR (quantity != 0 AND key != '')"
"""Rows that only move octets between classes belong to no session and add nothing; nor does a
meter that counts what all sessions of a minute moved in one row, which is no session's."""

_EVIDENCE_KEYS: Mapping[str, str] = {
    "day": "toString(toDate(toDateTime(minute * 60, 'UTC'), {time_zone:String}))",
    "session": "session_id",
    "minute": "toString(toInt64(minute) * 60000)",
}


def evidence(level: str, *, of_session: bool = False) -> Query[EvidencePiece]:
    """Return the query of a line's pieces per `day` (local), `session` or `minute`, ascending.

    The line is a rating key's meter over a range; octets are the range's volume, quantity is the
    meter's. of_session narrows it to one session. KeyError for another level.
    """
    condition = "\n  AND session_id = {session_id:String}" if of_session else ""
    kept = _OF_A_SESSION if level == "session" else _OF_SOMETHING
    return Query(
        name=f"evidence_{level}{'_of_session' if of_session else ''}",
        sql=(
            f"SELECT {_EVIDENCE_KEYS[level]} AS key,\n"
            "  min(toInt64(minute)) * 60000 AS first_at,\n"
            "  (max(toInt64(minute)) + 1) * 60000 AS last_at,\n"
            "  sumIf(t.octets_up, meter_id = 'volume') AS octets_up,\n"
            "  sumIf(t.octets_down, meter_id = 'volume') AS octets_down,\n"
            "  sumIf(t.quantity, meter_id = {meter_id:String}) AS quantity,\n"
            "  toInt64(count()) AS rows\n"
            f"FROM usage_rated AS t WHERE {_LINE}{condition}\n"
            f"GROUP BY key HAVING {kept} ORDER BY first_at, key"
        ),
        row=EvidencePiece,
        meaning=f"what an invoice line is made of, per {level}",
    )


PERIOD_TOTALS = Query(
    name="period_totals",
    sql=(
        "SELECT meter_id, plan_id, toInt64(t.plan_version) AS plan_version, currency,\n"
        "  sum(t.quantity) AS quantity, sum(t.charge) AS charge,\n"
        "  sum(t.balance_effect) AS balance_effect,\n"
        "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down,\n"
        "  sumIf(t.octets_up + t.octets_down, is_late) AS octets_late,\n"
        "  toInt64(count()) AS rows\n"
        "FROM usage_rated AS t\n"
        "WHERE rating_key = {rating_key:String} AND period_start_at = {period_start_at:Int64}\n"
        "GROUP BY meter_id, plan_id, plan_version, currency\n"
        "ORDER BY meter_id, plan_id, plan_version, currency"
    ),
    row=PeriodTotal,
    meaning="a period's sums per meter, from the base table",
)

UNATTRIBUTED = Query(
    name="unattributed",
    sql=(
        f"SELECT {_step('minute')} AS at, source,\n"
        "  sumIf(t.octets_up + t.octets_down, is_unattributed) AS octets_unattributed,\n"
        "  sum(t.octets_up + t.octets_down) AS octets_total,\n"
        "  octets_total = 0 ? 0. : octets_unattributed / octets_total AS share\n"
        f"FROM usage_minute AS t WHERE {_MINUTE_RANGE}\n"
        "GROUP BY at, source ORDER BY at, source"
    ),
    row=UnattributedPoint,
    meaning="share of octets that matched no subscriber, per minute and source",
)

LOSS = Query(
    name="loss",
    sql=(
        f"SELECT {_step('minute')} AS at, exporter,\n"
        "  sum(t.datagrams) AS datagrams, sum(t.lost) AS lost,\n"
        "  datagrams + lost = 0 ? 0. : lost / (datagrams + lost) AS share\n"
        f"FROM loss_minute AS t WHERE {_MINUTE_RANGE}\n"
        "GROUP BY at, exporter ORDER BY at, exporter"
    ),
    row=LossPoint,
    meaning="export datagrams lost on the way, per minute and exporter",
)

SUBSCRIBER_SESSIONS = Query(
    name="subscriber_sessions",
    sql=(
        "SELECT session_id, source, min(toInt64(minute)) * 60000 AS first_at,\n"
        "  (max(toInt64(minute)) + 1) * 60000 AS last_at,\n"
        "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down,\n"
        "  sum(t.seconds) AS seconds, toInt64(count()) AS rows,\n"
        "  toInt64(max(t.log_partition)) AS log_partition,\n"
        "  toInt64(min(t.log_position)) AS first_log_position,\n"
        "  toInt64(max(t.log_position)) AS last_log_position\n"
        "FROM usage_rated AS t\n"
        f"WHERE subscriber_id = {{subscriber_id:String}} AND {_MINUTE_RANGE} AND {_VOLUME}\n"
        "GROUP BY session_id, source\n"
        "HAVING session_id != '' OR octets_up != 0 OR octets_down != 0\n"
        "ORDER BY first_at, session_id"
    ),
    row=SessionUsage,
    meaning="a subscriber's sessions within a range, with their log positions",
)

RATED_ROWS = Query(
    name="rated_rows",
    sql=(
        "SELECT toInt64(minute) * 60000 AS at, subscriber_id, session_id, source,\n"
        "  traffic_class, t.meter_id AS meter_id, octets_up, octets_down, quantity, charge,\n"
        "  currency, plan_id, plan_version, is_late, received_at,\n"
        "  toInt64(t.log_partition) AS log_partition, toInt64(t.log_position) AS log_position\n"
        f"FROM usage_rated AS t WHERE {_LINE}\n"
        "ORDER BY minute, subscriber_id, session_id, meter_id, traffic_class, log_position\n"
        "LIMIT {limit:Int64}"
    ),
    row=RatedRow,
    meaning="the rated rows of a rating key's meter within a range",
)

LATE_USAGE = Query(
    name="late_usage",
    sql=(
        "SELECT rating_key, period_start_at, sum(t.octets_up + t.octets_down) AS octets,\n"
        "  sum(t.charge) AS charge, toInt64(count()) AS rows,\n"
        "  max(received_at) AS last_received_at\n"
        "FROM usage_rated AS t WHERE is_late\n"
        "  AND received_at >= {from_at:Int64} AND received_at < {until_at:Int64}\n"
        "GROUP BY rating_key, period_start_at\n"
        "ORDER BY last_received_at DESC, rating_key, period_start_at LIMIT {limit:Int64}"
    ),
    row=LateUsage,
    meaning="usage received behind its period's lateness bound, newest first",
)

LAG = Query(
    name="lag",
    sql=(
        f"SELECT {_step('minute')} AS at,\n"
        "  sum(t.lag_ms_sum) / sum(t.lag_rows) / 1000 AS mean_seconds,\n"
        "  greatest(0, max(t.lag_ms_max)) / 1000 AS max_seconds,\n"
        "  sum(t.octets_late) AS octets_late\n"
        f"FROM usage_minute AS t WHERE {_MINUTE_RANGE}\n"
        "GROUP BY at HAVING sum(t.lag_rows) > 0 ORDER BY at"
    ),
    row=LagPoint,
    meaning="seconds from a minute's end until its usage was received",
)


def charges(step: str) -> Query[ChargePoint]:
    """Return the query of charges per step (hour, day, month) and meter, ascending."""
    return Query(
        name=f"charges_{step}",
        sql=(
            f"SELECT {_step(step, f'cell * {CELL_MINUTES}')} AS at, meter_id, currency,\n"
            "  sum(t.charge) AS charge, sum(t.quantity) AS quantity\n"
            f"FROM charge_cell AS t WHERE {_CELL_RANGE}\n"
            "GROUP BY at, meter_id, currency ORDER BY at, meter_id, currency"
        ),
        row=ChargePoint,
        meaning=f"charges per {step} and meter",
    )


_UNIT_MS: Mapping[str, int] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


def subscriber_usage(unit: str) -> Query[TrafficPoint]:
    """Return the query of one subscriber's octets per `minute`, `hour` or `day` of UTC and class.

    It reads what is kept when the base no longer is; the range is widened to whole units. Local
    hours and days come from `series`. KeyError for another unit.
    """
    width = _UNIT_MS[unit]
    return Query(
        name=f"subscriber_usage_{unit}",
        sql=(
            f"SELECT toInt64({unit}) * {width} AS at, traffic_class,\n"
            "  sum(t.octets_up) AS octets_up, sum(t.octets_down) AS octets_down\n"
            f"FROM subscriber_{unit} AS t WHERE subscriber_id = {{subscriber_id:String}}\n"
            f"  AND {unit} >= intDiv({{from_at:Int64}}, {width})\n"
            f"  AND {unit} < intDiv({{until_at:Int64}} + {width - 1}, {width})\n"
            "GROUP BY at, traffic_class ORDER BY at, traffic_class"
        ),
        row=TrafficPoint,
        meaning=f"a subscriber's octets per {unit} (UTC) and traffic class",
    )


SESSION_HISTORY = Query(
    name="session_history",
    sql=(
        "SELECT started_at AS at, session_id, nas_id, user_name, framed_address, last_seen_at,\n"
        "  ended_at, end_cause, octets_up, octets_down\n"
        "FROM session WHERE subscriber_id = {subscriber_id:String}\n"
        "  AND started_at < {until_at:Int64} AND last_seen_at >= {from_at:Int64}\n"
        "ORDER BY at DESC, session_id LIMIT {limit:Int64}"
    ),
    row=SessionRow,
    meaning="a subscriber's sessions that touch a range, newest first, ended ones too",
)

INVOICES = Query(
    name="invoices",
    sql=(
        "SELECT period_end_at AS at, invoice_id, number, account_id, status, currency,\n"
        "  total_minor, paid_minor\n"
        "FROM invoice WHERE period_end_at >= {from_at:Int64} AND period_end_at < {until_at:Int64}\n"
        "ORDER BY at DESC, invoice_id LIMIT {limit:Int64}"
    ),
    row=InvoiceRow,
    meaning="issued invoices by their period's end, newest first",
)

ALERTS = Query(
    name="alerts",
    sql=(
        "SELECT raised_at AS at, rating_key, meter_id, percent, quantity, threshold\n"
        "FROM alert WHERE raised_at >= {from_at:Int64} AND raised_at < {until_at:Int64}\n"
        "ORDER BY at DESC, rating_key, meter_id, percent LIMIT {limit:Int64}"
    ),
    row=AlertRow,
    meaning="thresholds crossed, newest first",
)

COMMANDS = Query(
    name="commands",
    sql=(
        "SELECT requested_at AS at, subscriber_id, session_id, kind, target, attempt, outcome,\n"
        "  acknowledged_at, verified_at, reason\n"
        "FROM command WHERE requested_at >= {from_at:Int64} AND requested_at < {until_at:Int64}\n"
        "ORDER BY at DESC, command_id LIMIT {limit:Int64}"
    ),
    row=CommandRow,
    meaning="commands to NASes with their outcome, newest first",
)

NOW = Query(
    name="now",
    sql=(
        "SELECT toInt64(countIf(isNull(ended_at))) AS sessions,\n"
        "  sumIf(t.rate_up_bps, isNull(ended_at)) AS rate_up_bps,\n"
        "  sumIf(t.rate_down_bps, isNull(ended_at)) AS rate_down_bps,\n"
        "  (SELECT max(received_at_max) FROM usage_minute) AS newest_received_at\n"
        "FROM live_session AS t"
    ),
    row=Now,
    meaning="sessions that live, their rate, and the newest usage",
)

_ENDS = ("source", "destination", "nat_source", "nat_destination")
_ENDS_TEXT = ", ".join(
    rf"if(f.{end} = toIPv6('::'), '', replaceRegexpOne(toString(f.{end}), '^::ffff:', '')) AS {end}"
    if end.startswith("nat_")
    else rf"replaceRegexpOne(toString(f.{end}), '^::ffff:', '') AS {end}, {end}_port"
    for end in _ENDS
)


def _flows_at(number: int) -> str:
    """Return the SQL of the newest flows with the address at one end and at none before it."""
    address = "toIPv6({address:String})"
    others = "".join(f" AND {end} != {address}" for end in _ENDS[:number])
    return (
        f"SELECT * FROM raw_flow WHERE {_ENDS[number]} = {address}{others}\n"
        "  AND start_at < {until_at:Int64} AND end_at >= {from_at:Int64}\n"
        "ORDER BY start_at DESC LIMIT {limit:Int64}"
    )


FLOWS_OF_ADDRESS = Query(
    name="flows_of_address",
    sql=(
        f"SELECT start_at AS at, end_at, exporter, protocol, {_ENDS_TEXT},\n"
        "  octets, packets, rate_known, received_at\n"
        "FROM (\n" + "\nUNION ALL\n".join(map(_flows_at, range(len(_ENDS)))) + "\n) AS f\n"
        "ORDER BY at DESC, received_at DESC LIMIT {limit:Int64}"
    ),
    row=FlowRow,
    meaning="raw flows of an address, at whichever end, that touch a range, newest first; asks a"
    " table that is there only where `warehouse.raw_flows` is on",
)
"""A branch for each end, so that each finds its granules by the sort key or its own filter."""


def all_queries() -> Sequence[Query[Any]]:
    """Return every query in every variant: what the tests run and the documentation lists."""
    scopes = ("all", *SCOPES)
    return [
        *(series(s, scope, by_class=c) for s in STEPS for scope in scopes for c in (False, True)),
        *(by_class(scope) for scope in scopes),
        *(top_subscribers(scope) for scope in scopes),
        rate(),
        rate(by_class=True),
        *(
            evidence(level, of_session=narrow)
            for level in _EVIDENCE_KEYS
            for narrow in (False, True)
        ),
        *(charges(step) for step in ("hour", "day", "month")),
        *(subscriber_usage(unit) for unit in _UNIT_MS),
        PERIOD_TOTALS,
        UNATTRIBUTED,
        LOSS,
        *(flow_quality(step, scope) for step in FLOW_STEPS for scope in FLOW_SCOPES),
        SUBSCRIBER_SESSIONS,
        RATED_ROWS,
        LATE_USAGE,
        LAG,
        ALERTS,
        COMMANDS,
        SESSION_HISTORY,
        INVOICES,
        NOW,
    ]
