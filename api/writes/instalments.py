"""Commands on instalment plans: agree, cancel."""

from __future__ import annotations

from collections.abc import Sequence

from api.models.instalments import InstalmentPlan, InstalmentPlanCreate
from api.problems import invalid_field, problem_of_field
from api.reads import billing as invoice_reads
from api.reads import instalments as reads
from api.writes.payments import refusals
from api.writes.transaction import CommandTransaction
from billing.adapters import instalments
from billing.instalments import Instalment, InstalmentError, agreed_parts, even_parts


def agree_plan(
    transaction: CommandTransaction, invoice_id: str, body: InstalmentPlanCreate
) -> InstalmentPlan:
    """Agree parts over what an invoice asks for; 409 where it asks for nothing or has a plan."""
    connection, principal = transaction.connection, transaction.principal
    invoice_reads.get_invoice(connection, principal.branch_id, invoice_id)
    is_even = body.count is not None and body.first_on is not None
    if is_even == bool(body.parts):
        raise invalid_field("/parts", None, "either count and first_on, or parts")

    def parts_of(open_minor: int) -> Sequence[Instalment]:
        if body.count is not None and body.first_on is not None:
            return even_parts(open_minor, body.count, body.first_on, body.every_months)
        return agreed_parts(open_minor, [(part.due_on, part.amount_minor) for part in body.parts])

    plan_id = transaction.services.new_id("ipl")
    made = (principal.name, transaction.now_at)
    try:
        with refusals():
            state = instalments.agree(connection, invoice_id, plan_id, parts_of, made)
    except InstalmentError as error:
        raise problem_of_field(error) from error
    return reads.shown(state)


def cancel_plan(transaction: CommandTransaction, plan_id: str) -> InstalmentPlan:
    """End a plan; its invoice is due as it was before."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    reads.get_plan(connection, branch_id, plan_id)
    instalments.cancel(connection, plan_id)
    return reads.get_plan(connection, branch_id, plan_id)
