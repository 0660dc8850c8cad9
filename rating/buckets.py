"""Buckets: money or quota with a priority and a validity, and who is drawn on first.

A bucket is a lot of money inside a prepaid balance, or a quota of octets or seconds that covers
usage before its price curve does. Usage is walked in the order of its minutes; each minute draws
on the buckets that are valid then, by priority, then soonest end, then id. What the walk gives is
a function of buckets and usage alone (docs/decisions/0221).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import msgspec

from rating.money import ZERO, decode_exact, encode_exact

Unit = Literal["money", "octets", "seconds"]
"""What a bucket holds: minor units of its key's currency, whole octets, or seconds."""

FOREVER = 1 << 40
"""until_minute of a bucket that never ends."""


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A lot of money or quota, valid in the minutes [from_minute, until_minute).

    The lowest priority is drawn on first. meter_id "" covers every meter of the unit. At its end
    at most rollover_max of what is left goes on into the next period; one that renews begins with
    its whole amount again, besides. spent is exact, number counts the periods of one that goes on.
    """

    bucket_id: str
    unit: Unit
    amount: int
    priority: int
    from_minute: int
    until_minute: int = FOREVER
    meter_id: str = ""
    renews: bool = False
    rollover_max: int = 0
    spent: str = "0/1"
    number: int = 1
    granted: int = 0


class Row(msgspec.Struct, frozen=True, gc=False):
    """Usage of one minute that may draw on buckets, or a charge of its own (unit money).

    minute is its place in the walk, event_minute when it was used; the other names are those of
    the movement that it becomes. amount is in units of 1 / denominator, charge exact money.
    parts are (bucket_id, amount) as they were drawn last.
    """

    minute: int
    event_minute: int
    meter_id: str
    unit: Unit
    day_on: str
    session_id: str
    subscriber_id: str
    source: str
    post_at: int
    denominator: int
    amount: int
    received_at: int
    charge: str = "0/1"
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def chargeable(self) -> int:
        """Return what the parts leave to the price curve."""
        return self.amount - sum(amount for _, amount in self.parts)


def charge_row(minute: int, meter_id: str, charge: Fraction, received_at: int) -> Row:
    """Return a charge that no usage moves: it draws on money, wherever that is."""
    return Row(
        minute=minute,
        event_minute=minute,
        meter_id=meter_id,
        unit="money",
        day_on="",
        session_id="",
        subscriber_id="",
        source="",
        post_at=0,
        denominator=1,
        amount=0,
        received_at=received_at,
        charge=encode_exact(charge),
    )


class Walk(NamedTuple):
    """What a walk gives: the rows' parts, buckets that stand at its end, and those that ended.

    An ended one comes with what rolled over from it.
    """

    parts: list[tuple[tuple[str, int], ...]]
    standing: list[Bucket]
    ended: list[tuple[Bucket, int]]


def place_of(minute: int, received_at: int, lateness_bound_ms: int) -> int:
    """Return a minute's place in the walk: late usage comes where the checkpoint stood by then."""
    return max(minute, (received_at - lateness_bound_ms) // 60_000)


def remaining(bucket: Bucket) -> Fraction:
    """Return what is left of a bucket, in its own unit."""
    return bucket.amount - decode_exact(bucket.spent)


def is_valid(bucket: Bucket, minute: int) -> bool:
    """Return whether a bucket may be drawn on in a minute."""
    return bucket.from_minute <= minute < bucket.until_minute


def burn_order(bucket: Bucket) -> tuple[int, int, str, int]:
    """Return what orders buckets: priority, then soonest end, then id."""
    return bucket.priority, bucket.until_minute, bucket.bucket_id, bucket.number


RowKey = tuple[int, str, str, str, str, str, int, int]
"""What orders rows, and what makes two of them one."""


def row_order(row: Row) -> RowKey:
    """Return a row's place: its minute, then its meter, then names."""
    names = (row.meter_id, row.subscriber_id, row.source, row.session_id, row.day_on)
    return row.minute, *names, row.event_minute, row.post_at


def name_of(bucket: Bucket) -> str:
    """Return what a bucket is called in rows: its id, from the second period on with a number."""
    return bucket.bucket_id if bucket.number == 1 else f"{bucket.bucket_id}#{bucket.number}"


def merged(rows: Iterable[Row], more: Iterable[Row]) -> list[Row]:
    """Return rows in their order, those that nothing tells apart added up; parts stay the old's."""
    sums: dict[RowKey, Row] = {row_order(row): row for row in rows}
    for row in more:
        key = row_order(row)
        held = sums.get(key)
        if held is not None:
            row = msgspec.structs.replace(
                held,
                amount=held.amount + row.amount,
                received_at=max(held.received_at, row.received_at),
                charge=encode_exact(decode_exact(held.charge) + decode_exact(row.charge)),
            )
        sums[key] = row
    return [sums[key] for key in sorted(sums)]


def walk(
    buckets: Iterable[Bucket],
    rows: Sequence[Row],
    until_minute: int,
    *,
    period_end: Callable[[int], int],
    charge_of: Callable[[Row, int], Fraction],
) -> Walk:
    """Let rows draw on buckets, minute by minute, and end what ends by until_minute.

    period_end gives the end of the period that a minute lies in. charge_of gives, in minor units,
    what a row costs once its parts have left so much of it; it is asked in the rows' order.
    """
    standing = sorted(buckets, key=burn_order)
    ended: list[tuple[Bucket, int]] = []
    all_parts = []
    for row in rows:
        standing = _advanced(standing, row.minute, period_end, ended)
        left, parts = row.amount, []
        for place, bucket in enumerate(standing):
            if bucket.unit != row.unit or row.unit == "money" or left <= 0:
                continue
            if is_valid(bucket, row.minute) and bucket.meter_id in ("", row.meter_id):
                taken = min(left, int(remaining(bucket) * row.denominator))
                if taken > 0:
                    standing[place] = _drawn(bucket, Fraction(taken, row.denominator))
                    parts.append((name_of(bucket), taken))
                    left -= taken
        all_parts.append(tuple(parts))
        if any(bucket.unit == "money" for bucket in standing):
            _pay(standing, row, charge_of(row, left))
    return Walk(all_parts, _advanced(standing, until_minute, period_end, ended), ended)


def _pay(standing: list[Bucket], row: Row, charge: Fraction) -> None:
    """Draw a charge on lots of money; what they do not have the rest of the balance pays."""
    for place, bucket in enumerate(standing):
        if charge <= 0:
            return
        if bucket.unit != "money" or not is_valid(bucket, row.minute):
            continue
        if bucket.meter_id in ("", row.meter_id):
            taken = min(charge, remaining(bucket))
            standing[place] = _drawn(bucket, taken)
            charge -= taken


def _drawn(bucket: Bucket, amount: Fraction) -> Bucket:
    spent = encode_exact(decode_exact(bucket.spent) + amount)
    return msgspec.structs.replace(bucket, spent=spent)


def _advanced(
    standing: list[Bucket],
    minute: int,
    period_end: Callable[[int], int],
    ended: list[tuple[Bucket, int]],
) -> list[Bucket]:
    """Return what stands at a minute; what has ended by then is put to the ended ones."""
    if all(bucket.until_minute > minute for bucket in standing):
        return standing
    after = []
    for bucket in standing:
        while bucket.until_minute <= minute:
            rolled = min(int(remaining(bucket)), bucket.rollover_max)
            ended.append((bucket, rolled))
            amount = rolled + (bucket.granted or bucket.amount) * bucket.renews
            if not amount:
                break
            bucket = msgspec.structs.replace(
                bucket,
                amount=amount,
                granted=bucket.granted or bucket.amount,
                from_minute=bucket.until_minute,
                until_minute=period_end(bucket.until_minute),
                rollover_max=bucket.rollover_max if bucket.renews else 0,
                spent="0/1",
                number=bucket.number + 1,
            )
        else:
            after.append(bucket)
    return sorted(after, key=burn_order)


def expired_of(bucket: Bucket, rolled: int) -> Fraction:
    """Return what an ended bucket leaves to nobody."""
    return max(ZERO, remaining(bucket) - rolled)
