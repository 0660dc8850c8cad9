"""A statement of account as printed: every amount and day already text. Pure, like printing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from billing.accounts import Account, Branch
from billing.printing import LABELS, format_day, format_money
from billing.statements import Statement

_WORDS = {
    "en": {
        "statement": "Statement of account",
        "day": "Day",
        "entry": "Entry",
        "debit": "Debit",
        "credit": "Credit",
        "balance": "Balance",
        "opening": "Opening balance",
        "closing": "Closing balance",
        "in_credit": "in your favour",
        "nothing": "Nothing was posted to this account.",
    },
    "bn": {
        "statement": "হিসাব বিবরণী",
        "day": "তারিখ",
        "entry": "বিবরণ",
        "debit": "ডেবিট",
        "credit": "ক্রেডিট",
        "balance": "স্থিতি",
        "opening": "প্রারম্ভিক স্থিতি",
        "closing": "সমাপনী স্থিতি",
        "in_credit": "আপনার পক্ষে",
        "nothing": "এই হিসাবে কোনো লেনদেন হয়নি।",
    },
}


_KINDS_BN = {
    "Invoice": "চালান",
    "Credit note": "ক্রেডিট নোট",
    "Debit note": "ডেবিট নোট",
    "Void": "বাতিল",
    "Payment": "পরিশোধ",
    "Payment reversed": "পরিশোধ প্রত্যাহার",
    "Refund": "ফেরত",
    "Written off": "অবলোপন",
}
"""`StatementLine.kind` in Bangla; English is as it stands."""


def print_statement(
    branch: Branch, account: Account, days: tuple[str, str], statements: Sequence[Statement]
) -> dict[str, Any]:
    """Return the template's input: strings only. days are the ISO days asked for, both included."""
    language = branch.language if branch.language in LABELS else "en"
    words = dict(LABELS[language]) | _WORDS.get(language, _WORDS["en"])
    return {
        "language": language,
        "words": words,
        "branch": {
            "name": branch.name,
            "address": branch.address,
            "phone": branch.phone,
            "email": branch.email,
            "tax_number": branch.tax_number,
        },
        "account": {
            "name": account.name,
            "address": account.address,
            "account_id": account.account_id,
        },
        "period": " – ".join(format_day(day, language) for day in days),
        "statements": [_printed(statement, language) for statement in statements],
        "document_day": days[1],
    }


def _printed(statement: Statement, language: str) -> dict[str, Any]:
    """Return one currency's part."""
    currency = statement.currency
    return {
        "currency": currency,
        "opening": format_money(statement.opening_minor, currency),
        "closing": format_money(abs(statement.closing_minor), currency),
        "is_credit": statement.closing_minor < 0,
        "debits": format_money(statement.debits_minor, currency),
        "credits": format_money(-statement.credits_minor, currency),
        "lines": [
            {
                "day": format_day(line.day, language),
                "kind": _KINDS_BN.get(line.kind, line.kind) if language == "bn" else line.kind,
                "reference": line.reference,
                "debit": format_money(line.amount_minor, currency) if line.amount_minor > 0 else "",
                "credit": format_money(-line.amount_minor, currency)
                if line.amount_minor < 0
                else "",
                "balance": format_money(line.balance_minor, currency),
            }
            for line in statement.lines
        ],
    }
