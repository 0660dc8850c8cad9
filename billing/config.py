"""Settings of billing and of the office process that runs it."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class BillingConfig:
    """Invoices and the ledger."""

    payment_terms_days: int = 14
    """Days from the day of issue until an invoice is due."""
    interval_seconds: float = 30.0
    """How often closed periods and new usage days are looked for."""
    invoices_per_run: int = 100
    """Most invoices that one run finalizes; the next follows at once, after acting had its turn."""
    postings_per_run: int = 1_000
    """Most usage days that one transaction posts to the ledger; the next follows at once."""
    closing_overlap_days: int = 40
    """How far behind the newest closing a run looks again: a partition may lag, a clerk wait."""
    invoices_per_transaction: int = 20
    """Most accounts' invoices that one transaction finalizes: others wait for it that long."""
    service_corrections_days: int = 100
    """How far behind an invoice's period a run looks again at services that were changed after they
    were billed; what lies further back stays as it was billed."""
    posting_overlap_hours: int = 24
    """How far behind the newest usage day a run looks again for days not posted yet."""
    flow_hours_kept_days: int = 7
    """How long hours of flows and of loss stay in the business database behind the newest; the
    warehouse keeps them by `warehouse.retention`."""
    flow_hours_interval_seconds: float = 3_600.0
    """How often those that are older are looked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedProfileConfig:
    """A speed that sessions can be given."""

    name: str
    """What plans and clerks call it."""
    up_bps: int
    """Limit from the subscriber, in bit/s."""
    down_bps: int
    """Limit to the subscriber, in bit/s."""
    filter_name: str = ""
    """The NAS's filter (Filter-Id) or address list (MikroTik) that such a session is put on, as for
    a walled garden; where one profile names one, all do."""


@dataclasses.dataclass(frozen=True, slots=True)
class ActingConfig:
    """Commands to NASes: throttle, restore, disconnect."""

    round_interval_seconds: float = 10.0
    """How often every desired state is compared with all sessions it concerns, whether anything
    seems to have changed or not: a plan's other normal speed waits for it."""
    interval_seconds: float = 1.0
    """How often, in between, changes are looked for and acted on: decisions, clerks' requests,
    suspensions, pools, new sessions, commands that were answered, took effect or did not."""
    decision_interval_seconds: float = 0.1
    """How often, in between, rate's newest decisions are looked for and acted on."""
    speed_profiles: tuple[SpeedProfileConfig, ...] = (
        SpeedProfileConfig("full", 1_000_000_000, 1_000_000_000),
        SpeedProfileConfig("throttled", 1_000_000, 1_000_000),
    )
    """Speeds by name, for plans' throttle steps, plans' normal speeds and clerks."""
    restore_profile: str = "full"
    """The speed of an active session whose plan names none."""
    transmission_timeouts_milliseconds: tuple[int, ...] = (2_000, 3_000, 5_000)
    """Wait after each transmission of one request; their count is how often it is sent."""
    poll_milliseconds: int = 50
    """How long one round waits for NASes' answers."""
    coa_attempts: int = 2
    """CoA requests per decision before the session is disconnected instead."""
    disconnect_attempts: int = 2
    """Disconnect requests per decision before an operator is told."""
    verify_timeout_seconds: int = 900
    """How long an acknowledged command may show no effect; above twice the interim interval."""
    tolerance_percent: int = 15
    """How far above its profile a throttled session may measure (bursts, link overhead)."""
    commands_per_round: int = 1_000
    """Most requests handed to the network in one round."""


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationConfig:
    """How subscribers and operators are told."""

    interval_seconds: float = 2.0
    """How often the outbox is looked at."""
    log_file: str = "notifications.log"
    """File in the data directory to which every notification is appended; empty: none."""
    log_file_octets_max: int = 67_108_864
    """Size at which that file is put aside (kept once, as ``<name>.1``) and a new one begun."""
    operator_email: str = ""
    """Where failed commands are reported; empty: in the log only."""
    smtp_host: str = ""
    """Mail server; empty: no mail is sent."""
    smtp_port: int = 25
    """Port of the mail server."""
    smtp_sender: str = ""
    """Sender's address of every mail."""
    smtp_user: str = ""
    """User of the mail server; empty: no login. A login needs TLS."""
    smtp_password: str = dataclasses.field(default="", repr=False)
    """Password of the mail server."""
    webhook_url: str = ""
    """Where each notification is posted as JSON; empty: nowhere."""
    timeout_seconds: float = 10.0
    """How long one delivery may take."""
    attempts_max: int = 5
    """Deliveries tried before a notification counts as failed."""
    retry_seconds: int = 60
    """Wait before a delivery is tried again."""
    batch_size: int = 50
    """Most deliveries of one round."""


@dataclasses.dataclass(frozen=True, slots=True)
class CasConfig:
    """The gateway of the conditional-access system (docs/conditional-access.md)."""

    address: str = "127.0.0.1"
    """Numeric address of the gateway; whatever lies between must be trusted or a tunnel."""
    port: int = 9_750
    """TCP port of the gateway."""
    secret: str = dataclasses.field(default="", repr=False)
    """What both sides know; the gateway lets in who proves it."""
    connect_milliseconds: int = 5_000
    """How long a connection may take until the gateway has let us in."""
    reconnect_milliseconds: int = 2_000
    """Wait before a lost or refused connection is tried again."""
    answer_milliseconds: int = 10_000
    """How long one answer may take; after that the command is repeated under its own key."""
    window_requests: int = 200
    """Most requests that wait for an answer; the rest follows when some have come."""


