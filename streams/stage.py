"""What a stage is: a pure step with its inputs, its outputs and the types of its state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rating.ports import Step
from streams.topics import STORED

_ANEW = "#"


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One pure step with its inputs, outputs and the types of its keyed state.

    raw_log names the log whose blocks it reads (its only partition); topics its input topics;
    produces its output topics; collections the value type of each state collection. taken_anew is
    of kept topics: how often what the stage takes of one has grown, by a version or a setting. A
    task that has read it with another number reads it from the beginning again. may_gather: its
    rows wait for the end of their minute anyway, so a runner may let them come together first.
    """

    name: str
    step: Step
    collections: Mapping[str, Any]
    raw_log: str | None = None
    topics: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    taken_anew: Mapping[str, int] = dataclasses.field(default_factory=dict)
    may_gather: bool = False

    def place_of(self, topic: str) -> str:
        """Return under which name the stage's position in a topic is kept."""
        number = self.taken_anew.get(topic, 0)
        return f"{topic}{_ANEW}{number}" if number else topic

    def reads(self, place: str) -> bool:
        """Return whether a position's name is of one of the stage's topics."""
        return place.partition(_ANEW)[0] in self.topics

    def tasks(self, partitions: int) -> tuple[str, ...]:
        """Return the stage's task names: one per partition, one in all for a raw log."""
        count = 1 if self.raw_log else partitions
        return tuple(f"{self.name}/{partition}" for partition in range(count))


def producers_of(topic: str, stages: tuple[Stage, ...], partitions: int) -> tuple[str, ...]:
    """Return the tasks whose watermarks bound a topic; none for topics that the API writes."""
    return tuple(
        task for stage in stages if topic in stage.produces for task in stage.tasks(partitions)
    )


def consumers_of(topic: str, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages that read a topic."""
    return tuple(stage for stage in stages if topic in stage.topics)


def inputs_of(stage: Stage) -> tuple[str, ...]:
    """Return the topics that a stage reads from Kafka."""
    logs = (stage.raw_log,) if stage.raw_log else ()
    return (*logs, *(topic for topic in stage.topics if topic not in STORED))
