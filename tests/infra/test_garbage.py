"""Old objects are looked through rarely, and still are."""

from __future__ import annotations

import subprocess
import sys

from infra.garbage import WHOLE_LOOK_SECONDS

PROGRAM = """
import gc, weakref
from infra import garbage

class Ring:
    def __init__(self):
        self.itself = self

clock = [0.0]
gc.collect()
gc.callbacks.append(garbage.Freezer(lambda: clock[0]))
gc.set_threshold(1_000, 2, 0)
old = Ring()
seen = weakref.ref(old)

def live(objects):
    kept = [[] for _ in range(objects)]

live(20_000)
print("hidden", gc.get_freeze_count() > 0)
del old
live(20_000)
print("kept", seen() is not None)
clock[0] += garbage.WHOLE_LOOK_SECONDS
live(20_000)
print("found", seen() is None)
live(20_000)
print("hidden again", gc.get_freeze_count() > 0)
"""


def test_what_is_old_is_looked_through_but_rarely() -> None:
    assert WHOLE_LOOK_SECONDS >= 600
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert told.split("\n")[:4] == ["hidden True", "kept True", "found True", "hidden again True"]


def test_young_cycles_are_found() -> None:
    program = (
        "import gc, weakref\n"
        "from infra.garbage import collect_garbage_rarely\n"
        "collect_garbage_rarely()\n"
        "class Ring:\n"
        "    def __init__(self): self.itself = self\n"
        "seen = weakref.ref(Ring())\n"
        "kept = [[] for _ in range(300_000)]\n"
        "print(seen() is None)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert told == "True\n"
