"""Every counter of the stages sessions and attribute, with its meaning."""

from __future__ import annotations

COUNTERS: dict[str, str] = {
    "sessions_packets": "accounting packets taken by the sessions stage",
    "sessions_duplicates": "packets whose content was known (retransmissions)",
    "sessions_ignored": "packets that describe no session of ours: tunnels, no Acct-Session-Id",
    "sessions_services_left_out": "packets of services whose octets their session's packets hold",
    "sessions_opened": "sessions (generations) first seen",
    "sessions_ended": "sessions ended: Stop, Accounting-On/Off, successor or silence",
    "sessions_reopened": "sessions presumed ended that a later packet reopened",
    "sessions_markers": "Accounting-On and Accounting-Off taken, repetitions included",
    "sessions_markers_forgotten": "Accounting-On and -Off forgotten by the limit per NAS",
    "sessions_after_stop": "interim updates later than their session's Stop: not counted",
    "sessions_opened_midway": "sessions first seen too long after their start to charge the past",
    "sessions_compacted_early": "sessions whose knots exceeded the limit before the bound",
    "sessions_unattributed_rows": "usage rows of users the directory does not know",
    "attribute_rows": "flow.minutes rows joined",
    "attribute_unattributed_rows": "usage rows of addresses that belonged to nobody",
    "attribute_late_rows": "flow.minutes rows that came after their minute was joined",
    "attribute_refused_rows": "rows of minutes left out: their sum of octets cannot be true",
    "attribute_bindings": "bindings taken that changed who holds an address",
    "attribute_reattributed_rows": "usage rows emitted because a binding came late",
}
