"""The audit log notes what changed, and both chains name the first row that somebody tampered with.

Entries: 1 makes karim, 2 gives him a phone, 3 another, 4 deletes him. Postings: a, b, c, d.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, text, update

from billing.accounts import Account
from billing.adapters import audit_tables, ledger, tables
from billing.adapters.audit import recorded, verify, write_entry
from billing.adapters.databases import reading, upsert, writing
from billing.adapters.repositories import create
from billing.audit import AuditEntry, audit_link
from billing.ledger import CASH, RECEIVABLE, ChainLink, Transaction, entries_of
from tests.billing.conftest import NewDatabase
from tests.billing.world import BRANCH

CLERK = ("key-1", "Front desk", "dhk")
ACCOUNT = tables.account


def sale(key: str) -> Transaction:
    amounts = {CASH: 100, RECEIVABLE: -100}
    return Transaction("dhk", "test", key, 0, "sale", entries_of("dhk", "rahim", "BDT", amounts))


def command(engine: Engine, action: str, *statements: Any) -> int | None:
    with writing(engine) as connection:
        with recorded(connection) as recorder:
            for statement in statements:
                connection.execute(statement)
        return write_entry(connection, recorder, CLERK, action, 5)


def karim(**values: Any) -> Any:
    return update(ACCOUNT).where(ACCOUNT.c.account_id == "karim").values(**values)


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, BRANCH)
        create(connection, Account("rahim", "dhk", "Rahim", "person", "", "", 0))
    row = {"account_id": "karim", "branch_id": "dhk", "name": "Karim", "kind": "person"}
    row |= {"email": "", "phone": "", "created_at": "0"}
    command(engine, "make", insert(ACCOUNT).values(**row))
    command(engine, "first", karim(phone="1"))
    command(engine, "second", karim(phone="2"))
    command(engine, "delete", delete(ACCOUNT).where(ACCOUNT.c.account_id == "karim"))
    with writing(engine) as connection:
        ledger.post(connection, [sale(key) for key in "abcd"], 5)
    return engine


def broken(engine: Engine, remembered: dict[str, ChainLink] | None = None) -> list[str]:
    with reading(engine) as connection:
        return [str(found) for found in verify(connection, remembered or {}).breaks]


def heads(engine: Engine) -> dict[str, ChainLink]:
    with reading(engine) as connection:
        return dict(verify(connection, {}).heads)


def entries(engine: Engine) -> list[Any]:
    table = audit_tables.audit_entry
    with reading(engine) as connection:
        return list(connection.execute(select(table).order_by(table.c.chain_number)))


def test_each_command_says_what_was_before_and_after(engine: Engine) -> None:
    made, first, second, gone = [json.loads(row.changes) for row in entries(engine)]
    assert made[0]["before"] is None
    assert made[0]["after"]["name"] == "Karim"
    key = {"account_id": "karim"}
    assert first == [
        {"table": "account", "key": key, "before": {"phone": ""}, "after": {"phone": "1"}}
    ]
    assert second[0]["before"] == {"phone": "1"}
    assert gone[0]["after"] is None
    assert [row.actor_name for row in entries(engine)] == ["Front desk"] * 4


def test_a_command_that_changes_nothing_is_no_entry(engine: Engine) -> None:
    assert command(engine, "nobody", karim(phone="3")) is None
    same = update(tables.branch).values(name=tables.branch.c.name)
    assert command(engine, "as it is", same) is None
    assert len(entries(engine)) == 4


def test_an_upsert_says_what_it_replaced(engine: Engine) -> None:
    row = {"key_id": "k", "branch_id": "dhk", "hash": "old", "name": "Desk", "created_at": 1}
    with writing(engine) as connection:
        with recorded(connection) as recorder:
            connection.execute(insert(tables.api_key), [row])
        write_entry(connection, recorder, CLERK, "issue", 5)
        with recorded(connection) as recorder:
            again = upsert(connection, tables.api_key).values(**row | {"hash": "new", "name": "B"})
            changed = {"hash": "new", "name": "B"}
            connection.execute(again.on_conflict_do_update(index_elements=["key_id"], set_=changed))
        write_entry(connection, recorder, CLERK, "again", 5)
    issued, replaced = [json.loads(row.changes)[0] for row in entries(engine)[4:]]
    assert issued["after"]["hash"] == "(hidden)", "a secret is not told"
    assert replaced["before"] == {"hash": "(hidden)", "name": "Desk"}
    assert replaced["after"] == {"hash": "(hidden)", "name": "B"}


def test_whole_chains_are_whole(engine: Engine) -> None:
    assert broken(engine) == []
    assert {name: head.number for name, head in heads(engine).items()} == {
        "audit": 4,
        "ledger/dhk": 4,
    }


SWAP = "update {table} set chain_number = {to} where chain_number = {of}"


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        # The audit log
        (["update audit_entry set changes = '[]' where chain_number = 2"],
         "audit: row 2 (first by Front desk) was altered, inserted or moved"),
        (["update audit_entry set actor_name = 'Nobody' where chain_number = 3"],
         "audit: row 3 (second by Nobody) was altered, inserted or moved"),
        (["delete from audit_entry where chain_number = 1"], "audit: row 1 is missing"),
        (["delete from audit_entry where chain_number = 3"], "audit: row 3 is missing"),
        (["delete from audit_entry where chain_number = 4"],
         "audit: row 4 is missing: the head is 4"),
        (["delete from audit_entry"], "audit: row 1 is missing: the head is 4"),
        ([SWAP.format(table="audit_entry", of=2, to=99),
          SWAP.format(table="audit_entry", of=3, to=2),
          SWAP.format(table="audit_entry", of=99, to=3)],
         "audit: row 2 (second by Front desk) was altered, inserted or moved"),
        (["insert into audit_entry select 5, occurred_at, actor_id, actor_name, branch_id, action,"
          " changes, chain_hash from audit_entry where chain_number = 4"],
         "audit: row 5 (delete by Front desk) was altered, inserted or moved"),
        (["delete from chain_head where chain = 'audit'"],
         "audit: row 1 (delete by Front desk) stands behind the recorded head"),
        # The ledger
        (["update ledger_entry set amount_minor = -amount_minor where transaction_id = 'test:b'"],
         "ledger/dhk: row 2 (test:b) was altered, inserted or moved"),
        (["update ledger_entry set amount_minor = 1 where transaction_id = 'test:b' and line = 1"],
         "ledger/dhk: row 2 (test:b) was altered: test:b does not balance: {'BDT': 101}"),
        (["update ledger_transaction set description = 'gift' where idempotency_key = 'c'"],
         "ledger/dhk: row 3 (test:c) was altered, inserted or moved"),
        (["delete from ledger_entry where transaction_id = 'test:b'"],
         "ledger/dhk: row 2 is missing"),
        (["delete from ledger_entry where transaction_id = 'test:d'",
          "delete from ledger_transaction where transaction_id = 'test:d'"],
         "ledger/dhk: row 4 is missing: the head is 4"),
        ([SWAP.format(table="ledger_transaction", of=2, to=99),
          SWAP.format(table="ledger_transaction", of=3, to=2),
          SWAP.format(table="ledger_transaction", of=99, to=3)],
         "ledger/dhk: row 2 (test:c) was altered, inserted or moved"),
        (["insert into ledger_transaction select 'test:e', branch_id, source, 'e', occurred_at,"
          " description, 5, chain_hash, recorded_at from ledger_transaction"
          " where transaction_id = 'test:d'",
          "insert into ledger_entry select 'test:e', line, ledger_account_id, amount_minor,"
          " currency from ledger_entry where transaction_id = 'test:d'"],
         "ledger/dhk: row 5 (test:e) was altered, inserted or moved"),
    ],
)  # fmt: skip
def test_the_first_broken_row_is_named(engine: Engine, tampering: list[str], found: str) -> None:
    with writing(engine) as connection:
        for statement in tampering:
            connection.execute(text(statement))
    assert broken(engine) == [found]


def test_a_forged_row_with_a_right_hash_stands_behind_the_head(engine: Engine) -> None:
    forged = AuditEntry(5, "key-1", "Front desk", "dhk", "forged", "[]")
    linked = audit_link(heads(engine)["audit"], forged)
    row = {
        "chain_number": linked.number, "chain_hash": linked.hash, "occurred_at": 5,
        "actor_id": "key-1", "actor_name": "Front desk", "branch_id": "dhk", "action": "forged",
        "changes": "[]",
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(audit_tables.audit_entry), [row])
    assert broken(engine) == ["audit: row 5 (forged by Front desk) stands behind the recorded head"]


def test_a_chain_made_anew_is_found_by_a_head_that_was_kept(engine: Engine) -> None:
    kept = heads(engine)
    table, head = audit_tables.audit_entry, audit_tables.chain_head
    with writing(engine) as connection:
        previous = None
        for row in entries(engine):
            changed = {"actor_name": "Nobody"} if row.chain_number == 2 else {}
            entry = AuditEntry(
                row.occurred_at,
                row.actor_id,
                changed.get("actor_name", row.actor_name),
                row.branch_id,
                row.action,
                row.changes,
            )
            previous = audit_link(previous, entry)
            connection.execute(
                update(table)
                .where(table.c.chain_number == row.chain_number)
                .values(chain_hash=previous.hash, **changed)
            )
        assert previous is not None
        connection.execute(update(head).where(head.c.chain == "audit").values(hash=previous.hash))
    assert broken(engine) == []
    assert broken(engine, kept) == [
        "audit: row 4 (delete by Front desk) is not the row whose hash was kept"
    ]


def test_what_was_kept_of_a_chain_that_went_on_is_no_break(engine: Engine) -> None:
    kept = heads(engine)
    with writing(engine) as connection:
        ledger.post(connection, [sale("e")], 5)
    assert broken(engine, kept) == []
