"""Structured logs: one line per record on standard error, as logfmt or JSON.

Code logs through `logging.getLogger(__name__)` with a constant sentence and its facts in `extra`::

    LOG.warning("packet refused", extra={"nas": source, "reason": "authenticator"})

Values are quoted and shortened, so that a hostile User-Name can forge no line; one place in the
code writes at most `repeats_per_minute` lines a minute, and the next line from there says how
many were left out. Each line has the process's identity (in a cluster its role and instance) and,
while a traced record is worked on, the id of its trace.
"""

from __future__ import annotations

import collections
import datetime
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra.config import LogsConfig
from rating.traces import active_trace_id

VALUE_CHARACTERS_MAX = 500
"""Longer values are cut; of a traceback the last TRACEBACK_CHARACTERS_MAX are kept."""
TRACEBACK_CHARACTERS_MAX = 8_000
PLACES_MAX = 2_048
"""Places in the code whose rate is remembered; the longest silent one is forgotten first."""

PLAIN = re.compile(r"[A-Za-z0-9_.:/@+*%\[\]-]+")
OWN_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's second copy of its message, with escape codes
}


class RepeatLimit(logging.Filter):
    """Lets a place in the code write so many lines a minute, and counts the rest.

    A place is file and line. The first record that passes again carries `left_out`.
    """

    def __init__(
        self, repeats_per_minute: int, clock_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the limit and a monotonic clock in seconds."""
        super().__init__()
        self.repeats_per_minute = repeats_per_minute
        self.clock_seconds = clock_seconds
        self._lock = threading.Lock()
        self._places: collections.OrderedDict[tuple[str, int], list[float]] = (
            collections.OrderedDict()
        )

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        place = (record.pathname, record.lineno)
        now = self.clock_seconds()
        with self._lock:
            window = self._places.pop(place, None)
            if window is None:
                window = [now, 0, 0]
            if now - window[0] >= 60:
                left_out = int(window[2])
                window[:] = [now, 0, 0]
                if left_out:
                    record.left_out = left_out
            self._places[place] = window
            if len(self._places) > PLACES_MAX:
                self._places.popitem(last=False)
            if window[1] >= self.repeats_per_minute:
                window[2] += 1
                return False
            window[1] += 1
            return True


class StructuredFormatter(logging.Formatter):
    """Writes a record as logfmt pairs or as a JSON object: at, level, process, event, facts."""

    def __init__(self, process: str, style: str, identity: Mapping[str, str] | None = None) -> None:
        """Take the process's name, ``logfmt`` or ``json``, and what else tells it from others."""
        super().__init__()
        self.process = process
        self.identity = dict(identity or {})
        self.is_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        facts = self._facts(record)
        if self.is_json:
            return json.dumps(facts, ensure_ascii=True, default=str)
        return " ".join(f"{name}={_quoted(value)}" for name, value in facts.items())

    def _facts(self, record: logging.LogRecord) -> dict[str, Any]:
        at = datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)
        facts: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self.process,
            **self.identity,
            "from": record.name,
            "event": _shortened(record.getMessage(), VALUE_CHARACTERS_MAX),
        }
        if trace_id := active_trace_id():
            facts["trace_id"] = trace_id
        for name, value in record.__dict__.items():
            if name not in OWN_ATTRIBUTES and not name.startswith("_"):
                facts[name] = _shortened(value, VALUE_CHARACTERS_MAX)
        if record.exc_info:
            text = self.formatException(record.exc_info)
            facts["traceback"] = text[-TRACEBACK_CHARACTERS_MAX:]
        return facts


def set_up_logs(
    process: str, config: LogsConfig, identity: Mapping[str, str] | None = None
) -> None:
    """Send every record of this process to standard error, structured and limited in rate.

    identity is in every line: of a role its name, its instance and, of a collector, its id.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(StructuredFormatter(process, config.format, identity))
    handler.addFilter(RepeatLimit(config.repeats_per_minute))
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for chatty in ("httpx", "httpcore", "uvicorn.access", "alembic.runtime.plugins"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _shortened(value: Any, characters_max: int) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= characters_max else text[:characters_max] + "…"


def _quoted(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
