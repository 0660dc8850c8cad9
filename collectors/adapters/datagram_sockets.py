"""Datagrams read and answered by the batch, each answer from the address that was asked.

`open_datagrams` gives a socket one of two shells of the same port, `DatagramSocket`: `Batched`
where the system has recvmmsg(2) and sendmmsg(2), else `Single`. A call of Python's own for each
datagram, with a tuple for its address and a list for its ancillary data, was a quarter of what an
accounting request costs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from collectors.adapters.many_messages import MESSAGE, message_calls, messages_over, takes_many
from collectors.adapters.sockets import to_address

_MESSAGES_PER_CALL_MAX = 64
"""Enough that the call itself costs nothing beside them, and their buffers stay in the cache."""
_SOURCES_MAX = 4_096
"""Senders whose address is kept decoded; forged ones must not grow it for ever."""
_ANCILLARY_OCTETS = 128
_NAME_OCTETS = 32
"""At least a sockaddr_in6 (28 octets)."""
_ROW_OCTETS = _NAME_OCTETS + _ANCILLARY_OCTETS
_SHORT_NAME_OCTETS, _LONG_NAME_OCTETS = 16, 28
_MAPPED = bytes(10) + b"\xff\xff"
_IP_PKTINFO = 8
_PKTINFO4 = struct.Struct("@i4s4s")
_PKTINFO6 = struct.Struct("@16si")
_FAMILY = struct.Struct("@H")
_CONTROL = struct.Struct("@Nii")
"""struct cmsghdr: octets with this header, level, kind (cmsg(3))."""
Ancillary = tuple[int, int, bytes]
"""Level, kind and data of one control message."""


class Source(NamedTuple):
    """Where a datagram came from: 16 octets of address, the port, and the way back.

    route is for the socket alone that received it.
    """

    address: bytes
    port: int
    socket: DatagramSocket
    route: Any


class DatagramSocket(Protocol):
    """A bound UDP socket that does not block. The order of datagrams is the kernel's.

    What cannot be sent is lost, as any datagram may be; nothing is tried again.
    """

    def receive(self, datagrams_max: int) -> list[tuple[bytes, Source]]:
        """Return what waits, none where nothing does. Raises OSError where the socket is broken.

        Of a datagram longer than `datagram_octets` the first octets come.
        """

    def send(self, answers: Sequence[tuple[bytes, Source]]) -> list[tuple[Source, OSError]]:
        """Send answers, each at most `datagram_octets`; return which were not taken, and why."""


def open_datagrams(opened: socket.socket, datagram_octets: int) -> DatagramSocket:
    """Return the shell of a bound socket, which from now on does not block.

    datagram_octets: the longest datagram that is read whole, and the longest answer.
    """
    opened.setblocking(False)
    _ask_for_local_address(opened)
    shell = Batched if takes_many(opened) else Single
    return shell(opened, datagram_octets)


class Single:
    """One datagram a call: macOS has no other way."""

    def __init__(self, opened: socket.socket, datagram_octets: int) -> None:
        """Take a socket that does not block and tells the local address of each datagram."""
        self._socket = opened
        self._datagram_octets = datagram_octets

    def receive(self, datagrams_max: int) -> list[tuple[bytes, Source]]:
        """Return what waits."""
        received: list[tuple[bytes, Source]] = []
        while len(received) < datagrams_max:
            try:
                datagram, ancillary, _, name = self._socket.recvmsg(
                    self._datagram_octets, _ANCILLARY_OCTETS
                )
            except BlockingIOError:
                break
            route = (_answer_from(ancillary), name)
            received.append((datagram, Source(to_address(name[0]), name[1], self, route)))
        return received

    def send(self, answers: Sequence[tuple[bytes, Source]]) -> list[tuple[Source, OSError]]:
        """Send answers."""
        failed = []
        for octets, source in answers:
            ancillary, name = source.route
            try:
                self._socket.sendmsg([octets], ancillary, 0, name)
            except OSError as error:
                failed.append((source, error))
        return failed


class Batched:
    """Many datagrams a call, through the C library; buffers and headers are made once.

    Each message has a row of its own: the sender's address, then the control messages. A row is
    decoded the first time it is seen, so that the datagrams of one NAS cost a look-up.
    """

    def __init__(self, opened: socket.socket, datagram_octets: int) -> None:
        """Take a socket that does not block and tells the local address of each datagram."""
        calls = message_calls()
        assert calls is not None
        self._receive, self._send = calls
        self._socket = opened
        self._datagram_octets = datagram_octets
        self._incoming = _Messages(datagram_octets)
        self._outgoing = _Messages(datagram_octets)
        self._blank = self._incoming.headers.tobytes()
        self._sources: dict[bytes, Source] = {}

    def receive(self, datagrams_max: int) -> list[tuple[bytes, Source]]:
        """Return what waits."""
        received: list[tuple[bytes, Source]] = []
        while len(received) < datagrams_max:
            wanted = min(datagrams_max - len(received), _MESSAGES_PER_CALL_MAX)
            count = self._receive_some(wanted)
            self._take(count, received)
            if count < wanted:
                break
        return received

    def _receive_some(self, wanted: int) -> int:
        """Read into the first rows; return how many datagrams came."""
        incoming = self._incoming
        # The kernel left what it wrote: lengths in the headers, an address in each row.
        incoming.header_octets[:] = self._blank
        incoming.rows[:] = _BLANK_ROWS
        count = self._receive(
            self._socket.fileno(), incoming.headers_at, wanted, socket.MSG_DONTWAIT, None
        )
        if count >= 0:
            return int(count)
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR):
            return 0
        raise OSError(code, f"recvmmsg: {os.strerror(code)}")

    def _take(self, count: int, received: list[tuple[bytes, Source]]) -> None:
        rows, payloads, width = self._incoming.rows, self._incoming.payloads, self._datagram_octets
        known = self._sources.get
        row_at = at = 0
        for octets in self._incoming.headers["octets"][:count].tolist():
            row = bytes(rows[row_at : row_at + _ROW_OCTETS])
            source = known(row) or self._source(row)
            received.append((bytes(payloads[at : at + octets]), source))
            row_at += _ROW_OCTETS
            at += width

    def _source(self, row: bytes) -> Source:
        """Decode a row: whence, and the row that brings an answer back."""
        if len(self._sources) >= _SOURCES_MAX:
            self._sources.clear()
        port = int.from_bytes(row[2:4], "big")
        if _FAMILY.unpack_from(row)[0] == socket.AF_INET6:
            # Port, flow label, address, scope (struct sockaddr_in6).
            name, address = row[:_LONG_NAME_OCTETS], row[8:24]
        else:
            name, address = row[:_SHORT_NAME_OCTETS], _MAPPED + row[4:8]
        control = b"".join(
            _CONTROL.pack(socket.CMSG_LEN(len(data)), level, kind).ljust(socket.CMSG_LEN(0), b"\0")
            + data.ljust(socket.CMSG_SPACE(len(data)) - socket.CMSG_LEN(0), b"\0")
            for level, kind, data in _answer_from(list(_control_messages(row[_NAME_OCTETS:])))
        )
        back = name.ljust(_NAME_OCTETS, b"\0") + control.ljust(_ANCILLARY_OCTETS, b"\0")
        source = Source(address, port, self, (back, len(name), len(control)))
        self._sources[row] = source
        return source

    def send(self, answers: Sequence[tuple[bytes, Source]]) -> list[tuple[Source, OSError]]:
        """Send answers."""
        failed: list[tuple[Source, OSError]] = []
        for first in range(0, len(answers), _MESSAGES_PER_CALL_MAX):
            some = answers[first : first + _MESSAGES_PER_CALL_MAX]
            self._outgoing.put(some)
            at = 0
            while at < len(some):
                where = self._outgoing.headers_at + at * MESSAGE.itemsize
                sent = self._send(self._socket.fileno(), where, len(some) - at, 0)
                # A number below what was asked for hides why the next one failed: it tells itself.
                at += max(sent, 0)
                if sent < 0 and (code := ctypes.get_errno()) != errno.EINTR:
                    failed.append((some[at][1], OSError(code, os.strerror(code))))
                    at += 1
        return failed


_BLANK_ROWS = bytes(_MESSAGES_PER_CALL_MAX * _ROW_OCTETS)


class _Messages:
    """Headers of messages with the memory that they point to."""

    def __init__(self, datagram_octets: int) -> None:
        count = _MESSAGES_PER_CALL_MAX
        rows = np.zeros((count, _ROW_OCTETS), np.uint8)
        payloads = np.zeros((count, datagram_octets), np.uint8)
        self.headers, self._vectors = messages_over(payloads, datagram_octets, rows)
        self._payloads_at = payloads.ctypes.data
        self.headers["name_octets"] = _NAME_OCTETS
        self.headers["control_at"] = self.headers["name_at"] + np.uintp(_NAME_OCTETS)
        self.headers["control_octets"] = _ANCILLARY_OCTETS
        self.headers_at = self.headers.ctypes.data
        # The views keep the arrays, and the arrays do not move.
        self.header_octets = self.headers.view(np.uint8).data
        self.rows = rows.reshape(-1).data
        self.payloads = payloads.reshape(-1).data

    def put(self, answers: Sequence[tuple[bytes, Source]]) -> None:
        """Make the first messages those of answers, payloads one behind the other."""
        count = len(answers)
        payload = b"".join([octets for octets, _ in answers])
        routes = [source.route for _, source in answers]
        lengths: NDArray[np.uintp] = np.array([len(octets) for octets, _ in answers], np.uintp)
        self.payloads[: len(payload)] = payload
        self.rows[: count * _ROW_OCTETS] = b"".join([row for row, _, _ in routes])
        self._vectors["octets"][:count] = lengths
        self._vectors["at"][:count] = np.cumsum(lengths) - lengths + np.uintp(self._payloads_at)
        self.headers["name_octets"][:count] = [octets for _, octets, _ in routes]
        self.headers["control_octets"][:count] = [octets for _, _, octets in routes]


def _ask_for_local_address(opened: socket.socket) -> None:
    """Have the kernel say which local address each datagram came to (ip(7), RFC 3542 §6)."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _control_messages(octets: bytes) -> Iterator[Ancillary]:
    """Yield the control messages in a buffer that is zeros behind them."""
    head, at = socket.CMSG_LEN(0), 0
    while at + head <= len(octets):
        size, level, kind = _CONTROL.unpack_from(octets, at)
        if size < head:
            return
        yield level, kind, octets[at + head : at + size]
        at += socket.CMSG_SPACE(size - head)


def _answer_from(ancillary: Sequence[Ancillary]) -> list[Ancillary]:
    """Return ancillary data that sends the answer from the address that was asked.

    A NAS drops answers from another address; on a host with several, routing would pick any. The
    interface is left to routing, except for link-local addresses, which mean nothing without it.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address, interface = _PKTINFO6.unpack(data[: _PKTINFO6.size])
            link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            return [(level, kind, _PKTINFO6.pack(address, interface if link_local else 0))]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = _PKTINFO4.unpack(data[: _PKTINFO4.size])
            return [(level, kind, _PKTINFO4.pack(0, local, bytes(4)))]
    return []
