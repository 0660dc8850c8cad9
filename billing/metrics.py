"""Every counter of billing and acting, with its meaning."""

from __future__ import annotations

from collections.abc import Mapping

COUNTERS: Mapping[str, str] = {
    "invoices_finalized": "Invoices that got their number",
    "notes_finalized": "Debit and credit notes for late usage of accounts that have left",
    "invoices_held": "Drafts written or kept because a closing is incomplete",
    "periods_waiting": "Looks at a period of which a rating key has not closed yet",
    "usage_days_posted": "Meter days posted to the ledger",
    "topups_reversed": "Top-ups taken off the ledger because rating refused them",
    "flow_hours_deleted": "Hours of flows and of loss that went, long after the warehouse got them",
    "commands_written": "Command rows written or changed",
    "commands_sent": "CoA and Disconnect requests that left",
    "commands_unsent": "Requests that could not leave now and will be offered again",
    "commands_acknowledged": "Requests that a NAS acknowledged",
    "commands_refused": "Requests that a NAS refused (NAK)",
    "commands_timed_out": "Requests that no transmission got an answer to",
    "commands_verified": "Commands whose effect was seen in accounting",
    "commands_failed": "Commands that ended without effect; an operator was told",
    "commands_lost": "Requests in flight when the office restarted, sent anew",
    "coa_retransmissions": "Datagrams sent again, unchanged",
    "coa_answers_refused": "Datagrams at the CoA port that answered nothing of ours or failed MD5",
    "role_is_held": "1 while this process works as its role, 0 while it stands by (gauge)",
    "notifications_enqueued": "Rows added to the outbox",
    "notifications_delivered": "Notifications that a channel took",
    "notifications_failed": "Notifications given up, or whose fate is unknown",
}
"""NAME -> meaning; what is no gauge is a counter since the process began."""
