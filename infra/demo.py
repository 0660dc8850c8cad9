"""`flowrate demo`: Flowrate in embedded mode with a simulated network, in one command.

The network sends real packets over UDP loopback; nothing in the product knows that it is a demo.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
from fastapi import FastAPI

from infra.clock import clock_is_fixed
from infra.demonstration.founding import Founding
from infra.demonstration.settings import choose_ports, ports_are_free, settings_text
from infra.instance_lock import holder_of, is_alive
from infra.process import child_command
from infra.serve import Instance, serve
from infra.settings import load_settings
from infra.supervisor import Program
from infra.wiring import preparation
from infra.wiring import web as wiring
from infra.wiring.paths import database_path

MINUTE_MS = 60_000
LINES = 300

WELCOME = """
  Flowrate runs, with a simulated network of {lines} lines.

    page      {url}
    API       http://{host}:{port}/v1   (key: api_key in {secrets})
    data      {data_dir}   (remove it to start over)

  The month ends 20 s after the first start; the first invoices follow half a minute later.
  Ctrl-C stops everything; `make run` again goes on where it stopped.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the demo until Ctrl-C; return the exit status."""
    options = _parser().parse_args(arguments)
    directory: Path = options.dir
    file = directory / "demo.toml"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(settings_text(choose_ports(), lines=options.lines), encoding="utf-8")
    elif not is_running(directory):
        _move_from_taken_ports(file)
    network = Program("network", child_command("network", file, options.set))
    serve(file, options.set, prepare=_prepare, on_started=_welcome, further=[network])
    return 0


def is_running(directory: Path) -> bool:
    """Return whether an instance holds the data directory (and so its own ports)."""
    holder = holder_of(directory)
    return holder is not None and is_alive(holder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate demo",
        description="Run Flowrate with a simulated network until Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("flowrate-data"),
        metavar="DIRECTORY",
        help="where the demo keeps its data (default: flowrate-data)",
    )
    parser.add_argument(
        "--lines", type=int, default=LINES, metavar="N", help=f"simulated lines ({LINES})"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def _move_from_taken_ports(file: Path) -> None:
    """Write the demo's settings anew where something else has taken one of their ports since."""
    kept = load_settings(file)
    if ports_are_free(kept):
        return
    text = settings_text(choose_ports(), lines=kept.simulation.subscribers)
    file.write_text(text, encoding="utf-8")
    print(f"{file}: a port was taken by another program; written anew with free ones")


def _prepare(instance: Instance) -> None:
    """Bring the database up and found the ISP, as of the minute that runs now.

    While the clock is not fixed, no process has run here: what an interrupted founding left is
    thrown away and begun anew.
    """
    if not clock_is_fixed(instance.settings.data_dir):
        for path in instance.settings.data_dir.glob(f"{database_path(instance.settings).name}*"):
            path.unlink()
    preparation.prepare(instance)
    now = instance.clock.now_ms()
    # The API dates things to the next whole minute: seen from one minute ago, that is this one.
    services = wiring.founding_services(instance, (now // MINUTE_MS) * MINUTE_MS - MINUTE_MS // 2)
    asyncio.run(_found(instance, wiring.application(services)))
    services.engine.dispose()


async def _found(instance: Instance, application: FastAPI) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=application),
        headers={"Authorization": f"Bearer {instance.secrets.api_key}"},
        base_url=f"http://127.0.0.1:{instance.settings.api.listen_port}",
    ) as client:
        founding = Founding(client, instance.settings.simulation)
        if not await founding.is_complete():
            await founding.run()


def _welcome(instance: Instance) -> None:
    api = instance.settings.api
    print(
        WELCOME.format(
            lines=instance.settings.simulation.subscribers,
            url=wiring.login_link(instance),
            host=api.listen_address,
            port=api.listen_port,
            secrets=instance.settings.data_dir / "secrets",
            data_dir=instance.settings.data_dir,
        ),
        flush=True,
    )
