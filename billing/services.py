"""Services that are no metered access: television, telephone, a static address, rented equipment.

A `Product` is what is sold, in versions that never change; a `Service` is one customer's instance
of it. What a service owes for a period of its calendar is a pure function of the service, its holds
and that period, so an invoice asks for what is owed less what was billed: who ends a service that
was billed in advance gets the rest back, and a second look asks for nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal, get_args

from billing.charges import Charge
from billing.proration import MODES, local_day, portion, whole_days
from rating.money import check_currency, parse_amount, to_minor
from rating.periods import Calendar, Cycle, Period, next_period, period_of_day

Charging = Literal["one_off", "advance", "arrears"]
"""When a product is asked for: once, before each of its periods, or behind each."""

CYCLES = ("", *get_args(Cycle))
"""A product's cycle; empty means its account's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """One unchanging version of what is sold for a fixed price.

    kind is the trade's word (tv, phone, static_ip, installation, equipment, value_added); price is
    exact decimal text in major units for one piece, per period where it recurs; proration is one of
    `billing.proration.MODES`; tax is as in `billing.charges.Charge`. ValueError names the field.
    """

    product_id: str
    version: int
    branch_id: str
    name: str
    kind: str
    currency: str
    price: str
    charging: str
    cycle: str
    proration: str
    tax_percent: str
    tax_inclusive: bool
    valid_from_at: int
    tax_code: str = ""

    def __post_init__(self) -> None:
        check_currency(self.currency)
        for field in ("price", "tax_percent"):
            text = getattr(self, field)
            try:
                amount = parse_amount(text)
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from None
            if amount < 0 or (field == "tax_percent" and amount > 100):
                raise ValueError(f"{field}: expected 0 or more (a tax: to 100), got {text!r}")
        for field, allowed in (
            ("charging", get_args(Charging)),
            ("cycle", CYCLES),
            ("proration", MODES),
        ):
            if getattr(self, field) not in allowed:
                expected = ", ".join(repr(name) for name in allowed)
                raise ValueError(f"{field}: expected {expected}, got {getattr(self, field)!r}")
        if self.charging == "one_off" and self.cycle:
            raise ValueError(f"cycle: expected none for a single sale, got {self.cycle!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """A customer's quantity of a product in [starts_at, ends_at), ms; None while it runs.

    subscriber_id is whom it serves, empty for the account as a whole. What a product of a single
    sale brings ends when it starts: it is asked for once.
    """

    service_id: str
    branch_id: str
    account_id: str
    subscriber_id: str
    product_id: str
    product_version: int
    quantity: int
    starts_at: int
    ends_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """A time in [starts_at, ends_at) ms in which only fee_percent of fees is owed (vacation).

    target_id is the service or subscription that rests; empty: all that the account has.
    """

    hold_id: str
    branch_id: str
    account_id: str
    target_id: str
    reason: str
    fee_percent: str
    starts_at: int
    ends_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Billed:
    """What charges have asked for one period of a service so far, and how many they were."""

    amount_minor: int
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Horizon:
    """Which part of a service's life an invoice looks at (ms).

    The invoice's period ends at until_at, the one after at next_until_at: what is charged in
    arrears is due where it ends by the former, in advance where it begins before the latter.
    Periods that ended by since_at are not looked at again.
    """

    since_at: int
    until_at: int
    next_until_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceInput:
    """A service with all that its price depends on; subject is whom it serves, as printed.

    billed is by the start of the service's period (ms).
    """

    service: Service
    product: Product
    calendar: Calendar
    subject: str
    holds: Sequence[Hold]
    billed: Mapping[int, Billed]


def service_calendar(product: Product, service: Service, account: Calendar) -> Calendar:
    """Return the calendar of a service: its account's, unless its product has a cycle of its own.

    Months, quarters and years begin on the account's anchor day; quarters and years in the month
    in which the service began. Weeks begin on Monday.
    """
    if product.cycle in ("", account.cycle):
        return account
    cycle: Cycle = next(name for name in get_args(Cycle) if name == product.cycle)
    monthly = Calendar(account.timezone, "monthly", account.anchor_day)
    if account.cycle in ("weekly", "daily"):
        monthly = Calendar(account.timezone)
    if cycle in ("weekly", "daily"):
        return Calendar(account.timezone, cycle)
    first = period_of_day(monthly, local_day(service.starts_at, account.timezone))
    return dataclasses.replace(monthly, cycle=cycle, anchor_month=first.start_on.month)


def held_portion(
    active: tuple[int, int | None],
    holds: Sequence[Hold],
    target_id: str,
    period: tuple[int, int],
    zone_and_mode: tuple[str, str],
) -> Fraction:
    """Return the part of a period's fee that is owed: for when active, less what holds release.

    Where holds overlap, the one that began first counts (then by id). A fee that is not prorated
    rests only for a hold that covers the period as a whole.
    """
    zone, mode = zone_and_mode
    whole = portion(active, period, zone, mode)
    found = [hold for hold in holds if hold.target_id in ("", target_id)]
    if not found or not whole:
        return whole
    owed, reached_at = whole, max(active[0], period[0])
    end_at = period[1] if active[1] is None else min(active[1], period[1])
    for hold in sorted(found, key=lambda hold: (hold.starts_at, hold.hold_id)):
        start_at = max(hold.starts_at, reached_at)
        stop_at = end_at if hold.ends_at is None else min(hold.ends_at, end_at)
        if start_at >= stop_at:
            continue
        if mode == "none":
            is_whole = (start_at, stop_at) == (max(active[0], period[0]), end_at)
            part = Fraction(1) if is_whole else Fraction(0)
        else:
            part = portion((start_at, stop_at), period, zone, mode)
        owed -= part * (1 - Fraction(hold.fee_percent) / 100)
        reached_at = stop_at
    return owed


def due_charges(item: ServiceInput, horizon: Horizon) -> list[Charge]:
    """Return what a service is to be asked for, or given back, on an invoice, by its periods.

    Charges of nothing are left out; ids are service, period and how many charges came before.
    """
    charges: list[Charge] = []
    for period in _periods(item, horizon):
        part = held_portion(
            (item.service.starts_at, item.service.ends_at),
            item.holds,
            item.service.service_id,
            (period.start_at, period.end_at),
            (item.calendar.timezone, item.product.proration),
        )
        price = parse_amount(item.product.price) * item.service.quantity
        owed = to_minor(price * part, item.product.currency)
        billed = item.billed.get(period.start_at, Billed(0, 0))
        if owed != billed.amount_minor:
            charges.append(_charge(item, period, part, owed, billed))
    return charges


def sale_charge(item: ServiceInput) -> Charge:
    """Return the charge of a product that is sold once, due when the service begins."""
    amount = to_minor(
        parse_amount(item.product.price) * item.service.quantity, item.product.currency
    )
    return dataclasses.replace(
        _charge_of(item, f"{item.service.service_id}/sale", item.product.name),
        amount_minor=amount,
        due_at=item.service.starts_at,
    )


def _periods(item: ServiceInput, horizon: Horizon) -> Iterator[Period]:
    """Yield the periods of a service that an invoice asks for or looks at again."""
    service, zone = item.service, item.calendar.timezone
    is_advance = item.product.charging == "advance"
    first_at = max(service.starts_at, horizon.since_at)
    period = period_of_day(item.calendar, local_day(first_at, zone))
    while True:
        if period.start_at in item.billed or _is_due(service, period, horizon, is_advance):
            yield period
        elif period.start_at >= horizon.next_until_at:
            return
        period = next_period(item.calendar, period)


def _is_due(service: Service, period: Period, horizon: Horizon, is_advance: bool) -> bool:
    """Return whether a period of a service is due by the end of the invoice's."""
    if service.ends_at is not None and service.ends_at <= max(period.start_at, service.starts_at):
        return False
    if is_advance:
        return max(period.start_at, service.starts_at) < horizon.next_until_at
    ends_at = period.end_at
    if service.ends_at is not None:
        ends_at = min(ends_at, service.ends_at)
    return ends_at <= horizon.until_at


def _charge(
    item: ServiceInput, period: Period, part: Fraction, owed: int, billed: Billed
) -> Charge:
    """Return the charge of one period: the first, or the difference to what was billed."""
    last_on = period.end_on - datetime.timedelta(days=1)
    words = f"{item.product.name} {period.start_on} to {last_on}"
    days = part * whole_days(period.start_at, period.end_at, item.calendar.timezone)
    if part != 1 and days.denominator == 1:
        words += f" ({days} of {period.days} days)"
    if billed.count:
        words = f"Correction: {words}"
    charge_id = f"{item.service.service_id}/{period.start_on}/{billed.count + 1}"
    return dataclasses.replace(
        _charge_of(item, charge_id, words),
        amount_minor=owed - billed.amount_minor,
        due_at=period.start_at if item.product.charging == "advance" else period.end_at,
        covers_from_at=period.start_at,
        covers_until_at=period.end_at,
    )


def _charge_of(item: ServiceInput, charge_id: str, description: str) -> Charge:
    """Return a charge for a service, still without amount and time."""
    service, product = item.service, item.product
    return Charge(
        charge_id=charge_id,
        branch_id=service.branch_id,
        account_id=service.account_id,
        kind=product.kind,
        description=description,
        amount_minor=0,
        currency=product.currency,
        due_at=0,
        quantity=service.quantity,
        subject=item.subject,
        product_id=product.product_id,
        service_id=service.service_id,
        tax_percent=product.tax_percent,
        tax_inclusive=product.tax_inclusive,
        tax_code=product.tax_code,
    )
