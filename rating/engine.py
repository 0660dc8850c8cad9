"""The meter: moving a counter along its price curve, and posting it day by day.

Everything here is a function of one `MeterState` and its `Pricing`. Quantities only ever add up,
charges are differences of F, and a posting takes what was received in time for it: the result of
a period does not depend on the order in which usage came, nor on how it was cut into batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from msgspec import structs

from rating.curves import MODELS, Curve, allowance_of, price, scaled
from rating.money import ZERO, decode_exact, encode_exact, to_minor
from rating.plans import Meter, whole_weights
from rating.plausible import INT64_MAX
from rating.rate_state import MeterState
from rating.shares import WHOLE, Share

AMOUNT_MAX = 10**15
"""Most major units of one counter: in minor units of three decimals an int64 still holds it."""
_SURELY_FITS = 1 << 50
"""Below this a sum of thousands fits, and nothing needs a closer look."""


class Pricing(NamedTuple):
    """A meter with the curve of its segment and the share of the period that scaled it.

    allowance is the quantity that alerts are percentages of, in this segment. weights count what
    an octet of a traffic class is, default_weight that of others, and band_weights likewise what
    time bands make of it; a product of both is in units of 1 / denominator.
    price_of is F of a quantity of zero or more.
    """

    meter: Meter
    curve: Curve
    share: Share
    denominator: int
    allowance: int | None
    weights: Mapping[str, int]
    default_weight: int
    band_weights: Mapping[str, int]
    default_band_weight: int
    price_of: Callable[[int], Fraction]


class Movement(NamedTuple):
    """Usage of one local day (and session) that is posted at one instant.

    amount is in units of 1 / denominator; received_at is the newest of its causes.
    """

    day_on: str
    session_id: str
    post_at: int
    amount: int
    received_at: int


class DayPosting(NamedTuple):
    """A day's newest total and what to post for it, in minor units."""

    day_on: str
    revision: int
    quantity: int
    amount_minor: int


class Closing(NamedTuple):
    """The cumulative truth of a meter at one posting."""

    quantity: int
    amount: Fraction
    amount_minor: int


def pricing_of(meter: Meter, share: Share) -> Pricing:
    """Return a meter's pricing in a segment. Only a curve over the period is prorated."""
    if meter.scope != "period":
        share = WHOLE
    curve = scaled(meter.curve, share)
    of_classes = whole_weights(meter.class_weights, meter.default_weight)
    of_bands = whole_weights(meter.band_weights, meter.default_band_weight)
    return Pricing(
        meter,
        curve,
        share,
        of_classes.denominator * of_bands.denominator,
        allowance_of(curve),
        of_classes.by_name,
        of_classes.default,
        of_bands.by_name,
        of_bands.default,
        functools.partial(MODELS[type(curve)].price, curve),
    )


def amount_counted(
    pricing: Pricing, kind: tuple[str, str], octets_up: int, octets_down: int, seconds: int
) -> int:
    """Return what usage of a (traffic class, time band) adds to a counter.

    In units of 1 / denominator; of a session, something above zero where it moved or lasted.
    """
    unit = pricing.meter.unit
    if unit == "sessions":
        return octets_up + octets_down + seconds
    traffic_class, band = kind
    weight = pricing.weights.get(traffic_class, pricing.default_weight)
    weight *= pricing.band_weights.get(band, pricing.default_band_weight)
    if unit == "seconds":
        return weight * seconds
    if unit == "octets":
        return weight * (octets_up + octets_down)
    return weight * (octets_up if unit == "octets_up" else octets_down)


def quantity_of(state: MeterState, pricing: Pricing) -> int:
    """Return the running total in whole units, never below zero."""
    return _whole(state.total, pricing)


def scope_quantity(state: MeterState, pricing: Pricing, scope: str) -> int:
    """Return the total of one day or session in whole units; of the period where that is it."""
    if pricing.meter.scope == "period":
        return quantity_of(state, pricing)
    return _whole(state.scopes.get(scope, 0), pricing)


def open_meter(state: MeterState, pricing: Pricing, day_on: str, post_at: int) -> Fraction:
    """Post F(0) of a segment's opening, with its first day's posting; return the counter's price.

    Days and sessions open with their first usage: one without usage costs nothing.
    """
    if pricing.meter.scope == "period":
        state.amount = encode_exact(price(pricing.curve, 0))
        if state.amount != "0/1":
            wait_at_opening(state, day_on, post_at)
    return decode_exact(state.amount)


