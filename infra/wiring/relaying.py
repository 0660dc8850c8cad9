"""The relay of accounting to a second server: which log it reads, and where it stands."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence

from collectors.adapters.radius_relay import start_relay
from collectors.adapters.relay_position import RelayPosition, relayed_through
from collectors.adapters.relay_sources import RelaySource, spooled_packets
from collectors.metrics import Counters
from collectors.radius.relay_packets import TAG_OCTETS
from infra.process import Context
from infra.settings import Settings
from infra.wiring.paths import ACCOUNTING_LOG, log_directory, relay_path


@contextlib.contextmanager
def relaying(context: Context, counters: Counters) -> Iterator[None]:
    """Relay accounting to the second server, where one is set, for the life of a collector.

    Raises OSError where the position cannot be opened.
    """
    settings, config = context.settings, context.settings.collectors.radius.relay
    if not config.server:
        yield
        return
    position = RelayPosition(relay_path(settings), secrets.token_bytes(TAG_OCTETS))
    relay = start_relay(
        config, lambda: relay_sources(settings), position, context.clock.now_ms, counters
    )
    try:
        yield
    finally:
        relay.finish()


def relay_sources(settings: Settings) -> Sequence[RelaySource]:
    """Return the logs that are relayed: the raw log, or the spools of its generations in order."""
    if settings.mode == "embedded":
        return [RelaySource(ACCOUNTING_LOG, log_directory(settings, ACCOUNTING_LOG))]
    root = settings.data_dir / "spool"
    names = [path.name for path in root.glob(f"{ACCOUNTING_LOG}*") if path.is_dir()]
    # Later generations have longer numbers: by length first, the names are in their order.
    names.sort(key=lambda name: (len(name), name))
    return [RelaySource(name, root / name, spooled_packets) for name in names]


def relayed_number(settings: Settings, log: str) -> int | None:
    """Return the block through which a log is relayed, None where nothing is relayed."""
    if not settings.collectors.radius.relay.server:
        return None
    return relayed_through(relay_path(settings), log)
