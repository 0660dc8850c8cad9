"""The office's loops: ledger postings and billing; acting and notifications; both in one.

Each part has its own interval. Everything they know is in the database; they may be killed
anywhere and started again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Engine

from billing.adapters import notifications
from billing.adapters.acting import Acting
from billing.adapters.billing_run import move_cursor, post_usage, read_cursor, run_billing
from billing.adapters.cable_office import CableLoop
from billing.adapters.channels import Channel, NotDeliveredError, UnknownDeliveryError
from billing.adapters.coa import CoaTransport
from billing.adapters.databases import reading, writing
from billing.adapters.dunning import DunningLoop
from billing.adapters.expiries import post_expiries
from billing.adapters.flow_trimming import trim_flow_hours
from billing.adapters.situations import FindTarget
from billing.adapters.topups import reverse_refused_topups
from billing.config import BillingConfig, OfficeConfig

_ALERT_OVERLAP_MS = 172_800_000


class _Intervals:
    """When each part of a loop is due again."""

    def __init__(self) -> None:
        self._due_at: dict[str, int] = {}

    def is_due(self, part: str, interval_seconds: float, now_ms: int) -> bool:
        """Return whether a part's interval has passed, and begin the next one."""
        if now_ms < self._due_at.get(part, now_ms):
            return False
        self.begin(part, interval_seconds, now_ms)
        return True

    def begin(self, part: str, interval_seconds: float, now_ms: int) -> None:
        """Begin a part's interval, due or not."""
        self._due_at[part] = now_ms + int(interval_seconds * 1000)

    def hurry(self, part: str, now_ms: int) -> None:
        """Make a part due at once."""
        self._due_at[part] = now_ms


class BillingLoop:
    """Posts usage, takes back refused top-ups, makes invoices, duns; lets old hours of flows go.

    It alone writes invoices.
    """

    def __init__(
        self, engine: Engine, config: BillingConfig, dunning: DunningLoop | None = None
    ) -> None:
        """Remember the parts; nothing is read yet. Without dunning nobody is reminded."""
        self._engine = engine
        self._config = config
        self._dunning = dunning
        self._intervals = _Intervals()

    def run_once(self, now_ms: int) -> Counter[str]:
        """Do what is due at now_ms; return counts by metric name (billing.metrics)."""
        counts: Counter[str] = Counter()
        config = self._config
        if self._intervals.is_due("flow hours", config.flow_hours_interval_seconds, now_ms):
            deleted = trim_flow_hours(self._engine, config.flow_hours_kept_days)
            counts["flow_hours_deleted"] += deleted
        if not self._intervals.is_due("billing", config.interval_seconds, now_ms):
            return counts
        if self._dunning is not None:
            counts += self._dunning.run_once(now_ms)
        counts["usage_days_posted"] += post_usage(self._engine, config, now_ms)
        counts["topups_reversed"] += reverse_refused_topups(
            self._engine, config.postings_per_run, now_ms
        )
        counts["bucket_expiries_posted"] += post_expiries(
            self._engine, config.postings_per_run, now_ms
        )
        counts += run_billing(self._engine, config, now_ms)
        if (
            counts["usage_days_posted"] >= config.postings_per_run
            or counts["invoices_finalized"] + counts["notes_finalized"] >= config.invoices_per_run
            or (self._dunning is not None and self._dunning.has_more())
        ):
            self._intervals.hurry("billing", now_ms)  # there is more; others have a turn first
        return counts