@dataclasses.dataclass(frozen=True, slots=True)
class CableConfig:
    """Cable TV: what cards are entitled to, and the commands that make it so."""

    system: Literal["none", "tcp", "simulated"] = "none"
    """"tcp" speaks to the gateway of `cas`; "simulated" is a system inside the office, for
    demonstrations, that forgets everything at each start; "none": no cards, nothing is sent."""
    cas: CasConfig = dataclasses.field(default_factory=CasConfig)
    interval_seconds: float = 1.0
    """How often what has changed is looked for and acted on."""
    poll_milliseconds: int = 50
    """How long one turn waits for answers."""
    cards_per_round: int = 500
    """Most cards that one turn looks at, and most commands that it sends."""
    entitlement_days: int = 40
    """How long an entitlement is good for: a card that cannot be reached shows nothing then."""
    renewal_days: int = 10
    """How often a running entitlement is prolonged; well below entitlement_days."""
    reconcile_hours: int = 24
    """How often the system is asked what a card has, whether anything has changed or not."""
    retry_seconds: int = 5
    """Wait before a command without an answer is repeated; it doubles with each attempt."""
    retry_longest_seconds: int = 60
    """Longest such wait."""
    refused_retry_minutes: int = 360
    """Wait before what the system refused for good is tried again."""
    verify_rounds: int = 3
    """How often a step may be acknowledged and then not be there, before an operator is told."""


@dataclasses.dataclass(frozen=True, slots=True)
class DunningConfig:
    """What is done about unpaid invoices; the steps themselves are schedules, kept as data."""

    look_interval_seconds: int = 900
    """How often every account that owes something is looked at. Payments act at once."""
    accounts_per_run: int = 500
    """Most accounts of one run; the next follows at once, after acting had its turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class BankCsvConfig:
    """How one bank writes its statements as CSV; `flowrate payments import --format NAME`."""

    name: str
    """What the format is called."""
    bank_account: str
    """The account that these statements are of, as its IBAN or number."""
    currency: str
    """Currency of amounts where no column says it."""
    encoding: str = "utf-8-sig"
    """How text is encoded, such as `cp1252`; `utf-8-sig` is UTF-8 with or without its mark."""
    delimiter: str = ","
    """What stands between columns."""
    skip_lines: int = 0
    """Lines above that with the columns' heads."""
    date_format: str = "%Y-%m-%d"
    """How days are written, `%d.%m.%Y`."""
    decimal_comma: bool = False
    """Amounts are written 1.150,50 and not 1,150.50."""
    date_column: str = "Date"
    """Head of the column of the booking day."""
    amount_column: str = "Amount"
    """Head of the amounts' column, minus for what left; empty: there are two, the next ones."""
    credit_column: str = ""
    """Head of the column of what came, where it is apart."""
    debit_column: str = ""
    """Head of the column of what left, where it is apart."""
    currency_column: str = ""
    """Head of the currencies' column; empty: there is none."""
    reference_column: str = "Reference"
    """Head of the column of the bank's own references; empty: it gives none."""
    remittance_column: str = "Description"
    """Head of the column of what the payer wrote."""
    payer_column: str = ""
    """Head of the column of payers' names; empty: there is none."""
    payer_account_column: str = ""
    """Head of the column of payers' bank accounts; empty: there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class PaymentsConfig:
    """Money that comes by bank transfer."""

    bank_csv: tuple[BankCsvConfig, ...] = ()
    """Formats of CSV statements; camt.053 needs none."""
    statement_octets_max: int = 16_777_216
    """Largest statement that is read."""


@dataclasses.dataclass(frozen=True, slots=True)
class OfficeConfig:
    """The office process: billing, dunning, acting, notifications, cable TV."""

    """The office process: billing, acting, notifications, cable TV, payments."""

    billing: BillingConfig = dataclasses.field(default_factory=BillingConfig)
    dunning: DunningConfig = dataclasses.field(default_factory=DunningConfig)
    acting: ActingConfig = dataclasses.field(default_factory=ActingConfig)
    notifications: NotificationConfig = dataclasses.field(default_factory=NotificationConfig)
    cable: CableConfig = dataclasses.field(default_factory=CableConfig)
    payments: PaymentsConfig = dataclasses.field(default_factory=PaymentsConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """How a process of a cluster uses PostgreSQL."""

    pool_connections: int = 10
    """Most connections of one process; a thread that finds none free waits lock_timeout_seconds."""
    connect_timeout_seconds: int = 10
    """How long a connection may take to open."""
    statement_timeout_seconds: int = 120
    """How long one statement may run before the server ends it."""
    lock_timeout_seconds: int = 15
    """How long a statement waits for a row or a turn that another transaction holds."""
    idle_transaction_timeout_seconds: int = 60
    """How long a transaction may do nothing before the server ends its connection: a process that
    stands still must not keep the others waiting."""
    silence_seconds: int = 10
    """After how long without a sign of the other side both begin to ask whether it still lives."""
    role_silence_seconds: int = 60
    """How long the process that works as `act` or `schedule` may say nothing to the server before
    another takes its place; above the longest delivery of a notification."""
