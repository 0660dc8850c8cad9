"""The API and the pages."""

from __future__ import annotations

import threading
from collections import Counter

import uvicorn

from api.metrics import METRICS
from infra.process import Context, run_process
from infra.secrets import open_secrets
from infra.wiring import web as wiring

GRACE_SECONDS = 3


def main(context: Context) -> None:
    """Serve until told to stop; open requests get a few seconds to end."""
    counters: Counter[str] = Counter()
    context.metrics.add_source(METRICS, lambda: dict(counters))
    settings = context.settings
    secrets = open_secrets(context.data_dir)
    services = wiring.services(settings, secrets, context.clock.now_ms, counters)
    server = uvicorn.Server(
        uvicorn.Config(
            wiring.application(services),
            host=settings.api.listen_address,
            port=settings.api.listen_port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    # Signals are the process frame's: uvicorn is told by a flag.
    context.metrics.add_readiness_check(
        lambda: [] if server.started else ["the page is not served yet"]
    )
    thread = threading.Thread(target=server.run, name="http")
    thread.start()
    while thread.is_alive() and not context.stop.wait(0.2):
        pass
    if not context.stop.is_set():
        raise RuntimeError(
            f"the page cannot be served on {settings.api.listen_address}:"
            f"{settings.api.listen_port} (is the port taken?)"
        )
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    run_process("web", main)
