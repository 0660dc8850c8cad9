"""What a check finds: how bad it is, what was seen, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

Level = Literal["ok", "warn", "fail"]
EXIT_STATUS: dict[Level, int] = {"ok": 0, "warn": 1, "fail": 2}
"""Exit status of the command by its worst finding."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: area (settings, sockets …), subject, level, what was seen, advice.

    advice is "" where there is nothing to do.
    """

    area: str
    subject: str
    level: Level
    seen: str
    advice: str = ""


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 0 where all is well, 1 with a warning, 2 with a failure."""
    return max((EXIT_STATUS[each.level] for each in findings), default=0)


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a JSON object: status, and a list in order."""
    return json.dumps(
        {
            "status": exit_status(findings),
            "findings": [dataclasses.asdict(each) for each in findings],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_table(findings: Sequence[Finding]) -> str:
    """Return the findings as text: one line each, the advice indented below it, then a count."""
    lines = []
    areas = max((len(each.area) for each in findings), default=0)
    subjects = min(max((len(each.subject) for each in findings), default=0), 48)
    for each in findings:
        lines.append(
            f"{each.level:4}  {each.area:{areas}}  {each.subject:{subjects}}  {each.seen}".rstrip()
        )
        if each.advice:
            lines.append(f"{'':{areas + 8}}{'':{subjects}}→ {each.advice}")
    counts = [sum(each.level == level for each in findings) for level in EXIT_STATUS]
    lines.append("")
    lines.append(f"{counts[0]} ok, {counts[1]} to look at, {counts[2]} failed")
    return "\n".join(lines)
