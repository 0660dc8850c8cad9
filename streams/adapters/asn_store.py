"""Files of AS numbers in the database, by digest: every process and every repair has them.

A file is written once and never changed or deleted: flows of its time may be decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy import Connection

from rating.asn_table import AsnTable, decode_table, encode_table

_METADATA = sa.MetaData()
_FILE = sa.Table(
    "asn_file",
    _METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("networks", sa.BigInteger, nullable=False),
    sa.Column("added_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
"""name is the file's, for people; added_at is ms."""

TABLES_HELD = 4
"""Tables in memory at once: those of the epochs that flows of one batch lie in."""


def create_table(connection: Connection) -> None:
    """Make the table where absent."""
    _METADATA.create_all(connection)


def has_file(connection: Connection, digest: str) -> bool:
    """Return whether a file is there."""
    return connection.execute(sa.select(1).where(_FILE.c.digest == digest)).first() is not None


def add_file(
    connection: Connection, digest: str, name: str, added_at: int, table: AsnTable
) -> None:
    """Add a file that is not there."""
    body = encode_table(table)
    row = {"digest": digest, "name": name, "networks": table.networks, "added_at": added_at}
    connection.execute(sa.insert(_FILE).values(**row, body=body))


def name_of(connection: Connection, digest: str) -> str:
    """Return the name under which a file was added, "" where it is not there."""
    found = connection.execute(sa.select(_FILE.c.name).where(_FILE.c.digest == digest)).scalar()
    return str(found or "")


class StoredAsnTables:
    """`rating.asn_table.AsnTables` over the database; a table is read when first asked for."""

    def __init__(self, read: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Read through connections of `read`, each for one table."""
        self._read = read
        self._tables: dict[str, AsnTable] = {}

    def table(self, digest: str) -> AsnTable:
        """Return the table of a file. LookupError where the database does not have it."""
        table = self._tables.pop(digest, None)
        if table is None:
            with self._read() as connection:
                body = connection.execute(
                    sa.select(_FILE.c.body).where(_FILE.c.digest == digest)
                ).scalar()
            if body is None:
                raise LookupError(f"the database has no AS file {digest}")
            table = decode_table(bytes(body))
        self._tables[digest] = table
        while len(self._tables) > TABLES_HELD:
            del self._tables[next(iter(self._tables))]
        return table
