"""Dictionary files: what they name, and what is wrong with a line."""

from __future__ import annotations

import pytest

from collectors.radius.dictionary import read_dictionary

TEXT = """
# A comment
VENDOR       Example   32473
ATTRIBUTE    User-Name 1 string
BEGIN-VENDOR Example
ATTRIBUTE    Example-Rate 0x0a integer    # in bit/s
ATTRIBUTE    Example-Key 11 string encrypt=2
ATTRIBUTE    Example-Tunnel 12 integer has_tag
ATTRIBUTE    Example-Part 12.1 string
VALUE        Example-Rate Slow 0x100
END-VENDOR   Example
ATTRIBUTE    Error-Cause 101 integer
$INCLUDE     elsewhere
"""


def test_names_and_kinds_are_read() -> None:
    kinds = read_dictionary(TEXT.splitlines()).kinds()
    assert {key: (kind.name, kind.kind) for key, kind in kinds.items()} == {
        (0, 1): ("User-Name", "text"),
        (32473, 10): ("Example-Rate", "integer"),
        (32473, 11): ("Example-Key", "secret"),
        (32473, 12): ("Example-Tunnel", "tagged_integer"),
        (0, 101): ("Error-Cause", "integer"),
    }
    assert kinds[(32473, 10)].values == {256: "Slow"}


@pytest.mark.parametrize(
    "line", ["ATTRIBUTE Name 1", "ATTRIBUTE Name one string", "BEGIN-VENDOR Nobody", "VALUE a b"]
)
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=f"line 2: '{line}'"):
        read_dictionary(["# one", line])
