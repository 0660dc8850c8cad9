"""NetFlow v1 to v9, IPFIX: bytes in, columns of flows out; no IO and no clock (`decoder`)."""
