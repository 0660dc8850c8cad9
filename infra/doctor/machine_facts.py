"""Facts of the machine, read and never changed: ports, kernel settings, disk, versions.

One file is written and removed again: the synced writes that are timed need one.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib.metadata
import os
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from collectors.adapters.sockets import ANY_HOST, open_udp, parse_listen
from infra.doctor.machine import DiskFact, PortFact

SYNCED_WRITES = 20
SYNCED_OCTETS = 4_096
_LISTEN = "0A"
_TIME_ERROR = 5
_TIMEX_OCTETS = 256
_VERSION, _UTC_TIME = 0xA0, 0x17


def port_fact(key: str, listen: str, own_pids: frozenset[int], *, is_tcp: bool) -> PortFact:
    """Return who has the port of ``host:port``, ``*`` being every address."""
    try:
        host, port = parse_listen(listen)
    except ValueError as error:
        return PortFact(key, listen, "refused", str(error))
    held = [entry for entry in _table(is_tcp) if entry[0] == port]
    if held:
        pids = _holders({inode for _, inode, _ in held})
        if pids & own_pids or any(_is_flowrate(pid) for pid in pids):
            return PortFact(key, listen, "ours", drops=sum(drops for _, _, drops in held))
        names = ", ".join(sorted(_name(pid) for pid in pids))
        if not _is_free(host, port, is_tcp):
            return PortFact(key, listen, "taken", names)
    try:
        _bind(host, port, is_tcp)
    except OSError as error:
        return PortFact(key, listen, "refused", error.strerror or str(error))
    return PortFact(key, listen, "free")


def _is_free(host: str, port: int, is_tcp: bool) -> bool:
    """Return whether the port can be had although another address of this host has it."""
    try:
        _bind(host, port, is_tcp)
    except OSError:
        return False
    return True


def _bind(host: str, port: int, is_tcp: bool) -> None:
    if not is_tcp:
        open_udp(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", 1).socket.close()
        return
    address = "0.0.0.0" if host == ANY_HOST else host
    family, kind, protocol, _, to = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(to)


def granted_octets(asked_octets: int) -> int:
    """Return the receive buffer that this user's sockets get where so much is asked for."""
    probe = open_udp("127.0.0.1:0", asked_octets)
    probe.socket.close()
    return probe.receive_buffer_octets


def _table(is_tcp: bool) -> Iterator[tuple[int, int, int]]:
    """Yield (local port, inode, drops) of every socket that listens."""
    names = ("tcp", "tcp6") if is_tcp else ("udp", "udp6")
    for name in names:
        try:
            lines = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if is_tcp and columns[3] != _LISTEN:
                continue
            drops = 0 if is_tcp else int(columns[-1])
            yield int(columns[1].rpartition(":")[2], 16), int(columns[9]), drops


def _holders(inodes: set[int]) -> frozenset[int]:
    """Return the processes with one of these sockets open, as far as we may look."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) in wanted:
                        found.add(int(process.name))
                        break
    return frozenset(found)


def _is_flowrate(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"infra.processes." in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()} (pid {pid})"
    return f"pid {pid}"


def sysctls() -> dict[str, int]:
    """Return the kernel's settings that matter, by name; those that this system has."""
    found = {}
    for name in ("net.core.rmem_max", "net.core.netdev_max_backlog", "net.ipv4.udp_mem"):
        with contextlib.suppress(OSError, ValueError):
            path = Path("/proc/sys") / name.replace(".", "/")
            numbers = [int(part) for part in path.read_text(encoding="ascii").split()]
            pages = os.sysconf("SC_PAGE_SIZE") if name.endswith("udp_mem") else 1
            found[name] = numbers[-1] * pages
    return found


def is_synchronised() -> bool | None:
    """Return whether the kernel's clock is kept by NTP (adjtimex(2)); None where it is not told."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS)))
    return None if state < 0 else state != _TIME_ERROR


def certificate_end_at(path: Path) -> int | None:
    """Return when (ms) the first certificate of a PEM file ends; None where there is none.

    notAfter is the second time of the fifth element of tbsCertificate, the fourth where no version
    is written (RFC 5280 §4.1).
    """
    try:
        text = path.read_text(encoding="ascii")
        begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
        der = ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)])
        (_, certificate), *_ = _elements(der)
        (_, signed), *_ = _elements(certificate)
        elements = _elements(signed)
        validity = elements[4 if elements[0][0] == _VERSION else 3][1]
        kind, moment = _elements(validity)[1]
        form = "%y%m%d%H%M%S%z" if kind == _UTC_TIME else "%Y%m%d%H%M%S%z"
        ends = datetime.datetime.strptime(moment.decode(), form).astimezone(datetime.UTC)
        return int(ends.timestamp()) * 1000
    except (OSError, ValueError, IndexError):
        return None


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return (tag, content) of the elements that stand one behind the other (X.690 §8.1)."""
    found, at = [], 0
    while at < len(der):
        tag, length, behind = der[at], der[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[behind : behind + count], "big")
            behind += count
        found.append((tag, der[behind : behind + length]))
        at = behind + length
    return found


def disk_fact(directory: Path) -> DiskFact:
    """Return the room of a directory's disk, as far as this user may use it. Raises OSError."""
    told = os.statvfs(directory)
    free, total = told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    return DiskFact(str(directory), free, total)


def synced_seconds(directory: Path) -> list[float]:
    """Return how long synced writes took, one after the other; none where we may not write."""
    took = []
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
            for _ in range(SYNCED_WRITES):
                began = time.perf_counter()
                file.write(bytes(SYNCED_OCTETS))
                file.flush()
                os.fdatasync(file.fileno())
                took.append(time.perf_counter() - began)
    except OSError:
        return []
    return took


def installed_versions() -> dict[str, str]:
    """Return every installed distribution with its version."""
    return {each.name: each.version for each in importlib.metadata.distributions()}


def needed_names() -> Sequence[str]:
    """Return the distributions that Flowrate requires, without extras."""
    try:
        requires = importlib.metadata.requires("flowrate") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    plain = [each for each in requires if "extra ==" not in each]
    return [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in plain]


def lock_text() -> str:
    """Return the lock file beside the code, "" where there is none (an installed wheel)."""
    with contextlib.suppress(OSError):
        root = Path(__file__).resolve().parents[2]
        return (root / "requirements.lock").read_text(encoding="utf-8")
    return ""
