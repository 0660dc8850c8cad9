"""sFlow datagram headers as columns, and which agent a datagram is from.

sFlow v5 §5: version (u32), agent address (type u32; none, 4 or 16 octets), sub-agent id, sequence
number, uptime (ms), number of samples. NetFlow's version is the first two octets, which are zero
here: so both may come to one port.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

SFLOW5 = 105
"""Stands for sFlow v5 where origins and sessions name a version; no NetFlow has this number."""

VERSION = 5
"""The first 32 bits of a datagram that is read."""
OTHER_VERSIONS = (2, 4)
"""Versions of the past, which are told from noise."""

_HEADER_OCTETS = 40


@dataclasses.dataclass(frozen=True, slots=True)
class AgentHeaders:
    """Columns [k] of the datagrams of a block that begin like sFlow; row is their index there.

    agent is the agent's address as two uint64 (IPv4 as ::ffff:a.b.c.d), is_named says whether it
    names one device; start is where the samples begin in the block's payload, samples how many the
    header counts. is_readable is False where refused holds (row, reason).
    """

    row: Int64s
    agent: NDArray[np.uint64]
    is_named: Bools
    sub_agent: Int64s
    sequence: Int64s
    uptime: Int64s
    samples: Int64s
    start: Int64s
    is_readable: Bools
    refused: tuple[tuple[int, str], ...]


def read_agents(block: DatagramBlock, payload: NDArray[np.uint8]) -> AgentHeaders:
    """Return the headers of a block's sFlow datagrams; payload is its buffer as octets."""
    row, version = _sflow_rows(block, payload)
    last = max(len(payload) - 1, 0)
    at = np.minimum(block.offsets[row][:, None] + np.arange(_HEADER_OCTETS), last)
    octets = payload[at] if len(row) else np.zeros((0, _HEADER_OCTETS), np.uint8)
    word = octets.view(">u4").astype(np.int64)
    kind = word[:, 1]
    address_octets = np.select([kind == 1, kind == 2], [4, 16], 0)
    header_octets = 24 + address_octets
    is_old = version != VERSION
    is_cut = ~is_old & (block.lengths[row] < header_octets)
    is_strange = ~is_old & ~is_cut & (kind > 2)
    is_readable = ~(is_old | is_cut | is_strange)
    behind = (8 + address_octets) // 4
    places = np.minimum(behind[:, None] + np.arange(4), word.shape[1] - 1)
    sub_agent, sequence, uptime, samples = np.take_along_axis(word, places, axis=1).T
    agent = _agents(octets, kind)
    return AgentHeaders(
        row=row,
        agent=agent,
        is_named=is_readable & _names_one_device(agent),
        sub_agent=sub_agent,
        sequence=sequence,
        uptime=uptime,
        samples=samples,
        start=block.offsets[row] + header_octets,
        is_readable=is_readable,
        refused=(
            *_reasons(row[is_old], "sflow_version"),
            *_reasons(row[is_cut], "header_truncated"),
            *_reasons(row[is_strange], "sflow_address_type"),
        ),
    )


def by_exporter(block: DatagramBlock) -> DatagramBlock:
    """Return the block with the exporter in place of the source address.

    The exporter of an sFlow datagram is the agent that it names, whichever relay it came through;
    of any other, and of an agent that names no device, it is who sent it (decision 0120). All that
    is kept per exporter follows from here: partitions, duplicates, sequence numbers, settings.
    """
    headers = read_agents(block, np.frombuffer(block.payload, np.uint8))
    if not headers.is_named.any():
        return block
    address = block.source_address.copy()
    agent = headers.agent[headers.is_named].astype(">u8")
    address[headers.row[headers.is_named]] = np.ascontiguousarray(agent).view("V16").ravel()
    return dataclasses.replace(block, source_address=address)


def _sflow_rows(block: DatagramBlock, payload: NDArray[np.uint8]) -> tuple[Int64s, Int64s]:
    """Return the datagrams that begin like sFlow of some version, and that version."""
    whole = np.flatnonzero(block.lengths >= 4)
    at = block.offsets[whole]
    # The first two octets tell nearly all NetFlow apart, so that it costs little here.
    zero = (payload[at] == 0) & (payload[at + 1] == 0)
    whole, at = whole[zero], at[zero]
    version = payload[at + 2].astype(np.int64) << 8 | payload[at + 3]
    mine = np.isin(version, (VERSION, *OTHER_VERSIONS))
    return whole[mine], version[mine]


def _agents(octets: NDArray[np.uint8], kind: Int64s) -> NDArray[np.uint64]:
    """Return the agent addresses of header octets, uint64 [k, 2]; zero where there is none."""
    out = np.zeros((len(octets), 16), np.uint8)
    v4, v6 = kind == 1, kind == 2
    out[v4, 10:12] = 0xFF
    out[v4, 12:] = octets[v4, 8:12]
    out[v6] = octets[v6, 8:24]
    return out.view(">u8").astype(np.uint64)


def _names_one_device(agent: NDArray[np.uint64]) -> Bools:
    """Return whether addresses can tell devices apart: unspecified, loopback, link-local cannot."""
    high, low = agent[:, 0], agent[:, 1]
    is_v4 = (high == 0) & (low >> np.uint64(32) == 0xFFFF)
    v4 = np.where(is_v4, low & np.uint64(0xFFFF_FFFF), np.uint64(0))
    nowhere_v4 = (v4 == 0) | (v4 >> np.uint64(24) == 127) | (v4 >> np.uint64(16) == 0xA9FE)
    nowhere_v6 = ((high == 0) & (low <= 1)) | (high >> np.uint64(54) == 0x3FA)
    named: Bools = ~np.where(is_v4, nowhere_v4, nowhere_v6)
    return named


def _reasons(rows: Int64s, reason: str) -> list[tuple[int, str]]:
    """Return (row, reason) for each of the rows."""
    return [(row, reason) for row in rows.tolist()]
