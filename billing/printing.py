"""An invoice as printed: every amount, quantity and day already text, in the branch's language.

Pure: the document and its row in, strings out. The template only places them, so nothing that a
customer typed is ever read as markup.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

from billing.discounts import DISCOUNT
from billing.invoices import TAX, USAGE, WITHHOLDING
from billing.numbering import CREDIT_NOTE_SERIES, DEBIT_NOTE_SERIES
from billing.quantities import format_quantity
from billing.taxes import EXEMPT, REVERSE_CHARGE
from rating.money import format_minor

LABELS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "invoice": "Invoice",
        "draft": "Draft",
        "bill_to": "Bill to",
        "number": "Invoice number",
        "issued": "Issued",
        "due": "Due",
        "period": "Service period",
        "account": "Customer number",
        "amount_due": "Amount due",
        "paid_in_full": "Paid in full",
        "description": "Description",
        "quantity": "Quantity",
        "amount": "Amount",
        "usage": "Usage in this period",
        "included": "included",
        "above": "above the allowance",
        "subtotal": "Subtotal",
        "tax": "Tax",
        "tax_included": "Tax included",
        "on": "on",
        "total": "Total",
        "paid": "Paid",
        "tax_number": "Tax no.",
        "page": "Page",
        "of": "of",
        "fingerprint": "Document fingerprint",
        "recurring": "Subscription",
        "charge": "Services and charges",
        "discount": "Discounts",
        "adjustment": "Adjustments",
        "debit_note": "Debit note",
        "credit_note": "Credit note",
        "corrects": "Corrects",
        "credited": "Credited to you",
        "gross": "Total with tax",
        "exempt": "exempt",
        "reverse_charge": "reverse charge",
        "reverse_charge_note": "Reverse charge: the tax is owed by the customer.",
        "certificate": "certificate",
        "void": "Void",
    },
    "bn": {
        "invoice": "চালান",
        "draft": "খসড়া",
        "bill_to": "প্রাপক",
        "number": "চালান নম্বর",
        "issued": "ইস্যুর তারিখ",
        "due": "শেষ তারিখ",
        "period": "সেবার মেয়াদ",
        "account": "গ্রাহক নম্বর",
        "amount_due": "প্রদেয় টাকা",
        "paid_in_full": "সম্পূর্ণ পরিশোধিত",
        "description": "বিবরণ",
        "quantity": "পরিমাণ",
        "amount": "টাকা",
        "usage": "এই মেয়াদে ব্যবহার",
        "included": "প্যাকেজে অন্তর্ভুক্ত",
        "above": "সীমার অতিরিক্ত",
        "subtotal": "উপমোট",
        "tax": "কর",
        "tax_included": "অন্তর্ভুক্ত কর",
        "on": "এর উপর",
        "total": "সর্বমোট",
        "paid": "পরিশোধিত",
        "tax_number": "কর নম্বর",
        "page": "পৃষ্ঠা",
        "of": "/",
        "fingerprint": "নথির হ্যাশ",
        "recurring": "সাবস্ক্রিপশন",
        "charge": "সেবা ও চার্জ",
        "discount": "ছাড়",
        "adjustment": "সমন্বয়",
        "debit_note": "ডেবিট নোট",
        "credit_note": "ক্রেডিট নোট",
        "corrects": "যে চালান সংশোধন করে",
        "credited": "আপনার নামে জমা",
        "gross": "করসহ মোট",
        "exempt": "অব্যাহতিপ্রাপ্ত",
        "reverse_charge": "রিভার্স চার্জ",
        "reverse_charge_note": "রিভার্স চার্জ: কর গ্রাহক নিজে পরিশোধ করবেন।",
        "certificate": "সনদ",
        "void": "বাতিল",
    },
}
"""Words of the paper per language; a language we lack is printed in English."""

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "bn": " ".join(
        (
            "জানুয়ারি ফেব্রুয়ারি মার্চ এপ্রিল মে জুন",
            "জুলাই আগস্ট সেপ্টেম্বর অক্টোবর নভেম্বর ডিসেম্বর",
        )
    ),
}


_TITLES = {DEBIT_NOTE_SERIES: "debit_note", CREDIT_NOTE_SERIES: "credit_note"}


@dataclasses.dataclass(frozen=True, slots=True)
class PrintedState:
    """What the row knows and the document must not: number, days, payments.

    number, issued_on and due_on (ISO) are empty for a draft. corrects are the numbers of the
    invoices that lines of this one correct.
    """

    number: str
    status: str
    issued_on: str
    due_on: str
    paid_minor: int
    hash: str
    corrects: tuple[str, ...] = ()


def print_invoice(document: str, state: PrintedState) -> dict[str, Any]:
    """Return the template's input from an invoice's canonical JSON: strings and numbers only."""
    invoice = json.loads(document)
    language = invoice["branch"]["language"]
    words = LABELS.get(language, LABELS["en"])
    currency = invoice["currency"]
    is_void = state.status == "void"
    open_minor = 0 if is_void else invoice["total_minor"] - state.paid_minor
    title = _TITLES.get(invoice.get("series", ""), "invoice")
    settled = "credited" if title == "credit_note" else "paid_in_full"
    period = invoice["period"]
    return {
        "language": language if language in LABELS else "en",
        "words": dict(words),
        "title": words[title],
        "branch": invoice["branch"],
        "account": invoice["account"],
        "number": state.number,
        "is_draft": state.status == "draft",
        "stamp": words.get(state.status, "") if state.status in ("draft", "void") else "",
        "is_paid": state.status == "paid",
        "issued": format_day(state.issued_on, language),
        "due": "" if is_void else format_day(state.due_on, language),
        "period": ""
        if title != "invoice"
        else " – ".join(format_day(period[name], language) for name in ("first_on", "last_on")),
        "corrects": ", ".join(state.corrects),
        "currency": currency,
        "amount_label": words[settled if state.status == "paid" else "amount_due"],
        "amount_due": format_money(-open_minor if title == "credit_note" else open_minor, currency),
        "groups": _groups(invoice, words),
        "meters": [_meter(line, words) for line in invoice["lines"] if _has_allowance(line)],
        "totals": _totals(invoice, words, state),
        "notices": _notices(invoice, words),
        "hash": state.hash,
        "document_day": state.issued_on or period["last_on"],
    }


def format_money(amount_minor: int, currency: str) -> str:
    """Return an amount with thousands separated, such as ``1,840.00``; a true minus sign."""
    whole, point, part = format_minor(abs(amount_minor), currency).partition(".")
    text = f"{int(whole):,}{point}{part}"
    return f"−{text}" if amount_minor < 0 else text


def format_day(iso: str, language: str) -> str:
    """Return a day such as ``1 November 2026``; empty for an empty one."""
    if not iso:
        return ""
    day = datetime.date.fromisoformat(iso)
    names = _MONTHS.get(language, _MONTHS["en"]).split()
    return f"{day.day} {names[day.month - 1]} {day.year}"


def _groups(invoice: Mapping[str, Any], words: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the table's groups of lines in the document's order, without tax."""
    groups: list[dict[str, Any]] = []
    for line in invoice["lines"]:
        if line["kind"] in (TAX, WITHHOLDING):
            continue
        title = words["usage"] if line["kind"] == USAGE else words[line["kind"]]
        if line["kind"] == DISCOUNT and groups:
            title = groups[-1]["title"]  # It stands beneath what it reduces.
        if not groups or groups[-1]["title"] != title:
            groups.append({"title": title, "lines": []})
        gigabyte = line["evidence"].get("octets_per_gigabyte", 10**9)
        groups[-1]["lines"].append(
            {
                "description": line["description"],
                "quantity": format_quantity(line["quantity"], line["unit"], gigabyte),
                "amount": format_money(line["amount_minor"], invoice["currency"]),
            }
        )
    return groups