def fits(state: MeterState, pricing: Pricing, movement: Movement) -> bool:
    """Return whether a movement leaves all that the counter holds, and will post, within int64."""
    if counts_sessions(pricing):  # The total is of sessions; what can grow is what one moved.
        held = state.scopes.get(movement.session_id, 0)
        return abs(held) + abs(movement.amount) <= INT64_MAX
    amount = abs(movement.amount)
    if not state.settled and amount + abs(state.total) <= _SURELY_FITS:
        return True
    bucket = _bucket(pricing, movement)
    settled = abs(state.settled.get(bucket, 0))
    if amount + abs(state.total) + settled > _SURELY_FITS:
        pending = sum(abs(held) for name, held in state.pending.items() if name[16:] == bucket)
        if max(abs(state.total + movement.amount), settled + pending + amount) > INT64_MAX:
            return False
        scope = state.scopes.get(_scope_name(pricing, movement), 0)
        return abs(scope + movement.amount) <= INT64_MAX
    return True


def is_payable(amount: Fraction) -> bool:
    """Return whether a counter's price is an amount that the books can hold."""
    return abs(amount.numerator) <= AMOUNT_MAX * amount.denominator


def counts_sessions(pricing: Pricing) -> bool:
    """Return whether a counter counts sessions: those of which more than nothing is left."""
    return pricing.meter.unit == "sessions"


def is_by_session(pricing: Pricing) -> bool:
    """Return whether a counter tells sessions apart: to price each by itself, or to count them."""
    return pricing.meter.scope == "session" or counts_sessions(pricing)


def _bucket(pricing: Pricing, movement: Movement) -> str:
    if is_by_session(pricing):
        return f"{movement.day_on}|{movement.session_id}"
    return movement.day_on


def _scope_name(pricing: Pricing, movement: Movement) -> str:
    return movement.day_on if pricing.meter.scope == "day" else movement.session_id


def move(state: MeterState, pricing: Pricing, movement: Movement, amount: Fraction) -> Fraction:
    """Add a movement to the counter and to what waits for its posting.

    amount is the counter's price before it; the one after it is returned.
    """
    moved, received_at = movement.amount, movement.received_at
    waiting = _waiting(movement.post_at, _bucket(pricing, movement))
    pending = state.pending
    pending[waiting] = pending.get(waiting, 0) + moved
    if received_at > state.updated_at:
        state.updated_at = received_at
    if counts_sessions(pricing):
        moved = _sessions_moved(state.scopes, movement.session_id, moved)
    state.total += moved
    if pricing.meter.scope == "period":
        return reprice(state, pricing, amount)
    name = _scope_name(pricing, movement)
    before = state.scopes.get(name, 0)
    after = state.scopes[name] = before + moved
    amount += price_of_amount(pricing, after) - price_of_amount(pricing, before)
    state.amount = encode_exact(amount)
    return amount


@functools.lru_cache(maxsize=4_096)
def _waiting(post_at: int, bucket: str) -> str:
    """Return the key of `MeterState.pending`: many counters wait for one posting of a day."""
    return f"{post_at:015d}|{bucket}"


def reprice(state: MeterState, pricing: Pricing, amount: Fraction) -> Fraction:
    """Price the total anew, also by a new curve of the same segment (another share of the period).

    amount is the counter's price before that, which stands unless the curve runs over the period.
    """
    if pricing.meter.scope == "period":
        before, amount = amount, pricing.price_of(quantity_of(state, pricing))
        if amount is not before:
            state.amount = encode_exact(amount)
    return amount


def settle(state: MeterState, at: int) -> set[str]:
    """Settle what was received in time for a posting; return the days that it belongs to."""
    due = [key for key in state.pending if int(key[:15]) <= at]
    if due:
        state.settled = dict(state.settled)
    for key in due:
        bucket = key[16:]
        state.settled[bucket] = state.settled.get(bucket, 0) + state.pending.pop(key)
    return {key[16:26] for key in due}


def amounts_through(state: MeterState, pricing: Pricing, days: Sequence[str]) -> list[Fraction]:
    """Return the exact price of what is settled through each of some ascending days."""
    through, amounts = _Through(pricing), []
    buckets = iter(sorted(state.settled))
    bucket = next(buckets, None)
    for day in days:
        while bucket is not None and bucket[:10] <= day:
            through.add(bucket, state.settled[bucket])
            bucket = next(buckets, None)
        amounts.append(through.amount())
    return amounts


