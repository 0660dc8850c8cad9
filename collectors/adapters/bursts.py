"""Many datagrams by one system call, recvmmsg(2), for who keeps them as columns.

A burst costs what one datagram does in Python, and its addresses and lengths are columns from the
start. Where the C library has no such call datagrams are taken one by one into the same columns.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

import numpy as np
from numpy.typing import NDArray

from collectors.adapters.many_messages import message_calls, messages_over, takes_many
from collectors.adapters.sockets import DATAGRAM_OCTETS_MAX, to_address

_NAME_OCTETS = 28
"""sizeof(struct sockaddr_in6), the larger of the two (ip(7), ipv6(7))."""
_MSG_WAITFORONE = 0x10000
"""Linux: wait for the first datagram only (recvmmsg(2))."""
_SLOT_OCTETS = 67_648
"""Between two slots: the largest datagram fits, and their first octets fall into different sets of
the processor's caches, as they would not at 65,536."""


class Bursts:
    """Takes what waits in one UDP socket, up to so many datagrams at once, into slots of its own.

    After `receive` the columns below hold the burst until the next one.
    """

    def __init__(self, opened: socket.socket, datagrams_max: int) -> None:
        """Prepare the slots; opened may block, or time out by SO_RCVTIMEO."""
        self.count = 0
        self._socket = opened
        self._slots = np.empty((datagrams_max, _SLOT_OCTETS), np.uint8)
        self._views = [slot.data[:DATAGRAM_OCTETS_MAX] for slot in self._slots]
        self._names = np.zeros((datagrams_max, _NAME_OCTETS), np.uint8)
        self._messages, self._vectors = messages_over(self._slots, DATAGRAM_OCTETS_MAX, self._names)
        self._messages_at = self._messages.ctypes.data
        self._lengths = self._messages["octets"]
        calls = message_calls() if takes_many(opened) else None
        self._call = calls[0] if calls else None

    def receive(self, *, waits: bool) -> int:
        """Take what is there, or wait for one; return how many. BlockingIOError where none came."""
        if self._call is None:
            self.count = self._one_by_one(waits=waits)
            return self.count
        self._messages["name_octets"] = _NAME_OCTETS
        flags = _MSG_WAITFORONE if waits else socket.MSG_DONTWAIT
        while True:
            count = self._call(
                self._socket.fileno(), self._messages_at, len(self._messages), flags, None
            )
            if count >= 0:
                self.count = int(count)
                return self.count
            error = ctypes.get_errno()
            if error not in (errno.EINTR, errno.ECONNREFUSED):
                # BlockingIOError for EAGAIN.
                raise OSError(error, os.strerror(error))

    def _one_by_one(self, *, waits: bool) -> int:
        flags = 0 if waits else socket.MSG_DONTWAIT
        for index, view in enumerate(self._views):
            try:
                self._lengths[index], source = self._socket.recvfrom_into(view, 0, flags)
            except BlockingIOError:
                if index:
                    return index
                raise
            self._names[index, 2:4] = divmod(source[1], 256)
            self._names[index, 8:24] = np.frombuffer(to_address(source[0]), np.uint8)
            flags = socket.MSG_DONTWAIT
        return len(self._views)

    @property
    def lengths(self) -> NDArray[np.uint32]:
        """Octets of each datagram."""
        return self._lengths[: self.count].astype(np.uint32)

    def sources(self) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Return the addresses, IPv4 mapped, [n, 16], and ports of the senders."""
        names = self._names[: self.count]
        ports = names[:, 2:4].copy().view(">u2")[:, 0].astype(np.uint16)
        if self._socket.family == socket.AF_INET6 or self._call is None:
            return names[:, 8:24].copy(), ports
        mapped = np.zeros((self.count, 16), np.uint8)
        mapped[:, 10:12] = 0xFF
        mapped[:, 12:] = names[:, 4:8]
        return mapped, ports

    def payloads_into(self, view: NDArray[np.uint8]) -> int:
        """Write the datagrams without gaps to the beginning of view; return how many octets."""
        lengths = self._lengths[: self.count]
        octets, first = int(lengths.sum()), int(lengths[0])
        if (lengths == first).all():
            view[:octets].reshape(self.count, first)[:] = self._slots[: self.count, :first]
            return octets
        at, into = 0, view.data
        for slot, length in zip(self._views, lengths.tolist(), strict=False):
            into[at : at + length] = slot[:length]
            at += length
        return octets
