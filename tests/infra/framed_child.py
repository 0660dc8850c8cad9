"""A process in the frame of `infra.process` for tests: does as its behaviour variable says."""

from __future__ import annotations

import os
import signal
import threading

from infra.process import Context, run_process


def main(context: Context) -> None:
    behaviour = os.environ.get("FLOWRATE_TEST_BEHAVIOUR", "wait")
    (context.data_dir / f"{context.name}.ready").write_text(str(os.getpid()))
    if behaviour == "raise":
        raise RuntimeError("broken on purpose")
    if behaviour == "raise beside a thread":
        threading.Thread(target=threading.Event().wait).start()
        raise RuntimeError("broken on purpose")
    if behaviour == "raise in thread":
        threading.Thread(target=lambda: 1 // 0, name="worker").start()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Event().wait()
    context.stop.wait()
    (context.data_dir / f"{context.name}.stopped").write_text(str(context.clock.now_ms()))


if __name__ == "__main__":
    run_process(os.environ.get("FLOWRATE_TEST_NAME", "engine"), main)
