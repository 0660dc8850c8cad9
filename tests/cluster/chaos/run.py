"""One seed from the first process to the last verdict."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.chaos.audit import Audit, Verdict, ends, verdict_of
from tests.cluster.chaos.cluster import Cluster
from tests.cluster.chaos.faults import Chaos
from tests.cluster.chaos.outside import MINUTE_MS, Clerk, Network, first_balance_minor, found
from tests.cluster.chaos.probes import Probes, table_of
from tests.infra.waiting import wait_until
from tests.simulation.auditor import Auditor
from tests.simulation.demonstrated import auditor_of

LINES = 24
PRODUCERS = ("flows", "radius", "worker-0", "worker-1")
_DRAIN_SECONDS = 120.0
_AFTER_DRAIN_MS = 15_000


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def live(
    directory: Path, seconds: float, seed: int, told: Callable[[str], None] = say
) -> list[Verdict]:
    """Bring a cluster up, hurt it for so many seconds, let it settle, and audit it.

    The month ends amid the faults and, in a long run, is closed and billed amid them too.
    """
    started = time.monotonic()
    lateness = min(120, max(40, int(seconds) // 5))
    cluster = Cluster(
        directory,
        lines=LINES,
        minutes=max(1, int(seconds / 2) // 60),
        lateness=lateness,
        ack_after=("spool", "log")[seed % 2],
    )
    try:
        cluster.start_servers()
        asyncio.run(found(cluster))
        minute = cluster.clock.now_ms() // MINUTE_MS + 1
        cluster.start_roles()
        while cluster.clock.now_ms() < minute * MINUTE_MS:
            cluster.look_after()
            time.sleep(0.1)
        # Only now is every line where its pool's sale counts it.
        auditor = auditor_of(cluster.items, lateness * 1000)
        told(f"{len(cluster.roles)} processes run after {time.monotonic() - started:.0f} s")
        return _hurt_and_audit(cluster, auditor, seconds, seed, told)
    finally:
        cluster.abandon()


def _hurt_and_audit(
    cluster: Cluster, auditor: Auditor, seconds: float, seed: int, told: Callable[[str], None]
) -> list[Verdict]:
    month = auditor.period_of(min(sale.from_at for sale in auditor.sales))
    left_seconds = (month[1] - cluster.clock.now_ms()) / 1000
    told(
        f"the month ends in {left_seconds:.0f} s and closes in"
        f" {(auditor.close_at(month) - cluster.clock.now_ms()) / 1000:.0f} s"
    )
    prepaid = [sale.key for sale in auditor.sales if sale.tariff.is_prepaid]
    logins = {line["subscriber_id"]: line["user_name"] for line in cluster.items("/v1/subscribers")}
    network, clerk = Network(cluster), Clerk(cluster, seed, prepaid)
    probes = Probes(cluster, lambda: len(network.answered))
    audit = Audit(cluster, auditor, month, logins)
    try:
        network.start()
        clerk.start()
        probes.start()
        chaos = Chaos(cluster, probes, seed)
        chaos.run(seconds, told)
        settling = time.monotonic()
        wait_until(lambda: _all_run(cluster), "every role to run again", 60)
        cluster.wait_for_the_clock(auditor.close_at(month), "the month to close", 300)
        clerk.end()
        network.drain()
        wait_until(lambda: _is_quiet(cluster, network), "every request's answer", _DRAIN_SECONDS)
        drained_at = cluster.clock.now_ms()
        cluster.wait_for_the_clock(drained_at + _AFTER_DRAIN_MS, "the stages to settle", 120)
        told(f"settled after {time.monotonic() - settling:.0f} s")
        for event in network.answered:
            auditor.truth.report(event, event.event_seconds * 1000)
        return _verdicts(cluster, audit, network, clerk, told)
    finally:
        probes.end()
        network.end()
        audit.close()
        for line in table_of(probes.wounds):
            told(line)


def _all_run(cluster: Cluster) -> bool:
    cluster.look_after()
    return all(role.runs for role in cluster.roles.values()) and cluster.answers()


def _is_quiet(cluster: Cluster, network: Network) -> bool:
    cluster.look_after()
    time.sleep(0.1)
    return network.is_quiet


def _verdicts(
    cluster: Cluster,
    audit: Audit,
    network: Network,
    clerk: Clerk,
    told: Callable[[str], None],
) -> list[Verdict]:
    verdicts: list[Verdict] = []

    def judge(check: Callable[[], Verdict]) -> None:
        verdicts.append(verdict_of(check))
        told(str(verdicts[-1]))

    judge(audit.invoices)
    judge(audit.outbox)
    statuses = {name: cluster.roles[name].stop() for name in PRODUCERS}
    rated = audit.rated()
    judge(functools.partial(audit.numbers, rated))
    judge(functools.partial(audit.octets, rated, network.answered))
    received = {
        key: clerk.received.get(key, 0) + first_balance_minor() for key in clerk.rating_keys
    }
    top_ups = f"{clerk.top_ups} top-ups asked for {clerk.top_ups + clerk.repeats} times"
    judge(functools.partial(audit.balances, received, top_ups))
    judge(functools.partial(audit.warehouse, rated))
    judge(audit.ledger)
    statuses |= {
        name: role.stop()
        for name, role in cluster.roles.items()
        if name not in statuses and name != "store"
    }
    judge(lambda: ends(statuses))
    judge(audit.alarms)
    for role in cluster.roles.values():
        own = f", {len(role.own_ends)} times by itself" if role.own_ends else ""
        told(f"{role.name} started {role.starts} times{own}")
    return verdicts
