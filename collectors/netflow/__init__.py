"""NetFlow v5, v9 and IPFIX: bytes in, columns of flows out; no IO and no clock (`decoder`)."""
