"""When a generation of topics is drained, and where the tasks of the next one begin: pure."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from rating.envelopes import EXPIRED, LEFT, LIVE
from streams.progress import Seen, Standing
from streams.stage import Stage, inputs_of

Ends = Mapping[tuple[str, int], int]
"""(topic, partition) -> offset behind its last message."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """A generation as the database knows it in one moment.

    standings: task -> how far it is. waiting: task -> outputs that may not be in Kafka. leases: of
    the collectors that renew: (collector_id, log) -> oldest generation it may still append to.
    """

    standings: Mapping[str, Standing]
    waiting: Mapping[str, int]
    leases: Mapping[tuple[str, str], int]


def obstacles(
    drain: Drain, stages: Sequence[Stage], ends: Ends, generation: int, partitions: int
) -> Iterator[str]:
    """Yield in sentences why a generation is not drained yet; ends are read after the drain."""
    for (collector_id, log), oldest in sorted(drain.leases.items()):
        if oldest <= generation:
            yield f"collector {collector_id} has not done with {log} of generation {oldest}"
    for task, count in sorted(drain.waiting.items()):
        yield f"{task} has {count} outputs that wait for Kafka"
    for stage in stages:
        for partition in range(partitions):
            task = f"{stage.name}/{partition}"
            standing = drain.standings.get(task, Standing())
            for topic in inputs_of(stage):
                at, end = standing.offsets.get(topic, 0), ends[topic, partition]
                if at < end:
                    yield f"{task} has taken {at} of {end} messages of {topic}"
            for producer, seen in sorted(standing.seen.get(stage.raw_log or "", {}).items()):
                if seen.is_marked and seen.state == LIVE:
                    yield f"{task} waits for {producer}, which goes on"


def informed_of(stage: Stage, standings: Mapping[int, Standing]) -> int:
    """Return the partition whose task of a stage has read the directory furthest."""
    place = stage.place_of("directory")
    return max(standings, key=lambda partition: standings[partition].stored.get(place, 0))


def first_standings(
    stage: Stage,
    former: Mapping[int, Standing],
    partitions: int,
    stored: Mapping[int, Mapping[str, int]],
    live: frozenset[str],
) -> dict[int, Standing]:
    """Return where a stage's tasks of a new generation begin.

    Its topics are read from their start, and numbers begin at 1. Of the collectors is kept who is
    waited for: those in live (they renew their lease and have left the former generation only to
    go on in this one), and who was given up, so that its return is noticed. stored: per new
    partition, position in the topics that PostgreSQL keeps.
    """
    collectors = _collectors(stage, former, live)
    return {
        partition: Standing(
            stored={place: at for place, at in stored[partition].items() if stage.reads(place)},
            seen={stage.raw_log: copy.deepcopy(collectors)} if stage.raw_log else {},
        )
        for partition in range(partitions)
    }


def _collectors(
    stage: Stage, former: Mapping[int, Standing], live: frozenset[str]
) -> dict[str, Seen]:
    """Return what all partitions together know of each collector, data and numbers forgotten."""
    found: dict[str, Seen] = {}
    for standing in former.values():
        for producer, seen in standing.seen.get(stage.raw_log or "", {}).items():
            if not seen.is_marked and seen.state == LIVE:
                continue
            known = found.setdefault(producer, Seen(0, seen.watermark_at, LEFT, True))
            known.watermark_at = min(known.watermark_at, seen.watermark_at)
            known.expired_at = max(known.expired_at, seen.expired_at)
            if seen.state == EXPIRED:
                known.state = EXPIRED
    for producer, seen in found.items():
        if seen.state == LEFT and producer in live:
            seen.state = LIVE
    return found


def taken_numbers(
    stage: Stage, former: Mapping[int, Standing]
) -> Iterator[tuple[str, str, int, int]]:
    """Yield (topic, producer, partition, number) of the last data that count, for who asks later.

    Of each collector what was taken, and of rated usage what was sent.
    """
    if stage.raw_log:
        for partition, standing in sorted(former.items()):
            for producer, seen in sorted(standing.seen.get(stage.raw_log, {}).items()):
                yield stage.raw_log, producer, partition, seen.number
    # What stages send for others than stages, to know when these have all of it.
    for partition, standing in sorted(former.items()):
        if "usage.rated" in stage.produces:
            number = standing.issued.get("usage.rated", {}).get(partition, 0)
            yield "usage.rated", f"{stage.name}/{partition}", partition, number
