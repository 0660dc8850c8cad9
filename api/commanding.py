"""One API command is one transaction, done once per Idempotency-Key.

The answer is stored in the transaction that did the work, so there is no moment at which the work
is done and a retry would do it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import Connection, delete, insert, select
from starlette.responses import JSONResponse, Response

from api.keys import Principal
from api.ports import Services
from api.problems import Problem
from api.requests import PrincipalDep, ServicesDep
from api.tables import api_request
from api.writes.transaction import CommandTransaction
from billing.adapters.audit import recorded, write_entry
from billing.adapters.databases import COMMANDS, take_turns, writing

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Repeat a POST with the same key and it is done once: the first answer again.",
        examples=["3f1c2f0e-8d0b-4a34-9a57-0f5d8f0c7a11"],
    ),
]


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000|%00")
"""A NUL as JSON and forms write it: PostgreSQL keeps none in text, so embedded mode takes none."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command answers: the resource, its status and its address.

    kept is what a repeat is answered with where that differs: a secret is shown once.
    """

    model: BaseModel
    status: int = 200
    location: str = ""
    kept: BaseModel | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """A command's answer as stored: JSON text; replayed says that it was done before."""

    status: int
    body: str
    location: str
    replayed: bool = False

    def document(self) -> dict[str, Any]:
        """Return the body as a JSON object."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = {"Location": self.location} if self.location else {}
        if self.replayed:
            headers["Idempotency-Replayed"] = "true"
        return JSONResponse(self.document(), self.status, headers)


@dataclasses.dataclass(frozen=True)
class Command:
    """The right to change something in one request: who, with what, and under which key.

    action is what the audit log says was asked for.
    """

    services: Services
    caller: Principal
    idempotency_key: str | None
    fingerprint: str
    action: str

    def once(self, action: Callable[[CommandTransaction], Done]) -> Answer:
        """Run `action` in one transaction, or return what it answered before.

        Raises a 422 Problem where the key stands for another request; whatever the action raises
        rolls everything back and is not stored.
        """
        with writing(self.services.engine) as connection:
            # What a command reads (is the name taken, does a plan run?) holds until its commit,
            # also beside other API processes.
            take_turns(connection, COMMANDS)
            stored = self._stored(connection)
            if stored is not None:
                return stored
            transaction = CommandTransaction(self.services, self.caller, connection)
            with recorded(connection) as recorder:
                done = action(transaction)
            write_entry(
                connection, recorder, actor_of(self.caller), self.action, transaction.now_at
            )
            answer = Answer(done.status, done.model.model_dump_json(), done.location)
            kept = done.kept or done.model
            self._store(connection, dataclasses.replace(answer, body=kept.model_dump_json()))
        transaction.count()
        return answer

    def _stored(self, connection: Connection) -> Answer | None:
        if self.idempotency_key is None:
            return None
        key = api_request.c
        row = connection.execute(
            select(api_request).where(
                key.key_id == self.caller.key_id, key.idempotency_key == self.idempotency_key
            )
        ).one_or_none()
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            detail = "The first request with this key had another path or body."
            raise Problem("idempotency-key-reused", detail)
        self.services.count("api_idempotent_replays_total", 1)
        return Answer(row.status, row.body, row.location, replayed=True)

    def _store(self, connection: Connection, answer: Answer) -> None:
        if self.idempotency_key is None:
            return
        now = self.services.now_ms()
        oldest = now - self.services.config.idempotency_retention_seconds * 1000
        connection.execute(delete(api_request).where(api_request.c.created_at < oldest))
        row = {
            "key_id": self.caller.key_id,
            "idempotency_key": self.idempotency_key,
            "fingerprint": self.fingerprint,
            "status": answer.status,
            "body": answer.body,
            "location": answer.location,
            "created_at": now,
        }
        connection.execute(insert(api_request).values(row))


def actor_of(caller: Principal) -> tuple[str, str, str]:
    """Return who the audit log says acted: id, name, branch."""
    return caller.key_id, caller.name, caller.branch_id or ""


async def _command(
    request: Request,
    services: ServicesDep,
    principal: PrincipalDep,
    idempotency_key: IdempotencyKey = None,
) -> Command:
    body = await request.body()
    if _NUL.search(body):
        raise Problem("invalid-request", "Text may hold no NUL character.")
    asked = f"{request.method} {request.url.path}"
    fingerprint = hashlib.sha256(f"{asked}\n".encode() + body).hexdigest()
    return Command(services, principal, idempotency_key, fingerprint, asked)


CommandDep = Annotated[Command, Depends(_command)]
"""A POST's or PATCH's right to change something."""
