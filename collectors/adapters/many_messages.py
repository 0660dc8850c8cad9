"""Many messages by one call: recvmmsg(2) and sendmmsg(2), which Python does not have."""

from __future__ import annotations

import ctypes
import functools
import socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

VECTOR = np.dtype([("at", np.uintp), ("octets", np.uintp)])
MESSAGE = np.dtype(
    [
        *(("name_at", np.uintp), ("name_octets", np.uint32), ("vectors_at", np.uintp)),
        *(("vectors", np.uintp), ("control_at", np.uintp), ("control_octets", np.uintp)),
        *(("flags_and_padding", np.uintp), ("octets", np.uint32)),
    ],
    align=True,
)
"""struct iovec and struct mmsghdr as the kernel has them (recvmmsg(2))."""


def messages_over(
    payloads: NDArray[np.uint8], payload_octets: int, names: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return headers (MESSAGE) and vectors (VECTOR) with a message for each row, [n, octets].

    A payload takes the first payload_octets of its row; the octets of names are not set. The
    headers point to the other three arrays, which must live as long.
    """
    numbers = np.arange(len(payloads), dtype=np.uintp)
    vectors, headers = np.zeros(len(payloads), VECTOR), np.zeros(len(payloads), MESSAGE)
    vectors["at"] = payloads.ctypes.data + payloads.strides[0] * numbers
    vectors["octets"] = payload_octets
    headers["name_at"] = names.ctypes.data + names.strides[0] * numbers
    headers["vectors_at"] = vectors.ctypes.data + VECTOR.itemsize * numbers
    headers["vectors"] = 1
    return headers, vectors


@functools.cache
def message_calls() -> tuple[Any, Any] | None:
    """Return recvmmsg and sendmmsg of the C library, None where it has none (macOS)."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        receive, send = library.recvmmsg, library.sendmmsg
    except AttributeError:
        return None
    at, count, flags = ctypes.c_void_p, ctypes.c_uint, ctypes.c_int
    receive.argtypes = [ctypes.c_int, at, count, flags, ctypes.c_void_p]
    send.argtypes = [ctypes.c_int, at, count, flags]
    return receive, send


def takes_many(opened: socket.socket) -> bool:
    """Return whether the system takes the calls: a sandbox may know their names and refuse them."""
    calls = message_calls()
    if calls is None:
        return False
    receive, send = calls
    handle = opened.fileno()
    return bool(receive(handle, None, 0, 0, None) == 0 and send(handle, None, 0, 0) == 0)
