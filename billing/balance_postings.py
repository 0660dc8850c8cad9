"""What the ledger says when a balance changes by a bucket: bonus money, a booster, an expiry.

    bonus money       adjustments │ prepaid         we give it away
    a booster         prepaid │ quota sold          its price is taken from the balance
    money that ends   prepaid │ adjustments         what was left of it is ours again

The first two are posted with the account event and taken back where rating refuses it, as top-ups
are (docs/decisions/0307); the last follows rate's word that a bucket is final.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from billing.ledger import ADJUSTMENTS, PREPAID, REVENUE_QUOTA, Transaction, entries_of, reversal_of
from billing.payments import TOPUP, TOPUP_REFUSED

BUCKET = "bucket"
BUCKET_REFUSED = "bucket_refused"
BUCKET_EXPIRED = "bucket_expired"
"""Sources of postings; those of a bucket and of its refusal have the event's id as their key."""

REFUSALS: Mapping[str, str] = {TOPUP: TOPUP_REFUSED, BUCKET: BUCKET_REFUSED}
"""Sources whose postings are taken back where rating refuses the event, with the reversal's."""


@dataclasses.dataclass(frozen=True, slots=True)
class BucketSale:
    """A bucket as it is asked for: bonus_minor is money given away, price_minor what is paid."""

    event_id: str
    branch_id: str
    account_id: str
    currency: str
    bonus_minor: int
    price_minor: int
    occurred_at: int
    description: str


def bucket_transaction(sale: BucketSale) -> Transaction | None:
    """Return the posting of a bucket, None where it moves no money."""
    amounts = {
        PREPAID: sale.price_minor - sale.bonus_minor,
        ADJUSTMENTS: sale.bonus_minor,
        REVENUE_QUOTA: -sale.price_minor,
    }
    if not any(amounts.values()):
        return None
    entries = entries_of(sale.branch_id, sale.account_id, sale.currency, amounts)
    return Transaction(
        sale.branch_id, BUCKET, sale.event_id, sale.occurred_at, sale.description, entries
    )


def refused_transaction(posted: Transaction, reason: str, decided_at: int) -> Transaction:
    """Return the posting that takes back what rating refused; cash goes back to the customer."""
    what = "Top-up" if posted.source == TOPUP else "Bucket"
    return reversal_of(posted, REFUSALS[posted.source], decided_at, f"{what} refused: {reason}")


def expired_transaction(
    sold: tuple[str, str, str], rating_key: str, bucket_id: str, expired_minor: int, ended_at: int
) -> Transaction:
    """Return the posting of money that ended; sold is (branch_id, account_id, currency)."""
    branch_id, account_id, currency = sold
    amounts = {PREPAID: expired_minor, ADJUSTMENTS: -expired_minor}
    return Transaction(
        branch_id,
        BUCKET_EXPIRED,
        f"{rating_key}/{bucket_id}",
        ended_at,
        f"Ended {bucket_id} {rating_key}",
        entries_of(branch_id, account_id, currency, amounts),
    )
