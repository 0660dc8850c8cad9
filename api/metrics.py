"""Every counter of the web process, with its meaning."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "api_requests_total": "HTTP requests answered, whatever the status",
    "api_problems_total": "Requests answered with problem+json (4xx and 5xx)",
    "api_failures_total": "Requests that ended in an error of ours (500)",
    "api_unauthenticated_total": "Requests refused for a missing, unknown or revoked key",
    "api_idempotent_replays_total": "POSTs answered from a stored Idempotency-Key",
    "api_account_events_total": "Account events appended to account.events",
    "api_account_events_unanswered_total": "Account events that rate had not answered in time",
    "api_directory_entries_total": "Directory entries appended to the directory topic",
    "api_commands_requested_total": "Throttle, restore and disconnect requests accepted",
    "api_keys_issued_total": "API keys issued",
    "api_keys_revoked_total": "API keys revoked",
    "api_payments_recorded_total": "Payments recorded and posted to the ledger",
    "api_vouchers_made_total": "Vouchers made",
    "api_vouchers_redeemed_total": "Vouchers redeemed; those that rating refuses count too",
    "api_voucher_failures_total": "Voucher codes looked up that were none",
    "api_voucher_attempts_refused_total": "Voucher codes not looked up, for too many were wrong",
    "api_warehouse_failures_total": "Warehouse queries that failed; the answer was 503",
    "api_database_failures_total": "Requests that found the database away or busy; 503",
    "api_bodies_refused_total": "Request bodies above request_octets_max",
    "pages_logins_total": "Logins to the pages that succeeded",
    "pages_logins_refused_total": "Logins to the pages that were refused",
    "pages_csrf_refused_total": "Forms refused for a missing or wrong CSRF token",
}
