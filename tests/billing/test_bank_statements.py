"""Statements of banks as entries: each oddity that banks send, and what is refused."""

from __future__ import annotations

import pytest

from billing.bank_statements import (
    BankEntry,
    StatementError,
    read_camt053,
    read_csv,
    read_statement,
)
from billing.config import BankCsvConfig

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt>'
    "<Id>S1</Id><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>"
)
TAIL = "</Stmt></BkToCstmrStmt></Document>"


def transfer(reference: str, text: str, amount: str = "", *, name: str = "A. Rahman") -> str:
    """Return a TxDtls."""
    money = f'<Amt Ccy="EUR">{amount}</Amt>' if amount else ""
    return (
        f"<TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs>{money}<RltdPties><Dbtr><Pty>"
        f"<Nm>{name}</Nm></Pty></Dbtr><DbtrAcct><Id><IBAN>DE99</IBAN></Id></DbtrAcct></RltdPties>"
        f"<RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls>"
    )


def entry(amount: str, details: str = "", *, reference: str = "ref-1", more: str = "",
          direction: str = "CRDT", status: str = "<Sts><Cd>BOOK</Cd></Sts>") -> str:  # fmt: skip
    """Return an Ntry."""
    return (
        f'<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>{more}{status}'
        f"<BookgDt><Dt>2026-12-03</Dt></BookgDt><AcctSvcrRef>{reference}</AcctSvcrRef>"
        f"<NtryDtls>{details}</NtryDtls></Ntry>"
    )


def camt(*entries: str) -> list[BankEntry]:
    return read_camt053((HEAD + "".join(entries) + TAIL).encode())


def test_an_entry_says_who_paid_what_and_why() -> None:
    [found] = camt(entry("1150.00", transfer("e2e-1", "Invoice\n DHK-INV-000042 ")))
    assert found.bank_account == "DE02120300000000202051"
    assert (found.booked_on, found.amount_minor, found.currency) == ("2026-12-03", 115000, "EUR")
    assert (found.reference, found.end_to_end_id) == ("ref-1", "e2e-1")
    assert found.remittance == "Invoice DHK-INV-000042"
    assert (found.payer, found.payer_account) == ("A. Rahman", "DE99")


def test_a_batch_is_its_transfers() -> None:
    details = transfer("a", "one", "100.00") + transfer("b", "two", "50.00")
    found = camt(entry("150.00", details))
    assert [(one.amount_minor, one.remittance) for one in found] == [(10000, "one"), (5000, "two")]
    assert len({one.entry_id for one in found}) == 2


@pytest.mark.parametrize(
    ("details", "remark"),
    [
        (transfer("a", "one", "100.00") + transfer("b", "two", "49.00"), "transfers sum to 14900"),
        (transfer("a", "one") + transfer("b", "two", "50.00"), "transfers have no amounts"),
        ((transfer("a", "1", "100.00") + transfer("b", "2", "50.00")).replace("EUR", "USD"),
         "transfers in USD"),
    ],
)  # fmt: skip
def test_a_batch_that_does_not_add_up_is_one_entry_for_a_clerk(details: str, remark: str) -> None:
    [found] = camt(entry("150.00", details))
    assert found.amount_minor == 15000
    assert remark in found.remark


def test_a_reversal_takes_money_and_is_another_entry_than_what_it_returns() -> None:
    paid = entry("10.00", transfer("a", "x"))
    back = entry("10.00", transfer("a", "x"), direction="DBIT", more="<RvslInd>true</RvslInd>")
    first, second = camt(paid, back)
    assert (first.amount_minor, first.is_reversal) == (1000, False)
    assert (second.amount_minor, second.is_reversal) == (-1000, True)
    assert first.entry_id != second.entry_id


def test_the_same_entry_again_is_the_same() -> None:
    paid = entry("10.00", transfer("a", "x"))
    assert camt(paid, paid) == camt(paid)
    assert camt(entry("1.00", reference="r0"), paid)[1] == camt(paid)[0]


def test_two_alike_without_a_reference_are_two_and_stay_two() -> None:
    paid = entry("10.00", transfer("NOTPROVIDED", "x"), reference="")
    ids = [one.entry_id for one in camt(paid, paid)]
    assert len(set(ids)) == 2
    assert [one.entry_id for one in camt(paid, paid)] == ids