class ActingLoop:
    """Commands sessions and tells people. It alone writes commands and notifications.

    channels[0] takes every notification (`channels_of` puts the log there).
    """

    def __init__(
        self,
        engine: Engine,
        config: OfficeConfig,
        transport: CoaTransport,
        find_target: FindTarget,
        channels: Sequence[Channel],
    ) -> None:
        """Remember the parts; nothing is read or sent yet."""
        self._engine = engine
        self._config = config
        self._channels = {channel.name: channel for channel in channels}
        self._acting = Acting(engine, config, transport, find_target, list(self._channels))
        self._intervals = _Intervals()
        self._is_started = False

    def run_once(self, now_ms: int) -> Counter[str]:
        """Do what is due at now_ms; return counts by metric name (billing.metrics).

        The first call recovers what a former process left in flight. Waits for the network at
        most poll_milliseconds plus the deliveries' timeouts.
        """
        counts: Counter[str] = Counter()
        if not self._is_started:
            counts["commands_lost"] += self._acting.recover(now_ms)
            self._recover_notifications(now_ms)
            self._is_started = True
        config = self._config
        if self._intervals.is_due("round", config.acting.round_interval_seconds, now_ms):
            self._intervals.begin("changes", config.acting.interval_seconds, now_ms)
            counts += self._acting.run_round(now_ms)
        elif self._intervals.is_due("changes", config.acting.interval_seconds, now_ms):
            counts += self._acting.run_changes(now_ms)
        elif self._intervals.is_due("decisions", config.acting.decision_interval_seconds, now_ms):
            counts += self._acting.run_decisions(now_ms)
        if self._intervals.is_due("notifying", config.notifications.interval_seconds, now_ms):
            counts += self._notify(now_ms)
        return counts

    def _recover_notifications(self, now_ms: int) -> None:
        """Settle attempts that a former process did not finish."""
        idempotent = [c.name for c in self._channels.values() if c.is_idempotent]
        with writing(self._engine) as connection:
            notifications.recover(connection, idempotent, now_ms)

    def _notify(self, now_ms: int) -> Counter[str]:
        """Take new alerts into the outbox and deliver what is due."""
        config = self._config.notifications
        counts = Counter(notifications_enqueued=self._enqueue_alerts(now_ms))
        with reading(self._engine) as connection:
            if not notifications.count_pending(connection):
                return counts
        with writing(self._engine) as connection:
            due = notifications.take_due(
                connection,
                now_ms=now_ms,
                retry_ms=config.retry_seconds * 1000,
                limit=config.batch_size,
            )
        for delivery in due:
            outcome, reason = self._deliver(delivery)
            with writing(self._engine) as connection:
                notifications.settle(
                    connection, delivery, outcome=outcome, reason=reason, now_ms=now_ms
                )
            if outcome == notifications.DELIVERED:
                counts["notifications_delivered"] += 1
            elif outcome != notifications.PENDING:
                counts["notifications_failed"] += 1
        return counts

    def _enqueue_alerts(self, now_ms: int) -> int:
        """Add alerts that the outbox lacks; return how many rows."""
        names = list(self._channels)
        limit = self._config.notifications.batch_size
        with reading(self._engine) as connection:
            since_at = read_cursor(connection, "alert") - _ALERT_OVERLAP_MS
            notices = notifications.new_alerts(connection, since_at, names, limit)
            newest_at = notifications.newest_alert_at(connection)
        if not notices and (newest_at is None or newest_at <= since_at + _ALERT_OVERLAP_MS):
            return 0
        with writing(self._engine) as connection:
            enqueued = notifications.enqueue(connection, notices, names, now_ms)
            if len(notices) < limit and newest_at is not None:
                move_cursor(connection, "alert", newest_at)
        return enqueued

    def _deliver(self, delivery: notifications.Delivery) -> tuple[str, str]:
        """Return (outcome, reason) of one attempt; PENDING asks for another."""
        channel = self._channels.get(delivery.channel)
        if channel is None:
            return notifications.FAILED, f"the settings no longer have channel {delivery.channel}"
        is_last = delivery.attempts >= self._config.notifications.attempts_max
        try:
            channel.deliver(delivery)
        except NotDeliveredError as error:
            return notifications.FAILED if is_last else notifications.PENDING, str(error)
        except UnknownDeliveryError as error:
            if channel.is_idempotent and not is_last:
                return notifications.PENDING, str(error)
            return notifications.UNKNOWN, str(error)
        return notifications.DELIVERED, ""


class OfficeLoop:
    """The loops in one process, billing first: the office of an embedded installation."""

    def __init__(
        self, billing: BillingLoop, acting: ActingLoop, cable: CableLoop | None = None
    ) -> None:
        """Remember the parts; cable is None where no conditional-access system is set."""
        self._billing = billing
        self._acting = acting
        self._cable = cable

    def run_once(self, now_ms: int) -> Counter[str]:
        """See `BillingLoop.run_once`, `ActingLoop.run_once` and `CableLoop.run_once`."""
        counts = self._billing.run_once(now_ms)
        counts += self._acting.run_once(now_ms)
        if self._cable is not None:
            counts += self._cable.run_once(now_ms)
        return counts
