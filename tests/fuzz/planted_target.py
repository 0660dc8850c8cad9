"""A parser with a defect behind two branches, to see that the fuzzer finds what there is."""

from __future__ import annotations

import sys

import atheris


@atheris.instrument_func  # type: ignore[untyped-decorator, unused-ignore]
def parse(octets: bytes) -> None:
    """Fail for a block of no datagrams that goes on behind its header."""
    if octets[:4] == b"FRD1" and len(octets) > 8 and octets[4:8] == bytes(4):
        raise RuntimeError("planted")


if __name__ == "__main__":
    del sys.argv[1]
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()
