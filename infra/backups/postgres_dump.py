"""PostgreSQL through its own pg_dump and pg_restore, at one snapshot, without words to hide.

Server, user and password go to the programs as PG* variables, never as arguments, which every
user of the machine could read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import make_url

from infra.backups.manifest import BackupError

_QUERY_VARIABLES = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "host": "PGHOST",
    "port": "PGPORT",
    "options": "PGOPTIONS",
}
"""What a URL may say behind its `?`, and libpq's variable for it."""

_OPTIONS = ("--no-owner", "--no-privileges", "--no-password")


def variables_of(url: str) -> dict[str, str]:
    """Return libpq's variables for a database URL; BackupError for a parameter it has none for."""
    parsed = make_url(url)
    values = {
        "PGHOST": parsed.host,
        "PGPORT": str(parsed.port) if parsed.port else None,
        "PGUSER": parsed.username,
        "PGPASSWORD": parsed.password,
        "PGDATABASE": parsed.database,
    }
    found = {name: str(value) for name, value in values.items() if value}
    for name, value in parsed.query.items():
        if name not in _QUERY_VARIABLES or not isinstance(value, str):
            raise BackupError(f"cluster.database_url: pg_dump cannot be told {name!r}")
        found[_QUERY_VARIABLES[name]] = value
    return found


def dump(url: str, target: Path, *, snapshot: str) -> None:
    """Write the database as of an exported snapshot to a file of pg_dump's custom format.

    BackupError with pg_dump's own words where it fails or is not installed.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        _run(
            ["pg_dump", *_OPTIONS, "--format=custom", f"--snapshot={snapshot}"],
            variables_of(url),
            stdout=file.fileno(),
        )
        file.flush()
        os.fsync(file.fileno())


def restore(url: str, source: Path) -> None:
    """Fill an empty database in one transaction: all of the dump, or nothing.

    BackupError with pg_restore's own words where it fails or is not installed.
    """
    variables = variables_of(url)
    database = f"--dbname={variables.get('PGDATABASE', 'flowrate')}"
    _run(
        ["pg_restore", *_OPTIONS, "--single-transaction", "--exit-on-error", database, str(source)],
        variables,
        stdout=subprocess.DEVNULL,
    )


def _run(command: list[str], variables: Mapping[str, str], *, stdout: int) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise BackupError(
            f"{command[0]} is not installed (Debian: apt-get install postgresql-client);"
            " it must be as new as the server"
        )
    done = subprocess.run(
        [program, *command[1:]],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BackupError(f"{command[0]}: {done.stderr.strip()[-1000:]}")
