"""Bundles give back what went in, in the order of each partition."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.envelopes import (
    Envelope,
    Mark,
    bundle,
    encode_envelope,
    encode_marks,
    is_data,
    unbundled,
)
from streams.bundles import Message, bundled

OCTETS_MAX = 400
ENVELOPES = st.builds(
    lambda number, body: encode_envelope(Envelope("rate/1", number, 5, body)),
    st.integers(1, 1 << 40),
    st.binary(max_size=120),
)
MESSAGES = st.lists(
    st.tuples(st.sampled_from(("usage.measured", "usage.rated")), st.integers(0, 2), ENVELOPES)
)


def by_partition(messages: Sequence[Message]) -> dict[tuple[str, int], list[bytes]]:
    found: dict[tuple[str, int], list[bytes]] = {}
    for topic, partition, value in messages:
        found.setdefault((topic, partition), []).extend(unbundled(value))
    return found


@given(MESSAGES)
def test_nothing_is_lost_or_moved(messages: list[Message]) -> None:
    made = bundled(messages, {"usage.measured"}, OCTETS_MAX)
    assert by_partition(made) == by_partition(messages)
    assert all(len(value) <= OCTETS_MAX for _, _, value in made)
    plain = [message for message in messages if message[0] == "usage.rated"]
    assert [message for message in made if message[0] == "usage.rated"] == plain


def test_what_fits_is_one_message() -> None:
    one, other = (encode_envelope(Envelope(f"rate/{n}", 1, 5, b"body")) for n in (1, 2))
    messages = [
        ("usage.measured", 0, one),
        ("usage.measured", 1, one),
        ("usage.measured", 0, other),
    ]
    made = bundled(messages, {"usage.measured"}, OCTETS_MAX)
    assert made == [("usage.measured", 0, bundle([one, other])), ("usage.measured", 1, one)]


def test_a_message_that_is_too_large_goes_alone() -> None:
    big = encode_envelope(Envelope("rate/1", 1, 5, bytes(2 * OCTETS_MAX)))
    small = encode_envelope(Envelope("rate/1", 2, 5, b""))
    messages = [("usage.measured", 0, big), ("usage.measured", 0, small)]
    assert bundled(messages, {"usage.measured"}, OCTETS_MAX) == messages


def test_bundles_count_as_data() -> None:
    message = encode_envelope(Envelope("rate/1", 1, 5, b"body"))
    assert is_data(message)
    assert is_data(bundle([message, message]))
    assert not is_data(encode_marks([Mark("rate/1", 1, 5)]))


@given(st.lists(ENVELOPES, min_size=2, max_size=4), st.data())
def test_a_cut_bundle_is_refused(messages: list[bytes], data: st.DataObject) -> None:
    whole = bundle(messages)
    ends = {1}
    for message in messages:
        ends.add(max(ends) + 4 + len(message))
    cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda at: at not in ends))
    with pytest.raises(ValueError, match="ends within"):
        unbundled(whole[:cut])
