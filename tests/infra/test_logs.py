"""Structured logs: facts are pairs, hostile values forge nothing, one place cannot flood."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading

import pytest

from infra.config import LogsConfig
from infra.logs import RepeatLimit, StructuredFormatter, set_up_logs
from rating.traces import TraceContext, active, encode_trace


def record(message: str = "packet refused", line: int = 1, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("radius", logging.WARNING, "server.py", line, message, (), None)
    made.__dict__.update(facts)
    return made


def test_logfmt() -> None:
    line = StructuredFormatter("radius", "logfmt").format(record(nas="192.0.2.1", packets=3))
    assert line.partition(" ")[0].startswith("at=20")
    assert line.partition(" ")[2] == (
        'level=warning process=radius from=radius event="packet refused" nas=192.0.2.1 packets=3'
    )


def test_json() -> None:
    line = StructuredFormatter("radius", "json").format(record(is_new=True, user="a\nb"))
    facts = json.loads(line)
    assert facts["event"] == "packet refused"
    assert facts["is_new"] is True
    assert facts["user"] == "a\nb"


@pytest.mark.parametrize("style", ["logfmt", "json"])
@pytest.mark.parametrize("hostile", ["a\nlevel=error event=x", 'a" event="x', "\x1b[2J", "\u2028"])
def test_a_hostile_value_stays_one_quoted_value_on_one_line(style: str, hostile: str) -> None:
    line = StructuredFormatter("radius", style).format(record(user=hostile))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    quoted = line.partition("user")[2].lstrip('=": ')
    assert json.dumps(hostile)[1:-1] in quoted


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_line_names_the_trace_that_is_worked_on(style: str) -> None:
    formatter = StructuredFormatter("worker", style, {"role": "worker", "instance": "host:7"})
    context = TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 7, 1_000, 1_199)
    with active(encode_trace(context)):
        during = formatter.format(record())
    after = formatter.format(record())
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in during.partition("trace_id")[2]
    assert "trace_id" not in after
    if style == "logfmt":
        assert " process=worker role=worker instance=host:7 from=radius " in after


def test_threads_of_kafkas_client_do_not_inherit_the_trace() -> None:
    formatter = StructuredFormatter("worker", "json")
    lines: list[str] = []
    with active(encode_trace(TraceContext(1, 2, 3, 4))):
        thread = threading.Thread(target=lambda: lines.append(formatter.format(record())))
        thread.start()
        thread.join()
    assert "trace_id" not in lines[0]


def test_long_values_are_cut() -> None:
    line = StructuredFormatter("radius", "logfmt").format(record(user="x" * 100_000))
    assert len(line) < 1_000


def test_a_traceback_is_one_line() -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        failed = record()
        failed.exc_info = sys.exc_info()
    line = StructuredFormatter("radius", "logfmt").format(failed)
    assert len(line.splitlines()) == 1
    assert "RuntimeError: broken" in line


def test_one_place_is_limited_and_the_rest_is_counted() -> None:
    now = 0.0
    limit = RepeatLimit(3, clock_seconds=lambda: now)
    assert [limit.filter(record()) for _ in range(10)] == [True] * 3 + [False] * 7
    assert limit.filter(record(line=2)), "another place is not limited by the first"
    now = 60.0
    after = record()
    assert limit.filter(after)
    assert after.__dict__["left_out"] == 7
    assert not hasattr(record(), "left_out")


def test_places_remembered_are_bounded() -> None:
    limit = RepeatLimit(1, clock_seconds=lambda: 0.0)
    for line in range(10_000):
        limit.filter(record(line=line))
    assert len(limit._places) <= 2_048


def test_set_up_logs_writes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logs("engine", LogsConfig(level="warning"))
        logging.getLogger("x").info("not this")
        logging.getLogger("x").warning("this", extra={"count": 1})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
    assert stream.getvalue().endswith("event=this count=1\n")
    assert stream.getvalue().count("\n") == 1
