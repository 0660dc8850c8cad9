"""Processes that work through columns keep memory, and let others finish."""

from __future__ import annotations

import subprocess
import sys

from infra.allocator import JEMALLOC, share_arenas

PROGRAM = """
import resource
import sys
import numpy as np
from infra.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(3):
    np.ones(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    [np.ones(1 << 20) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_columns_are_used_again() -> None:
    given_back, kept = faults("given back"), faults("kept")
    assert given_back > 20_000, "this machine's library keeps them anyway"
    assert kept < given_back / 4


def test_every_process_tells_its_libraries_before_it_imports_them() -> None:
    program = (
        "import ctypes, infra.processes.engine, pyarrow\n"
        "libc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p\n"
        "assert pyarrow.default_memory_pool().backend_name == 'system'\n"
        "assert b'narenas:1' in libc.getenv(b'_RJEM_MALLOC_CONF')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_the_operator_says_of_them_stands() -> None:
    said = {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "_RJEM_MALLOC_CONF": "narenas:4"}
    environment = dict(said)
    share_arenas(environment)
    assert environment == said


def test_what_polars_wrote_for_a_parent_process_does_not_win() -> None:
    environment = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:500"}
    share_arenas(environment)
    assert environment["_RJEM_MALLOC_CONF"] == f"dirty_decay_ms:500,{JEMALLOC[1]}"


def test_a_process_that_works_in_batches_says_so() -> None:
    program = (
        "import os; from infra.scheduling import work_in_batches\n"
        "os.nice(3)\n"
        "assert work_in_batches() and os.sched_getscheduler(0) == os.SCHED_BATCH\n"
        "assert os.getpriority(os.PRIO_PROCESS, 0) == 3"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
