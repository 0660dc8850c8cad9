"""Sockets for collectors: dual stack, large receive buffers, the kernel's count of drops."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

_SO_RCVBUFFORCE = 33
"""Linux: SO_RCVBUF beyond net.core.rmem_max, for a process with CAP_NET_ADMIN (socket(7))."""

ANY_HOST = "*"
DATAGRAM_OCTETS_MAX = 65_535
_MAPPED = bytes(10) + b"\xff\xff"


@dataclasses.dataclass(frozen=True, slots=True)
class BoundSocket:
    """A bound UDP socket, its local port, and the receive buffer the system gave, in octets.

    warning is "" or says what the buffer was capped to and which setting lifts the cap.
    """

    socket: socket.socket
    port: int
    receive_buffer_octets: int
    warning: str


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``[ipv6]:port`` or ``*:port``; ValueError else."""
    host, mark, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:2055")
    if not mark or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not host:port (for example *:2055 or [::1]:2055)")
    return host, int(port)


def open_udp(listen: str, receive_buffer_octets: int) -> BoundSocket:
    """Bind one UDP socket with a receive buffer as near to the wanted size as the system gives.

    ``*`` takes IPv4 and IPv6 on one socket, or IPv4 alone where the system has no IPv6. Raises
    ValueError for a bad address and OSError, naming the address, where it cannot be bound.
    """
    host, port = parse_listen(listen)
    try:
        bound = _bind_any(port) if host == ANY_HOST else _bind(host, port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on UDP {listen}: {error.strerror}") from error
    granted = _grow_receive_buffer(bound, receive_buffer_octets)
    warning = ""
    if granted < receive_buffer_octets:
        warning = (
            f"UDP {listen}: the receive buffer is {granted} octets, {receive_buffer_octets} were"
            " wanted; datagrams may be lost in a burst."
            f" Raise the limit: sysctl -w net.core.rmem_max={receive_buffer_octets}"
        )
    return BoundSocket(bound, int(bound.getsockname()[1]), granted, warning)


def open_all(listen: Iterable[str], receive_buffer_octets: int) -> list[BoundSocket]:
    """Bind every address, or none: on a failure those already bound are closed."""
    bound: list[BoundSocket] = []
    try:
        bound.extend(open_udp(address, receive_buffer_octets) for address in listen)
    except BaseException:
        for opened in bound:
            opened.socket.close()
        raise
    return bound


def open_tcp(listen: str, backlog: int) -> socket.socket:
    """Return a listening TCP socket that does not block; `*` and errors as in `open_udp`."""
    host, port = parse_listen(listen)
    kind = socket.SOCK_STREAM
    try:
        bound = _bind_any(port, kind) if host == ANY_HOST else _bind(host, port, kind)
        bound.listen(backlog)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on TCP {listen}: {error.strerror}") from error
    bound.setblocking(False)
    return bound


def _bind_any(port: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    try:
        bound = socket.socket(socket.AF_INET6, kind)
    except OSError:
        return _bind("0.0.0.0", port, kind)
    try:
        _reuse(bound, kind)
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("::", port))
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return _bind("0.0.0.0", port, kind)
        raise
    return bound


def _bind(host: str, port: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    family, _, protocol, _, address = socket.getaddrinfo(
        host, port, type=kind, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        _reuse(bound, kind)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _reuse(bound: socket.socket, kind: int) -> None:
    # What connections of a former process left in the system must not keep a new one from the port.
    if kind == socket.SOCK_STREAM:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _grow_receive_buffer(opened: socket.socket, wanted_octets: int) -> int:
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            opened.setsockopt(socket.SOL_SOCKET, option, wanted_octets)
        except OSError:
            continue  # SO_RCVBUFFORCE needs a capability; SO_RCVBUF never fails, it is capped.
        if _receive_buffer(opened) >= wanted_octets:
            break
    return _receive_buffer(opened)


def _receive_buffer(opened: socket.socket) -> int:
    # Linux doubles the value for its own bookkeeping and reports the double (socket(7)).
    reported = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return reported // 2 if hasattr(socket, "SO_PEERCRED") else reported


def to_address(host: str) -> bytes:
    """Return the 16 octets of an address as `recvfrom` gives it, IPv4 mapped, scope dropped."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return _MAPPED + socket.inet_pton(socket.AF_INET, host)


def kernel_drops(opened: Iterable[socket.socket]) -> int:
    """Return how many datagrams the kernel dropped for these sockets since each was opened."""
    return sum(socket_drops(opened))


def socket_drops(opened: Iterable[socket.socket]) -> list[int]:
    """Return how many datagrams the kernel dropped for each socket since it was opened.

    Read from /proc/net/udp and udp6 by inode; 0 where the system has no such files.
    """
    dropped = dict(_udp_table())
    return [dropped.get(os.fstat(each.fileno()).st_ino, 0) for each in opened]


def _udp_table() -> Iterator[tuple[int, int]]:
    # Columns of proc_net_udp: …, inode is the tenth, drops the last.
    for name in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = Path(name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            yield int(columns[9]), int(columns[-1])
