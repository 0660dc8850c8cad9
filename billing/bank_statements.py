"""A bank's statement as entries: camt.053 (ISO 20022 XML), or CSV by a mapping of its columns.

Bytes in, entries out. A document type declaration is refused before anything in it is read: no
bank sends one, and entity bombs need one. Every error names the place, the value and what was
expected.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from billing.canonical import content_hash
from billing.config import BankCsvConfig
from rating.money import minor_decimals, parse_amount


class StatementError(ValueError):
    """A statement that cannot be read; the sentence says where, what stands there, what should."""


@dataclasses.dataclass(frozen=True, slots=True)
class BankEntry:
    """One movement of a bank account; a batch's transfers are entries of their own.

    amount_minor is positive for money that came. reference is the bank's own, empty where it gives
    none; end_to_end_id the payer's. remark says what is odd about it: such an entry is for a clerk.
    entry_id is made of all that does not change when a statement is fetched again.
    """

    entry_id: str
    bank_account: str
    booked_on: str
    amount_minor: int
    currency: str
    reference: str
    end_to_end_id: str
    remittance: str
    payer: str
    payer_account: str
    is_reversal: bool = False
    remark: str = ""


def read_statement(
    content: bytes, formats: Mapping[str, BankCsvConfig], name: str = ""
) -> list[BankEntry]:
    """Return a statement's booked entries in its order; name is a CSV format, empty for camt.053.

    StatementError: it is none, or names a format that the settings do not have.
    """
    if name:
        if name not in formats:
            known = ", ".join(sorted(formats)) or "none"
            raise StatementError(f"format {name!r}: expected one of the settings' ({known})")
        return read_csv(content, formats[name])
    return read_camt053(content)


def _identified(entries: Iterable[BankEntry]) -> list[BankEntry]:
    """Return entries with their ids, each once.

    With a bank's reference an entry is the same wherever it stands; without one, the same line
    twice in one statement is two movements, and the same statement again is the same two.
    """
    seen: Counter[str] = Counter()
    found: dict[str, BankEntry] = {}
    for entry in entries:
        content: list[str | int] = [entry.bank_account, entry.booked_on, entry.amount_minor]
        content += [entry.currency, entry.reference]
        if not entry.reference:
            content += [entry.remittance, entry.payer, entry.payer_account, entry.end_to_end_id]
            key = content_hash(content)
            seen[key] += 1
            content.append(seen[key])
        entry_id = f"bnk_{content_hash(content)[:24]}"
        found.setdefault(entry_id, dataclasses.replace(entry, entry_id=entry_id))
    return list(found.values())


def _minor(text: str, currency: str, place: str) -> int:
    """Return an amount of a statement in minor units."""
    try:
        amount: Fraction = parse_amount(text.strip()) * 10 ** minor_decimals(currency)
    except ValueError as error:
        raise StatementError(f"{place}: {error}") from None
    if amount.denominator != 1:
        expected = f"at most {minor_decimals(currency)} decimals of {currency}"
        raise StatementError(f"{place}: expected {expected}, got {text!r}")
    return int(amount)


# camt.053 --------------------------------------------------------------------------------------


def parse_xml(content: bytes) -> Element:
    """Return the root of an XML document, names without their namespaces.

    StatementError: it is not well-formed, or has a document type declaration.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

    def refuse(*_: object) -> None:
        raise StatementError("the document has a DOCTYPE: expected none, as ISO 20022 says")

    def local(name: str) -> str:
        return name.rpartition("}")[2]

    def start(name: str, attributes: dict[str, str]) -> None:
        builder.start(local(name), {local(key): value for key, value in attributes.items()})

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: builder.end(local(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return builder.close()
    except expat.ExpatError as error:
        raise StatementError(f"expected an XML document: {error}") from None


def read_camt053(content: bytes) -> list[BankEntry]:
    """Return the booked entries of a camt.053 statement; pending ones will come again, booked."""
    root = parse_xml(content)
    statements = root.findall("BkToCstmrStmt/Stmt")
    if root.tag != "Document" or not statements:
        raise StatementError(f"expected a camt.053 (Document/BkToCstmrStmt/Stmt), got {root.tag}")
    found: list[BankEntry] = []
    for statement in statements:
        account = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
        if not account:
            raise StatementError("Stmt/Acct/Id: expected an IBAN or another id of the account")
        for number, entry in enumerate(statement.findall("Ntry"), 1):
            status = _text(entry, "Sts/Cd") or _text(entry, "Sts")
            if status in ("", "BOOK"):
                found += _entries(entry, account, f"entry {number}")
    return _identified(found)


def _entries(entry: Element, account: str, place: str) -> list[BankEntry]:
    """Return the entries of one Ntry: itself, or the transfers of its batch."""
    whole, currency = _amount(entry, place)
    sign = _sign(entry, place)
    details = entry.findall("NtryDtls/TxDtls")
    day = _text(entry, "BookgDt/Dt") or _text(entry, "BookgDt/DtTm")[:10]
    try:
        datetime.date.fromisoformat(day)
    except ValueError:
        raise StatementError(f"{place}: BookgDt: expected an ISO date, got {day!r}") from None
    reference = _text(entry, "AcctSvcrRef") or _text(entry, "NtryRef")
    base = BankEntry(
        "", account, day, sign * whole, currency, reference, "",
        _text(entry, "AddtlNtryInf"), "", "", _text(entry, "RvslInd") == "true",
    )  # fmt: skip
    if not details:
        return [base]
    if len(details) == 1:
        return [_detailed(base, details[0], reference, sign * whole)]
    parts: list[BankEntry] = []
    for number, detail in enumerate(details, 1):
        where = f"{place}, transfer {number}"
        if detail.find("Amt") is None and detail.find("AmtDtls/TxAmt/Amt") is None:
            return [dataclasses.replace(base, remark="a batch whose transfers have no amounts")]
        amount, part_currency = _amount(detail, where)
        if part_currency != currency:
            return [dataclasses.replace(base, remark=f"a batch with transfers in {part_currency}")]
        direction = _sign(detail, where) if detail.find("CdtDbtInd") is not None else sign
        parts.append(_detailed(base, detail, f"{reference}#{number}", direction * amount))
    total = sum(part.amount_minor for part in parts)
    if total != base.amount_minor:
        what = f"a batch of {base.amount_minor} whose transfers sum to {total}"
        return [dataclasses.replace(base, remark=what)]
    return parts


def _detailed(base: BankEntry, detail: Element, reference: str, amount_minor: int) -> BankEntry:
    """Return an entry with what a TxDtls says of it."""
    party, account = ("Dbtr", "DbtrAcct") if amount_minor >= 0 else ("Cdtr", "CdtrAcct")
    lines = [_words(line) for line in detail.findall("RmtInf/Ustrd")]
    lines += [_words(line) for line in detail.findall("RmtInf/Strd/CdtrRefInf/Ref")]
    end_to_end = _text(detail, "Refs/EndToEndId")
    return dataclasses.replace(
        base,
        amount_minor=amount_minor,
        reference=_text(detail, "Refs/AcctSvcrRef") or _text(detail, "Refs/TxId") or reference,
        end_to_end_id="" if end_to_end == "NOTPROVIDED" else end_to_end,
        remittance=" ".join(line for line in lines if line)
        or _text(detail, "AddtlTxInf")
        or base.remittance,
        payer=_text(detail, f"RltdPties/{party}/Nm") or _text(detail, f"RltdPties/{party}/Pty/Nm"),
        payer_account=_text(detail, f"RltdPties/{account}/Id/IBAN")
        or _text(detail, f"RltdPties/{account}/Id/Othr/Id"),
    )


def _amount(element: Element, place: str) -> tuple[int, str]:
    found = element.find("Amt")
    if found is None:
        found = element.find("AmtDtls/TxAmt/Amt")
    if found is None:
        raise StatementError(f"{place}: Amt: expected an amount, got none")
    currency = found.get("Ccy", "")
    return _minor(_words(found), currency, f"{place}: Amt"), currency


def _sign(element: Element, place: str) -> int:
    direction = _text(element, "CdtDbtInd")
    if direction not in ("CRDT", "DBIT"):
        raise StatementError(f"{place}: CdtDbtInd: expected CRDT or DBIT, got {direction!r}")
    return 1 if direction == "CRDT" else -1


def _text(element: Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else _words(found)


def _words(element: Element) -> str:
    return " ".join((element.text or "").split())


# CSV -------------------------------------------------------------------------------------------


def read_csv(content: bytes, form: BankCsvConfig) -> list[BankEntry]:
    """Return the entries of a CSV statement, its columns found by the mapping's names."""
    try:
        text = content.decode(form.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise StatementError(f"expected text in {form.encoding}: {error}") from None
    lines = text.splitlines()[form.skip_lines :]
    rows = csv.DictReader(io.StringIO("\n".join(lines)), delimiter=form.delimiter)
    heads = list(rows.fieldnames or [])
    used = _columns(form)
    missing = [column for column in used.values() if column not in heads]
    if missing:
        raise StatementError(f"columns {', '.join(missing)}: expected them among {heads}")
    found: list[BankEntry] = []
    for number, row in enumerate(rows, form.skip_lines + 2):
        if not any((value or "").strip() for value in row.values() if isinstance(value, str)):
            continue
        said = {name: (row[column] or "").strip() for name, column in used.items()}
        found.append(_csv_entry(said, form, f"line {number}"))
    return _identified(found)


def _columns(form: BankCsvConfig) -> dict[str, str]:
    """Return what is read -> the column's head, of those that the mapping names."""
    names = {
        "date": form.date_column,
        "amount": form.amount_column,
        "credit": form.credit_column,
        "debit": form.debit_column,
        "currency": form.currency_column,
        "reference": form.reference_column,
        "remittance": form.remittance_column,
        "payer": form.payer_column,
        "payer_account": form.payer_account_column,
    }
    return {name: column for name, column in names.items() if column}


def _csv_entry(said: Mapping[str, str], form: BankCsvConfig, place: str) -> BankEntry:
    currency = said.get("currency") or form.currency
    try:
        day = datetime.datetime.strptime(said["date"], form.date_format).replace(
            tzinfo=datetime.UTC  # a day alone has none
        )
    except ValueError:
        what = f"{place}, {form.date_column}: expected a date as {form.date_format}"
        raise StatementError(f"{what}, got {said['date']!r}") from None

    def money(name: str) -> int:
        text = said.get(name, "")
        return _minor(_plain(text, form), currency, f"{place}, {name}") if text else 0

    in_two = not form.amount_column
    amount = abs(money("credit")) - abs(money("debit")) if in_two else money("amount")
    return BankEntry(
        "",
        form.bank_account,
        day.date().isoformat(),
        amount,
        currency,
        said.get("reference", ""),
        "",
        " ".join(said.get("remittance", "").split()),
        said.get("payer", ""),
        said.get("payer_account", "").replace(" ", ""),
    )


def _plain(text: str, form: BankCsvConfig) -> str:
    """Return an amount as a plain decimal: thousands' marks out, the decimal sign a point.

    A minus may stand behind, as some banks write it.
    """
    plain = re.sub(r"[\s\u00a0\u202f']", "", text)
    if form.decimal_comma:
        plain = plain.replace(".", "").replace(",", ".")
    else:
        plain = plain.replace(",", "")
    plain = plain.removeprefix("+")
    return f"-{plain[:-1]}" if plain.endswith("-") else plain
