"""Where the collectors append: to segments on this machine, or through a spool to Kafka."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from collectors.metrics import Counters
from infra.process import Context
from infra.trimming import start_trimming
from infra.wiring.logs import log_writer
from rating.ports import TopicWriter


@contextlib.contextmanager
def open_log(context: Context, log: str, counters: Counters) -> Iterator[TopicWriter]:
    """Give the writer of a raw log for the life of a collector. Raises OSError.

    Embedded, old segments are trimmed meanwhile.
    """
    if context.settings.mode == "embedded":
        writer = log_writer(context.settings, log)
        start_trimming(context, writer, log)
        yield writer
        return
    # Here and not above: an embedded process has no use for the Kafka client.
    from infra.wiring.spooling import open_spool

    with open_spool(context, log, counters) as spooling:
        yield spooling