def test_what_is_not_booked_yet_is_left_out() -> None:
    assert camt(entry("10.00", status="<Sts>PDNG</Sts>")) == []
    assert len(camt(entry("10.00", status="<Sts>BOOK</Sts>"))) == 1


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<Document>&c;</Document>"
)
FOREIGN = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<Document>&f;</Document>"
)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (BOMB, "has a DOCTYPE"),
        (FOREIGN, "has a DOCTYPE"),
        ("<Document>", "expected an XML document"),
        ("date;amount", "expected an XML document"),
        ("<Document/>", "expected a camt.053"),
        (HEAD.replace("DE02120300000000202051", "") + TAIL, "Stmt/Acct/Id: expected an IBAN"),
        (HEAD + entry("ten") + TAIL, "entry 1: Amt: expected a plain decimal .* got 'ten'"),
        (HEAD + entry("1.005") + TAIL, "entry 1: Amt: expected at most 2 decimals of EUR"),
        (HEAD + entry("1.00", direction="IN") + TAIL, "expected CRDT or DBIT, got 'IN'"),
        (HEAD + entry("1.00").replace("2026-12-03", "3.12.") + TAIL, "BookgDt: expected an ISO"),
    ],
)
def test_what_is_no_statement_says_where_and_what(document: str, why: str) -> None:
    with pytest.raises(StatementError, match=why):
        read_camt053(document.encode())


GERMAN = BankCsvConfig(
    name="sparkasse",
    bank_account="DE02",
    currency="EUR",
    encoding="cp1252",
    delimiter=";",
    skip_lines=1,
    date_format="%d.%m.%Y",
    decimal_comma=True,
    date_column="Buchungstag",
    amount_column="Betrag",
    remittance_column="Verwendungszweck",
    payer_column="Name",
    payer_account_column="IBAN",
    reference_column="",
)


def german(*rows: str) -> bytes:
    head = "Kontoauszug\nBuchungstag;Betrag;Verwendungszweck;Name;IBAN\n"
    return (head + "\n".join(rows)).encode("cp1252")


def test_a_csv_with_decimal_commas_and_umlauts() -> None:
    [found] = read_csv(german('03.12.2026;"1.150,00";Rechnung 42;Jörg Müller;DE 99 11'), GERMAN)
    assert (found.booked_on, found.amount_minor) == ("2026-12-03", 115000)
    assert (found.payer, found.payer_account) == ("Jörg Müller", "DE9911")


@pytest.mark.parametrize(
    ("text", "minor"),
    [("-12,50", -1250), ("12,50-", -1250), ("+1 150,5", 115050), ("1.000", 100000), ("0,01", 1)],
)
def test_amounts_as_banks_write_them(text: str, minor: int) -> None:
    [found] = read_csv(german(f'03.12.2026;"{text}";x;y;z'), GERMAN)
    assert found.amount_minor == minor


def test_credit_and_debit_in_two_columns() -> None:
    form = BankCsvConfig(
        name="ebl", bank_account="BD1", currency="BDT", date_format="%Y-%m-%d",
        date_column="Date", amount_column="", credit_column="Credit", debit_column="Debit",
        remittance_column="Details", reference_column="Ref",
    )  # fmt: skip
    content = (
        b'\xef\xbb\xbfDate,Ref,Details,Debit,Credit\n2026-12-03,1,in,,"1,150.00"\n'
        b"2026-12-03,2,out,20.00,\n,,,,\n"
    )
    found = read_csv(content, form)
    assert [(one.reference, one.amount_minor) for one in found] == [("1", 115000), ("2", -2000)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (german("3/12/2026;1,00;x;y;z"), "line 3, Buchungstag: expected a date as %d.%m.%Y, got"),
        (german("03.12.2026;abc;x;y;z"), "line 3, amount: expected a plain decimal .* got 'abc'"),
        (b"a\nb;c\n1;2", "columns Buchungstag, Betrag, .*: expected them among"),
    ],
)
def test_a_wrong_csv_names_line_and_column(content: bytes, why: str) -> None:
    with pytest.raises(StatementError, match=why):
        read_csv(content, GERMAN)


def test_a_wrong_encoding_and_an_unknown_format() -> None:
    form = BankCsvConfig(name="x", bank_account="1", currency="EUR")
    with pytest.raises(StatementError, match="expected text in utf-8-sig"):
        read_statement(german("03.12.2026;1;Müller;y;z"), {"x": form}, "x")
    with pytest.raises(StatementError, match=r"format 'y': expected one of the settings' \(x\)"):
        read_statement(b"", {"x": form}, "y")
