"""Every counter of billing and acting, with its meaning."""

from __future__ import annotations

from collections.abc import Mapping

COUNTERS: Mapping[str, str] = {
    "invoices_finalized": "Invoices that got their number",
    "notes_finalized": "Debit and credit notes for late usage of accounts that have left",
    "invoices_held": "Drafts written or kept because a closing is incomplete",
    "periods_waiting": "Looks at a period of which a rating key has not closed yet",
    "usage_days_posted": "Meter days posted to the ledger",
    "bucket_expiries_posted": "Lots of prepaid money that ended, posted to the ledger",
    "topups_reversed": "Top-ups taken off the ledger because rating refused them",
    "dunning_accounts_looked_at": "Looks at accounts that owe, are restricted or have promised",
    "dunning_steps_taken": "Reminders, late fees, restrictions and terminations",
    "dunning_accounts_restricted": "Accounts whose lines dunning began to restrict",
    "dunning_accounts_restored": "Accounts of which dunning restricts nothing any more",
    "dunning_promises_kept": "Promises to pay that were kept",
    "dunning_promises_broken": "Promises to pay whose day passed without the money",
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
    "cas_commands_written": "Commands to the conditional-access system that were decided",
    "cas_commands_sent": "Times that a command left for it, repetitions included",
    "cas_commands_acknowledged": "Commands that it acknowledged",
    "cas_commands_repeated": "Commands that it did not answer, or was too busy for: sent again",
    "cas_commands_verified": "Commands whose effect it confirmed when it was asked",
    "cas_commands_lost": "Commands that it had acknowledged and then knew nothing of",
    "cas_commands_failed": "Commands that it refused for good; an operator was told",
    "cas_commands_superseded": "Commands given up before they left: something else was wanted",
    "cas_turns_unreachable": "Turns of the office in which it could not be reached",
    "cas_cards_checked": "Cards of which it said what they have",
    "cas_cards_differing": "Cards of which it said otherwise than was known; they are repaired",
    "role_is_held": "1 while this process works as its role, 0 while it stands by (gauge)",
    "notifications_enqueued": "Rows added to the outbox",
    "notifications_delivered": "Notifications that a channel took",
    "notifications_failed": "Notifications given up, or whose fate is unknown",
}
"""NAME -> meaning; what is no gauge is a counter since the process began."""