def wait_at_opening(state: MeterState, day_on: str, post_at: int) -> None:
    """Have a counter's first day posted, whatever is used."""
    state.pending.setdefault(_waiting(post_at, day_on), 0)


def post(state: MeterState, pricing: Pricing, at: int, currency: str) -> list[DayPosting]:
    """Settle what was received in time for a posting; return the days that changed by it.

    A day's amount is round(F through it) - round(F through the day before), so that the days of a
    period sum to its line to the minor unit. Late usage of a day moves the days after it too. A
    day without quantity and without amount has no posting.
    """
    changed = settle(state, at)
    share = f"{pricing.share.start}-{pricing.share.end}"
    if state.posted and share != state.posted_share:
        changed.add(min(state.posted))
    state.posted_share = share
    if not changed:
        return []
    return _post_days(state, pricing, min(changed), currency)


def closing_of(state: MeterState, pricing: Pricing, currency: str) -> Closing:
    """Return the settled total and its exact and rounded price."""
    through = _Through(pricing)
    for bucket in sorted(state.settled):
        through.add(bucket, state.settled[bucket])
    amount = through.amount()
    if pricing.meter.scope == "period" and not state.settled:
        amount = price(pricing.curve, 0)
    return Closing(through.quantity(), amount, to_minor(amount, currency))


def copy_meter(state: MeterState) -> MeterState:
    """Return a copy that `move` may change; what only postings change, `post` replaces."""
    return structs.replace(state, scopes=dict(state.scopes), pending=dict(state.pending))


def _post_days(
    state: MeterState, pricing: Pricing, first_changed: str, currency: str
) -> list[DayPosting]:
    """Return the postings of every day from the first changed one on."""
    through = _Through(pricing)
    minor_before = quantity_before = 0
    postings = []
    state.posted = dict(state.posted)
    buckets = sorted(state.settled)
    for index, bucket in enumerate(buckets):
        through.add(bucket, state.settled[bucket])
        day = bucket[:10]
        is_last_of_day = index + 1 == len(buckets) or buckets[index + 1][:10] != day
        if not is_last_of_day:
            continue
        revision, posted_minor, posted_quantity = state.posted.get(day, (-1, 0, 0))
        if day < first_changed:
            minor, quantity = posted_minor, posted_quantity
        else:
            minor = to_minor(through.amount(), currency) - minor_before
            quantity = through.quantity() - quantity_before
            if (minor, quantity) != (posted_minor, posted_quantity):
                postings.append(DayPosting(day, revision + 1, quantity, minor - posted_minor))
                state.posted[day] = (revision + 1, minor, quantity)
        minor_before += minor
        quantity_before += quantity
    return postings


class _Through:
    """A running total over buckets in day order, with its price by the curve's scope."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing
        self._total = 0
        self._scopes: dict[str, int] = {}
        self._paid = ZERO

    def add(self, bucket: str, amount: int) -> None:
        if counts_sessions(self._pricing):
            amount = _sessions_moved(self._scopes, bucket[11:], amount)
        self._total += amount
        scope = self._pricing.meter.scope
        if scope == "period":
            return
        name = bucket[:10] if scope == "day" else bucket[11:]
        before = self._scopes.get(name, 0)
        after = self._scopes[name] = before + amount
        self._paid += price_of_amount(self._pricing, after) - price_of_amount(self._pricing, before)

    def quantity(self) -> int:
        return _whole(self._total, self._pricing)

    def amount(self) -> Fraction:
        if self._pricing.meter.scope == "period":
            return price(self._pricing.curve, self.quantity())
        return self._paid


def _sessions_moved(sums: dict[str, int], session_id: str, amount: int) -> int:
    """Add to what is known of a session; return 1 where it counts from now on, -1 no longer."""
    was = sums.get(session_id, 0)
    now = sums[session_id] = was + amount
    return (now > 0) - (was > 0)


def price_of_amount(pricing: Pricing, amount: int) -> Fraction:
    """Return F of a counter's amount, in units of 1 / denominator.

    That of a day or a session is nothing where nothing was used.
    """
    quantity = _whole(amount, pricing)
    if not quantity and pricing.meter.scope != "period":
        return ZERO
    return pricing.price_of(quantity)


def _whole(amount: int, pricing: Pricing) -> int:
    return max(0, amount // pricing.denominator)
