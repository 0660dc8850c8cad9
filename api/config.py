"""Settings of the web process: one frozen record, units in the names."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ApiConfig:
    """What an operator may set about the API and its pages."""

    listen_address: str = "127.0.0.1"
    """Address that the web process binds; put a TLS proxy in front before opening it wider."""

    listen_port: int = 8080
    """TCP port of the API and the pages; 0 takes a free one."""

    operator_key: str = dataclasses.field(default="", repr=False)
    """The API key that reaches every branch. Empty: the one that the secrets file has, made by
    itself; the API processes of a cluster must all be told the same."""

    page_session_key: str = dataclasses.field(default="", repr=False)
    """Key that signs the logins of the pages. Empty: likewise; a cluster's must be the same."""

    account_event_wait_seconds: float = 3.0
    """How long a request waits for rate's answer to its account event before it replies 202."""

    account_event_poll_seconds: float = 0.05
    """Pause between two looks at account_event_result while waiting."""

    page_size_default: int = 50
    """Rows of a list where the request names no limit."""

    page_size_max: int = 500
    """Most rows that one list request may ask for."""

    hold_fee_percent: int = 0
    """What part of its fees an account that rests (vacation hold) is asked for."""

    hold_days_min: int = 7
    """The fewest days of one hold."""

    hold_days_per_year_max: int = 90
    """The most days of a calendar year in which an account may rest."""

    series_points_max: int = 3000
    """Most points in one usage series; a wider range needs a coarser step."""

    request_octets_max: int = 262_144
    """Largest request body that is read; above it the answer is 413."""

    idempotency_retention_seconds: int = 172_800
    """How long a POST's answer is kept under its Idempotency-Key (48 hours)."""

    session_lifetime_seconds: int = 43_200
    """How long a login to the pages lasts (12 hours)."""

    session_cookie_secure: bool = False
    """Send the page's cookie over HTTPS only; set it where a TLS proxy stands in front."""

    login_link_enabled: bool = False
    """Accept signed one-click login links from a loopback client. For the demo: behind a proxy
    every client looks like loopback, so leave it off there."""

    login_link_lifetime_seconds: int = 3_600
    """How long a one-click login link works."""

    vouchers_per_batch_max: int = 10_000
    """Most vouchers that one request makes."""

    voucher_attempts_max: int = 10
    """Wrong voucher codes that are looked up for one rating key in one window."""

    voucher_attempt_window_seconds: int = 3_600
    """Length of that window."""

    live_sample_seconds: float = 2.0
    """Distance of the points in the live chart, and how often the pages refresh."""

    live_samples_max: int = 300
    """Points that the live chart keeps in memory (ten minutes at two seconds)."""

    process_stale_seconds: int = 30
    """A watermark that stands still this long is shown as stalled."""
