"""TCP paths on loopback between a role and a server: they can be cut, frozen and healed."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal

from tests.cluster.processes import free_port

_CHUNK_OCTETS = 65_536

State = Literal["open", "cut", "frozen"]
"""cut: connections are reset and none can be made. frozen: nothing comes through, all stay."""


class TcpPath:
    """One listening port whose connections go on to a target; made and changed in its loop."""

    def __init__(self, port: int, target: str) -> None:
        """Take the port to listen on and the target's host:port."""
        host, _, target_port = target.rpartition(":")
        self._target = host, int(target_port)
        self._port = port
        self._state: State = "open"
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def listen(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def close(self) -> None:
        """Listen no longer."""
        self._server.close()

    def change(self, state: State) -> None:
        """Cut, freeze or heal."""
        self._state = state
        if state == "frozen":
            self._is_flowing.clear()
            return
        self._is_flowing.set()
        if state == "cut":
            for writer in self._writers:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._is_flowing.wait()
        if self._state == "cut":
            _reset(writer)
            return
        try:
            back, onward = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        ends = {writer, onward}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, onward), self._pump(back, writer))
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(_CHUNK_OCTETS):
            await self._is_flowing.wait()
            writer.write(octets)
            await writer.drain()
        # Who ends one direction ends the connection: neither Kafka nor PostgreSQL half-closes.
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: closed with nothing left to linger for (socket(7))."""
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Paths:
    """Every path of a cluster, by name, in one thread."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._paths: dict[str, TcpPath] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="paths", daemon=True)
        self._thread.start()

    def open(self, name: str, target: str, port: int | None = None) -> str:
        """Open a path to a target's host:port; return the host:port to use instead."""
        port = port or free_port()

        async def make() -> None:
            self._paths[name] = TcpPath(port, target)
            await self._paths[name].listen()

        self._run(make())
        return f"127.0.0.1:{port}"

    def change(self, name: str, state: State) -> None:
        """Cut, freeze or heal one path."""

        async def change() -> None:
            self._paths[name].change(state)

        self._run(change())

    def heal(self) -> None:
        """Heal every path."""
        for name in self._paths:
            self.change(name, "open")

    def close(self) -> None:
        """End every connection and the thread."""

        async def end() -> None:
            for path in self._paths.values():
                await path.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)
