"""The business side of the simulated ISP: real requests to the real API, in process.

Whatever the API accepts the auditor is told of in its own words, and nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, cast

import httpx
import polars as pl
from sqlalchemy import Connection, Engine

from api.app import create_app
from api.config import ApiConfig
from api.ports import Services, UsageQueries
from tests.simulation.auditor import Auditor
from tests.simulation.catalog import TARIFFS, document_of
from tests.simulation.tariffs import Tariff

TOKEN = "frk_simulation"


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """An office of the simulated ISP; ids made for it begin with `ids`."""

    branch_id: str
    currency: str
    invoice_prefix: str
    ids: str = ""


DHANMONDI = Branch("dhanmondi", "BDT", "DHM")


class Place(Protocol):
    """What a business needs of the world around it."""

    truth: Any
    database: Engine

    def now_ms(self) -> int:
        """Return what time it is."""
        ...

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        ...


class Business:
    """What clerks do: found, sell, move, top up. Names are logins and pools' own names."""

    def __init__(
        self,
        world: Place,
        timezone: str,
        lateness_ms: int,
        tariffs: Sequence[Tariff] = TARIFFS,
        branch: Branch = DHANMONDI,
    ) -> None:
        """Open the branch and its price list."""
        self._world = world
        self.timezone = timezone
        self._branch = branch
        self.auditor = Auditor(world.truth, timezone, lateness_ms)
        self._ids: Counter[str] = Counter()
        services = Services(
            engine=world.database,
            usage=cast(UsageQueries, None),  # nobody here asks the warehouse
            append_rows=world.append_rows,
            now_ms=world.now_ms,
            new_id=self._new_id,
            new_token=bytes,
            secret=b"simulation",
            operator_token=TOKEN,
            config=ApiConfig(account_event_wait_seconds=0.0),
        )
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(services)),
            headers={"Authorization": f"Bearer {TOKEN}"},
            base_url="http://simulation",
        )
        self.keys: dict[str, str] = {}
        self.accounts: dict[str, str] = {}
        self.subscriptions: dict[str, str] = {}
        self._tariffs: dict[str, Tariff] = {}
        self._open_branch(tariffs)

    def _new_id(self, prefix: str) -> str:
        self._ids[prefix] += 1
        return f"{prefix}_{self._branch.ids}{self._ids[prefix]:06d}"

    def _open_branch(self, tariffs: Sequence[Tariff]) -> None:
        self.post(
            "/v1/branches",
            branch_id=self._branch.branch_id,
            name=self._branch.branch_id.capitalize(),
            timezone=self.timezone,
            currency=self._branch.currency,
            invoice_prefix=self._branch.invoice_prefix,
        )
        for tariff in tariffs:
            self.publish(tariff, document_of(tariff, self._branch.currency))

    def publish(self, tariff: Tariff, document: dict[str, Any]) -> None:
        """Put a plan on the price list."""
        self._tariffs[tariff.plan_id] = tariff
        self.post(
            "/v1/plans",
            plan_id=tariff.plan_id,
            branch_id=self._branch.branch_id,
            name=tariff.plan_id.capitalize(),
            document=document,
        )

    def close(self) -> None:
        """Let go of the API."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a command. Raises RuntimeError with the API's words where it refuses."""
        return self._answer(self._runner.run(self._client.post(path, json=body)))

    def get(self, path: str) -> dict[str, Any]:
        """Ask for something. Raises RuntimeError as `post`."""
        return self._answer(self._runner.run(self._client.get(path)))

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        if response.status_code >= 300:
            raise RuntimeError(f"{response.request.url}: {response.status_code} {response.text}")
        answer = response.json()
        assert isinstance(answer, dict), "an answer is an object"
        return answer

    # -- what clerks do ------------------------------------------------------------------------

    def next_minute(self) -> int:
        """Return the start of the next minute, ms."""
        return self._world.now_ms() // 60_000 * 60_000 + 60_000

    def _opened(self, name: str) -> dict[str, Any]:
        return self.post("/v1/accounts", branch_id=self._branch.branch_id, name=name)

    def open_account(self, name: str) -> str:
        """Open an account."""
        account_id = str(self._opened(name)["account_id"])
        self.accounts[name] = account_id
        return account_id

    def connect(
        self, login: str, plan_id: str | None = None, account: str = "", prefix: str = ""
    ) -> str:
        """Connect a line, with a plan of its own or without; return its rating key."""
        at = self.next_minute()
        account_id = self.accounts[account] if account else self.open_account(login)
        line = self.post(
            "/v1/subscribers",
            account_id=account_id,
            user_name=login,
            name=login,
            static_prefixes=[prefix] if prefix else [],
            plan_id=plan_id,
            effective_at=text_of(at),
        )
        key = str(line["subscriber_id"])
        self.keys[login] = key
        self.auditor.move(login, key, at)
        if prefix:
            self._world.truth.static_prefixes[login] = (prefix, at)
        if plan_id is not None:
            self.auditor.sell(account_id, key, self._tariffs[plan_id], at)
            [held] = self.get(f"/v1/subscriptions?rating_key={key}")["items"]
            self.subscriptions[login] = held["subscription_id"]
        return key

    def open_pool(self, name: str, plan_id: str) -> str:
        """Open a pool with an account and a plan of its own; return its rating key."""
        at = self.next_minute()
        account_id = self.open_account(name)
        key = str(self.post("/v1/pools", account_id=account_id, name=name)["pool_id"])
        self.keys[name] = key
        sold = self.post(
            "/v1/subscriptions", rating_key=key, plan_id=plan_id, starts_at=text_of(at)
        )
        self.subscriptions[name] = sold["subscription_id"]
        self.auditor.sell(account_id, key, self._tariffs[plan_id], at)
        return key

    def join(self, login: str, pool: str) -> None:
        """Let a line join a pool at the next minute."""
        at = self.next_minute()
        path = f"/v1/pools/{self.keys[pool]}/members"
        self.post(path, subscriber_id=self.keys[login], effective_at=text_of(at))
        self.auditor.move(login, self.keys[pool], at)

    def leave(self, login: str, pool: str) -> None:
        """Let a line leave a pool at the next minute, back to itself."""
        at = self.next_minute()
        path = f"/v1/pools/{self.keys[pool]}/members/{self.keys[login]}/leave"
        self.post(path, effective_at=text_of(at))
        self.auditor.move(login, self.keys[login], at)

    def change_plan(self, name: str, plan_id: str) -> None:
        """Put a line or pool on another plan at the next minute."""
        at = self.next_minute()
        path = f"/v1/subscriptions/{self.subscriptions[name]}/change-plan"
        changed = self.post(path, plan_id=plan_id, effective_at=text_of(at))
        self.subscriptions[name] = changed["subscription_id"]
        self.auditor.sell(changed["account_id"], self.keys[name], self._tariffs[plan_id], at)

    def end(self, name: str) -> None:
        """End what a line or pool has at the next minute."""
        at = self.next_minute()
        path = f"/v1/subscriptions/{self.subscriptions[name]}/end"
        self.post(path, effective_at=text_of(at))
        self.auditor.end(self.keys[name], at)

    def top_up(self, login: str, amount_minor: int) -> None:
        """Add money to a prepaid line's balance."""
        key = self.keys[login]
        currency = self._branch.currency
        self.post("/v1/top-ups", rating_key=key, amount_minor=amount_minor, currency=currency)
        self.auditor.top_up(key, amount_minor)


def text_of(at: int) -> str:
    """Return an instant (ms) as the API takes it."""
    return datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat()
