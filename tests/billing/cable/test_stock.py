"""Where a box or card may go from where it is."""

from __future__ import annotations

import pytest

from billing.cable.refusals import RefusedError
from billing.cable.stock import ACTIONS, MOVES, STATES, Device, Movement, Order, move, receive

STORY = [
    # action, to whom or where, state after, who has it, whose store
    ("receive", "", "received", "", "dhk"),
    ("store", "", "in_store", "", "dhk"),
    ("transfer", "ctg", "in_store", "", "ctg"),
    ("issue", "karim", "issued", "karim", "ctg"),
    ("fault", "", "faulty", "", "ctg"),
    ("store", "", "in_store", "", "ctg"),
    ("issue", "rahim", "issued", "rahim", "ctg"),
    ("lose", "", "lost", "", "ctg"),
    ("find", "", "returned", "", "ctg"),
    ("fault", "", "faulty", "", "ctg"),
    ("scrap", "", "scrapped", "", "ctg"),
]


def order(action: str, target: str, at: int) -> Order:
    branch = target if action == "transfer" else "dhk" if action == "receive" else ""
    return Order(action, at, "clerk", "", branch, target if action == "issue" else "")


def lived() -> tuple[Device, list[Movement]]:
    device, first = receive("STB-1", "box", "m1", order("receive", "", 0))
    movements = [first]
    for at, (action, target, state, holder, branch) in enumerate(STORY[1:], start=1):
        device, movement = move(device, order(action, target, at))
        movements.append(movement)
        assert (device.state, device.subscriber_id, device.branch_id) == (state, holder, branch)
    return device, movements


def test_the_life_of_a_box() -> None:
    device, movements = lived()
    assert [m.number for m in movements] == list(range(1, len(STORY) + 1))
    assert [m.to_state for m in movements] == [state for _, _, state, _, _ in STORY]
    assert [m.from_state for m in movements[1:]] == [m.to_state for m in movements[:-1]]
    assert device.movements == len(STORY)


def test_a_movement_says_who_had_it_when_it_was_taken_away() -> None:
    _, movements = lived()
    had = [(m.action, m.subscriber_id) for m in movements if m.subscriber_id]
    assert had == [("issue", "karim"), ("fault", "karim"), ("issue", "rahim"), ("lose", "rahim")]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_table_does_not_name_is_refused(state: str, action: str) -> None:
    device = Device("STB-1", "box", "m1", "dhk", state, "", 1)
    target = Order(action, 0, "clerk", "", "ctg", "karim" if action == "issue" else "")
    if (state, action) in MOVES:
        assert move(device, target)[0].state == MOVES[state, action]
        return
    with pytest.raises(RefusedError, match=f"STB-1 is {state.replace('_', ' ')}"):
        move(device, target)


def test_a_refusal_says_what_is_possible() -> None:
    device = Device("STB-1", "box", "m1", "dhk", "returned", "", 3)
    with pytest.raises(RefusedError, match=r"'issue' is not possible, only store, fault$"):
        move(device, order("issue", "karim", 1))


@pytest.mark.parametrize(
    ("state", "wrong", "said"),
    [
        ("in_store", Order("transfer", 0, "clerk"), "needs the branch_id of another branch"),
        ("in_store", Order("transfer", 0, "clerk", "", "dhk"), "of another branch"),
        ("in_store", Order("issue", 0, "clerk"), "A subscriber_id belongs to an issue"),
        ("issued", Order("return", 0, "clerk", "", "", "karim"), "A subscriber_id belongs"),
    ],
)
def test_an_order_names_its_target(state: str, wrong: Order, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        move(Device("STB-1", "box", "m1", "dhk", state, "", 1), wrong)


def test_only_boxes_and_cards_are_received() -> None:
    with pytest.raises(RefusedError, match="kind 'dish': expected one of box, card"):
        receive("D-1", "dish", "m1", order("receive", "", 0))
