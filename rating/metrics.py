"""Every counter of the stage rate, with its meaning."""

from __future__ import annotations

COUNTERS: dict[str, str] = {
    "rate_usage_rows": "rows of usage.measured taken",
    "rate_rated_rows": "rows of usage.rated produced",
    "rate_unsubscribed_rows": "usage rows of a rating key without a plan at their minute",
    "rate_unattributed_rows": "usage rows that matched no subscriber: to the warehouse only",
    "rate_expired_rows": "usage rows of a period too long closed to be charged",
    "rate_late_rows": "usage rows received after their period's end and the lateness bound",
    "rate_refused_rows": "usage rows of a key whose sum in one step cannot be true",
    "rate_refused_movements": "movements of a counter or cell beyond what can be stored or paid",
    "rate_usage_after_posting": "usage groups that came after a posting they belonged to",
    "rate_reclassified_cells": "cells whose split over traffic classes changed",
    "rate_cells_released": "cells rated unclassified because no flows came in time",
    "rate_cells_dropped": "cells forgotten after their retention",
    "rate_events_applied": "account events applied",
    "rate_events_duplicate": "account events whose event_id was known",
    "rate_events_refused": "account events refused, with the reason in account_event_result",
    "rate_periods_opened": "periods opened",
    "rate_periods_closed": "periods closed",
    "rate_days_posted": "rows of usage_day written",
    "rate_late_revisions": "rows of usage_charge of revision 1 or more",
    "rate_alerts": "thresholds crossed",
    "rate_service_decisions": "changes of a desired service",
    "rate_timers_fired": "rating keys whose timers fell due",
    "rate_timers_deferred": "steps that left due timers to the next by the limit",
    "rate_money_expired": "Lots of prepaid money that ended with something left",
}
