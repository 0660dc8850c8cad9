"""Founds the demo's ISP through the API, in process, before the first packet arrives."""

from __future__ import annotations

import itertools
from typing import Any

import httpx

from infra.demonstration.tariffs import (
    BRANCH,
    PLAN_ROUND,
    PLANS,
    TOP_UP_MINOR,
    family,
    person,
)
from infra.simulation.config import SimulationConfig
from infra.simulation.network import NetworkConfig, pool_of, user_name_of


class Founding:
    """Creates branch, plans, accounts, pools and lines; what is there already is left alone.

    client is an httpx client of the API; an answer other
    than success raises RuntimeError with the API's own words.
    """

    def __init__(self, client: httpx.AsyncClient, network: SimulationConfig) -> None:
        """Remember with whom to speak and how many lines there are."""
        self._client = client
        self._network = NetworkConfig(
            subscribers=network.subscribers,
            pools=network.pools,
            pool_members=network.pool_members,
        )

    async def is_complete(self) -> bool:
        """Return whether the last line exists: the founding ran to its end before."""
        last = user_name_of(self._network.subscribers - 1)
        return bool((await self._get(f"/v1/subscribers?q={last}&limit=1"))["items"])

    async def run(self) -> None:
        """Found everything."""
        await self._post("/v1/branches", BRANCH)
        for plan_id, (name, document) in PLANS.items():
            await self._post(
                "/v1/plans",
                {
                    "plan_id": plan_id,
                    "branch_id": BRANCH["branch_id"],
                    "name": name,
                    "document": document,
                },
            )
        pools: dict[int, dict[str, Any]] = {}
        rounds = itertools.cycle(PLAN_ROUND)
        for index in range(self._network.subscribers):
            pool_number = pool_of(index, self._network)
            if pool_number is None:
                await self._found_line(index, next(rounds))
                continue
            if pool_number not in pools:
                pools[pool_number] = await self._found_pool(pool_number)
            await self._found_member(index, pools[pool_number])

    async def _account(self, name: str) -> str:
        made = await self._post("/v1/accounts", {"branch_id": BRANCH["branch_id"], "name": name})
        return str(made["account_id"])

    async def _found_pool(self, number: int) -> dict[str, Any]:
        account_id = await self._account(family(number))
        pool = await self._post("/v1/pools", {"account_id": account_id, "name": family(number)})
        await self._post("/v1/subscriptions", {"rating_key": pool["pool_id"], "plan_id": "family"})
        return pool

    async def _found_member(self, index: int, pool: dict[str, Any]) -> None:
        member = await self._post(
            "/v1/subscribers",
            {
                "account_id": pool["account_id"],
                "user_name": user_name_of(index),
                "name": person(index),
            },
        )
        await self._post(
            f"/v1/pools/{pool['pool_id']}/members", {"subscriber_id": member["subscriber_id"]}
        )

    async def _found_line(self, index: int, plan_id: str) -> None:
        line = await self._post(
            "/v1/subscribers",
            {
                "account_id": await self._account(person(index)),
                "user_name": user_name_of(index),
                "name": person(index),
                "plan_id": plan_id,
            },
        )
        if plan_id == "prepaid":
            await self._post(
                "/v1/top-ups",
                {
                    "rating_key": line["rating_key"],
                    "amount_minor": TOP_UP_MINOR,
                    "currency": BRANCH["currency"],
                },
            )

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, await self._client.post(path, json=body))

    async def _get(self, path: str) -> dict[str, Any]:
        return self._answer("GET", path, await self._client.get(path))

    @staticmethod
    def _answer(method: str, path: str, response: httpx.Response) -> dict[str, Any]:
        if response.status_code >= 300:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        answer = response.json()
        assert isinstance(answer, dict), f"{method} {path} answered no object"
        return answer
