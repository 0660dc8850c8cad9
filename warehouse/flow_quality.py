"""How sure flow usage is: exported, scaled, without a known rate, perhaps missing.

Loss is known per exporter and numbering, usage per subscriber and exporter; what may be missing of
a subscriber is worked out here, when it is asked (docs/decisions/0129).
"""

from __future__ import annotations

from collections.abc import Mapping

from warehouse.answers import FlowQuality
from warehouse.question import MINUTE_RANGE, SCOPES, Query, step_of

_HOUR_RANGE = (
    "hour >= intDiv({from_at:Int64}, 3600000)"
    " AND hour < intDiv({until_at:Int64} + 3599999, 3600000)"
)
"""Hours of UTC that touch the range."""

FLOW_STEPS: Mapping[str, str] = {
    "hour": "toInt64(f.hour * 3600000)",
    "day": step_of("day", "(toInt64(f.hour) * 60)"),
    "range": "toInt64(min(f.hour) * 3600000)",
}
"""Step -> where it begins (ms); an hour of UTC is of the local day in which it begins."""

FLOW_SCOPES: Mapping[str, str] = {
    "subscribers": SCOPES["subscribers"],
    "rating_keys": (
        "subscriber_id IN (SELECT subscriber_id FROM usage_rated\n"
        f"  WHERE {SCOPES['rating_keys']} AND {MINUTE_RANGE})"
    ),
}

_LOSS_RATIOS = (
    "SELECT exporter, hour, sum(units) > 0 AS is_numbered,\n"
    "  sum(units > 0 ? datagrams * greatest(lost, 0) / units : toFloat64(greatest(lost, 0)))\n"
    "    / greatest(sum(datagrams), 1) AS ratio\n"
    f"FROM loss_hour WHERE exporter != '' AND {_HOUR_RANGE} GROUP BY exporter, hour"
)
"""Lost datagrams per received one, by exporter and hour: numberings in their own units, weighted
by their datagrams."""

_DROP_RATIOS = (
    "SELECT hour, sumIf(lost, exporter = '') / greatest(sum(datagrams), 1) AS ratio\n"
    f"FROM loss_hour WHERE {_HOUR_RANGE} GROUP BY hour"
)
"""Datagrams that the collectors dropped per received one, by hour."""


def flow_quality(step: str, scope: str = "subscribers") -> Query[FlowQuality]:
    """Return the query of how sure flow usage is, per step; a step without flows is absent.

    step is hour, day or range (one row at most); scope `subscribers` or `rating_keys`: those who
    used something under the key in the range. KeyError for any other. Hours are of UTC and count
    whole, the last one once it is over.
    """
    return Query(
        name=f"flow_quality_{scope}_{step}",
        sql=(
            f"SELECT {FLOW_STEPS[step]} AS at,\n"
            "  sum(f.octets) AS octets, sum(f.octets_exported) AS octets_exported,\n"
            "  sum(f.octets_rate_unknown) AS octets_rate_unknown,\n"
            "  toInt64(sum(round(greatest(f.octets, 0)\n"
            "    * if(l.is_numbered, l.ratio, d.ratio)))) AS octets_missing,\n"
            "  sumIf(f.octets, NOT l.is_numbered) AS octets_unnumbered\n"
            "FROM (SELECT exporter, hour, sum(t.octets) AS octets,\n"
            "  sum(t.octets_exported) AS octets_exported,\n"
            "  sum(t.octets_rate_unknown) AS octets_rate_unknown FROM flow_hour AS t\n"
            f"  WHERE {FLOW_SCOPES[scope]} AND {_HOUR_RANGE} GROUP BY exporter, hour) AS f\n"
            f"LEFT JOIN ({_LOSS_RATIOS}) AS l ON f.exporter = l.exporter AND f.hour = l.hour\n"
            f"LEFT JOIN ({_DROP_RATIOS}) AS d ON f.hour = d.hour\n"
            + ("" if step == "range" else "GROUP BY at\n")
            + "HAVING octets != 0 OR octets_exported != 0"
            + ("" if step == "range" else " ORDER BY at")
        ),
        row=FlowQuality,
        meaning=f"flow octets per {step}: exported, scaled, without a rate, perhaps missing",
    )