def _has_allowance(line: Mapping[str, Any]) -> bool:
    """Return whether a line can be shown against what was included."""
    return line["kind"] == USAGE and bool(line["evidence"].get("allowance"))


def _meter(line: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """Return one usage bar: parts per thousand of its width that are included and above."""
    used, allowance = line["quantity"], line["evidence"]["allowance"]
    gigabyte = line["evidence"].get("octets_per_gigabyte", 10**9)
    scale = max(used, allowance, 1)
    above = max(used - allowance, 0)
    text = format_quantity(above, line["unit"], gigabyte)
    return {
        "description": line["description"],
        "used": format_quantity(used, line["unit"], gigabyte),
        "allowance": format_quantity(allowance, line["unit"], gigabyte),
        "within_permille": min(used, allowance) * 1000 // scale,
        "above_permille": above * 1000 // scale,
        "note": f"{text} {words['above']}" if above else "",
    }


def _totals(
    invoice: Mapping[str, Any], words: Mapping[str, str], state: PrintedState
) -> list[dict[str, Any]]:
    """Return the rows under the table; the last one is printed strong."""
    currency = invoice["currency"]
    rows = [(words["subtotal"], format_money(invoice["subtotal_minor"], currency))]
    rows += [row for tax in invoice["taxes"] for row in _tax_rows(tax, words, currency)]
    withheld = [line for line in invoice["lines"] if line["kind"] == WITHHOLDING]
    if withheld:
        gross = invoice["subtotal_minor"] + invoice["tax_minor"]
        rows.append((words["gross"], format_money(gross, currency)))
        rows += [(w["description"], format_money(w["amount_minor"], currency)) for w in withheld]
    rows.append((words["total"], format_money(invoice["total_minor"], currency)))
    if state.paid_minor:
        rows.append((words["paid"], format_money(-state.paid_minor, currency)))
    return [
        {"label": label, "amount": amount, "is_total": label == words["total"]}
        for label, amount in rows
    ]


def _tax_rows(
    tax: Mapping[str, Any], words: Mapping[str, str], currency: str
) -> list[tuple[str, str]]:
    """Return the row of one tax under the table; a plan's own rate of nothing has none."""
    relief = tax.get("relief", "")
    if not tax["tax_minor"] and relief not in (EXEMPT, REVERSE_CHARGE):
        return []
    name = tax.get("name") or words["tax_included" if tax["is_inclusive"] else "tax"]
    if tax["is_inclusive"] and tax.get("name"):
        name += f" ({words['included']})"
    base = format_money(tax["net_minor"], currency)
    if not relief:
        label = f"{name} {tax['percent']} % {words['on']} {base}"
        return [(label, format_money(tax["tax_minor"], currency))]
    paper = f", {words['certificate']} {tax['certificate']}" if tax.get("certificate") else ""
    return [(f"{name}, {words[relief]}{paper}, {words['on']} {base}", format_money(0, currency))]


def _notices(invoice: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    """Return the sentences that the law wants under the sums."""
    reliefs = {tax.get("relief", "") for tax in invoice["taxes"]}
    return [words["reverse_charge_note"]] if REVERSE_CHARGE in reliefs else []
