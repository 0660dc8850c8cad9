"""The runner of the cluster: one Faust agent per stage, over whole batches.

Faust shares the partitions out among workers, fetches and hands over. It keeps nothing: positions,
state and outbox are one PostgreSQL transaction (`streams.rounds`), and the relay below publishes
what was committed. Workers are crash-only. Faust acknowledges what an agent held even when the
agent raises, and what it skips at a rebalance, and an agent that was restarted would skip input: so
its acknowledgements are switched off, any exception ends the process, and whoever is given the
partitions next goes on from PostgreSQL, where Kafka's offsets are set to before it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from faust.types import TP

from rating.connections import KafkaConfig
from rating.envelopes import Mark, encode_marks, is_data
from streams.adapters.faust_consumer import Transport
from streams.adapters.kafka_relay import KafkaRelay, ssl_context
from streams.adapters.postgres_outbox import OutboxRow, message_of
from streams.bundles import bundled
from streams.config import WorkerConfig
from streams.progress import SequenceGapError
from streams.rounds import Message, OutgrownError, Round, Rounds, marked_topics
from streams.stage import Stage, inputs_of
from streams.topics import consumer_group, physical_topic
from streams.worker_observation import WorkerObservation

LOG = logging.getLogger(__name__)

_ROUNDS_WAITING = 2
"""Committed rounds of a stage that may wait for the relay before its next one begins."""
_POLL_SECONDS = 0.5
_GATHER_FETCHES = 2
"""Marks are gathered for so many fetches: all workers send theirs at the same moments."""
_GATHER_SECONDS_LEAST = 0.02
"""How soon data that come meanwhile are seen, where fetches do not wait."""
_COMMIT_SECONDS = 5.0
"""Between two times that Kafka is told how far we are; nothing depends on it but who watches."""
_MISSING_SECONDS = 10.0
"""How long a message that Kafka should have is gone back for."""
_STOP_SECONDS = 8.0
"""How long Faust and the relay may each take to end."""
_LOOK_SECONDS = 1.0
"""How long it is enough to know of the API's rows what the last round saw of them."""
_IDLE_SECONDS = 1.0
"""A stage without a round for so long deletes what Kafka has of its outbox in one of its own."""

Work = Callable[[], Coroutine[Any, Any, None]]


class _App(faust.App):
    """A Faust app that tells the worker before partitions go and before new ones begin."""

    on_assigned: Callable[[set[TP]], Coroutine[Any, Any, None]]
    on_revoked: Callable[[], Coroutine[Any, Any, None]]
    fetch_interval_seconds: float
    is_busy: Callable[[], bool]

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.on_revoked()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.on_assigned(assigned)
        await super()._on_partitions_assigned(assigned, generation_id)


class Worker:
    """Runs the stages of the partitions that Kafka assigns to it, until told to stop.

    watch is told of everything that its metrics read.
    """

    def __init__(
        self,
        rounds: Rounds,
        stages: Sequence[Stage],
        kafka: KafkaConfig,
        config: WorkerConfig,
        topics: tuple[int, int],
        watch: WorkerObservation,
    ) -> None:
        """Connect to nothing yet. topics: generation and number of partitions."""
        self._rounds = rounds
        self._stages = tuple(stages)
        self._config = config
        self._generation, self._partitions = topics
        self._observation = watch
        self._relay = KafkaRelay(kafka, self._generation, self._fail)
        self._kafka = kafka
        self._names = {
            physical_topic(topic, self._generation): topic
            for stage in stages
            for topic in inputs_of(stage)
        }
        self._bundled_topics = {
            topic for each in self._stages for topic in marked_topics(each, self._stages)
        }
        self._gather_seconds = {
            stage.name: config.gather_interval_milliseconds / 1000 if stage.may_gather else 0.0
            for stage in stages
        }
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rounds")
        self._moved_at = time.monotonic()
        self._round_at: dict[str, float] = {}
        self._is_outgrown = False
        self._missing: dict[TP, tuple[int, float]] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until stop is set. Raises whatever ended an agent; then the process must end."""
        # Faust wants a folder for tables; there are none.
        with tempfile.TemporaryDirectory(prefix="flowrate-worker-") as folder:
            self._folder = folder
            asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        self._turn = asyncio.Lock()
        self._waiting: dict[str, asyncio.Queue[Round]] = {
            stage.name: asyncio.Queue(_ROUNDS_WAITING) for stage in self._stages
        }
        self._ready: dict[str, dict[str, tuple[int, dict[str, dict[int, int]]]]] = {
            stage.name: {} for stage in self._stages
        }
        self._app = self._make_app()
        await self._relay.start()
        background = [asyncio.create_task(self._guarded(work)) for work in self._background()]
        await self._app.start()
        try:
            while not (stop.is_set() or self._is_outgrown):
                self._check_app()
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            for task in background:
                task.cancel()
            # Where Kafka is away neither would end; the outbox has what it did not get.
            for stopping in (self._app.stop(), self._relay.stop()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping, _STOP_SECONDS)
            self._executor.shutdown()

    def _background(self) -> list[Work]:
        return [
            *[functools.partial(self._publish_rounds, stage.name) for stage in self._stages],
            self._send_marks,
            self._look_for_appended,
            self._commit_positions,
            self._watch,
        ]

    def _check_app(self) -> None:
        if self._app.crashed:
            self._fail(self._app.crash_reason or RuntimeError("Faust ended by itself"))

    # -- Faust ---------------------------------------------------------------------------------

    def _make_app(self) -> _App:
        config = self._config
        app = _App(
            consumer_group(config.application_id, self._generation),
            broker=[f"kafka://{server}" for server in self._kafka.bootstrap_servers],
            broker_credentials=faust_credentials(self._kafka),
            store="memory://",
            datadir=self._folder,
            web_enabled=False,
            autodiscover=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=config.session_timeout_seconds,
            broker_heartbeat_interval=config.heartbeat_interval_seconds,
            broker_max_poll_interval=300.0,
            consumer_max_fetch_size=self._kafka.message_octets_max + 65_536,
            stream_buffer_maxsize=config.queue_messages_max,
            stream_wait_empty=False,
        )
        # Without tables there are no replicas; with them a worker that is added would wait for
        # partitions until others have more than their share, rounded up.
        app.assignor.replicas = 0
        app.fetch_interval_seconds = config.fetch_interval_milliseconds / 1000
        app.is_busy = self._turn.locked
        app.on_assigned = self._assigned
        app.on_revoked = self._revoked
        for stage in self._stages:
            names = [physical_topic(topic, self._generation) for topic in inputs_of(stage)]
            # Faust may acknowledge nothing: it would also what it skips at a rebalance.
            topic = app.topic(*names, key_serializer="raw", value_serializer="raw", acks=False)
            agent = functools.partial(self._agent, stage.name)
            app.agent(topic, name=stage.name, concurrency=1)(agent)
        return app

    async def _revoked(self) -> None:
        """Finish the round under way; nothing more is taken until the next assignment.

        Kafka assigns only once every worker has come here, so no round meets another owner's,
        unless a worker stood still: the epoch then stops it.
        """
        async with self._turn:
            self._rounds.release()
            self._observation.look()

    async def _assigned(self, assigned: set[TP]) -> None:
        """Become the owner of what was assigned, and begin where PostgreSQL says."""
        try:
            by_topic: dict[str, set[int]] = {name: set() for name in self._names}
            for tp in assigned:
                by_topic.setdefault(tp.topic, set()).add(tp.partition)
            partitions = by_topic[next(iter(self._names))]
            if any(found != partitions for found in by_topic.values()):
                raise RuntimeError(f"topics were not assigned alike: {by_topic}")
            async with self._turn:
                left_over = await self._in_thread(self._rounds.take_over, partitions)
                self._observation.outbox.forget()
                self._observation.look()
                # Before any round of these tasks: its outputs stand behind what is left over.
                await self._publish([message_of(row) for row in left_over])
                self._begin_with(left_over)
                if partitions:
                    await self._commit(self._rounds.offsets(), partitions)
            self._moved_at = time.monotonic()
            LOG.info(
                "partitions taken over",
                extra={"partitions": sorted(partitions), "outbox_rows": len(left_over)},
            )
        except BaseException as error:
            self._fail(error)
            raise

    def _begin_with(self, left_over: Sequence[OutboxRow]) -> None:
        """Take note that Kafka has what the former owners left in the outbox."""
        progress = self._rounds.watermarks()
        for stage in self._stages:
            own = f"{stage.name}/"
            rows = [row for row in left_over if row.task.startswith(own)]
            self._rounds.acknowledge(stage.name, rows)
            self._ready[stage.name] = {
                task: at for task, at in progress.items() if task.startswith(own)
            }

    async def _commit(self, offsets: Mapping[tuple[str, int], int], partitions: set[int]) -> None:
        """Tell Kafka where the tasks of partitions are: for the next seek, and for who watches."""
        consumer: Any = self._app.consumer
        await consumer._commit(
            {
                TP(name, partition): offsets.get((topic, partition), 0)
                for name, topic in self._names.items()
                for partition in partitions
            }
        )

    async def _commit_positions(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_SECONDS)
            async with self._turn:
                offsets = self._rounds.offsets()
                partitions = {partition for _, partition in self._rounds.tasks}
                if partitions:
                    await self._commit(offsets, partitions)

    # -- rounds --------------------------------------------------------------------------------

    async def _agent(self, stage: str, stream: Any) -> None:
        """Take what waits in the stream as one round after another."""
        try:
            events: list[Any] = []
            octets, has_data, queue = 0, False, stream.channel.queue
            gathers_until = due_at = 0.0
            gather_seconds = self._gather_seconds[stage]
            fetch_seconds = self._config.fetch_interval_milliseconds / 1000
            fetch_seconds = max(fetch_seconds, _GATHER_SECONDS_LEAST)
            async for event in stream.events():
                if not events:
                    gathers_until = time.monotonic() + _GATHER_FETCHES * fetch_seconds
                events.append(event)
                octets += len(event.message.value)
                has_data = has_data or is_data(event.message.value)
                is_full = (
                    len(events) >= self._config.round_messages_max
                    or octets >= self._config.round_octets_max
                )
                # Marks come one by one of every task: together they are one round, not many.
                # All that comes for a stage that may gather waits until its next round is due.
                until = due_at if has_data else max(due_at, gathers_until)
                while not is_full and queue.empty() and time.monotonic() < until:
                    await asyncio.sleep(fetch_seconds)
                has_more = not queue.empty()
                if has_more and not is_full:
                    continue
                await self._round(stage, events)
                due_at = time.monotonic() + gather_seconds
                events, octets, has_data = [], 0, False
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._fail(error)
            raise

    async def _round(self, stage: str, events: Sequence[Any]) -> None:
        # The turn is given away between rounds that took rows of the API only: events then wait.
        is_behind = True
        while is_behind:
            async with self._turn:
                messages = self._owned(stage, events)
                placed = {p: await self._placed(stage, p, found) for p, found in messages.items()}
                taken = {p: found for p, found in placed.items() if found}
                is_behind = await self._take(stage, taken)

    def _owned(self, stage: str, events: Sequence[Any]) -> dict[int, list[Message]]:
        """Return the messages of owned partitions, without what a rebalance has made obsolete."""
        generation = self._app.consumer_generation_id
        messages: dict[int, list[Message]] = {}
        for event in events:
            kafka = event.message
            is_owned = (stage, kafka.partition) in self._rounds.tasks
            # Fetched before a rebalance: it is fetched again by whoever owns it now.
            if is_owned and kafka.generation_id == generation:
                message = Message(self._names[kafka.topic], kafka.offset, kafka.value)
                messages.setdefault(kafka.partition, []).append(message)
        return messages

    async def _placed(
        self, stage: str, partition: int, messages: Sequence[Message]
    ) -> Sequence[Message]:
        """Return the messages that go on where the task stands; go back for those it lacks.

        Around a rebalance Faust may hand over what it had read ahead before, or pass over what lies
        behind the position that it was told.
        """
        standing = self._rounds.tasks[stage, partition].standing
        placed, missing = standing.place([(m.topic, m.offset) for m in messages])
        for topic, offset in missing.items():
            tp = TP(physical_topic(topic, self._generation), partition)
            begin = (await self._app.consumer.earliest_offsets(tp))[tp]
            known, since = self._missing.get(tp, (-1, 0.0))
            if known != offset:
                self._missing[tp] = offset, (since := time.monotonic())
            if begin > offset or time.monotonic() - since > _MISSING_SECONDS:
                # There is nothing, or no more. Numbers tell whether it was taken before.
                return messages
            LOG.warning(
                "goes back", extra={"topic": tp.topic, "partition": partition, "to": offset}
            )
            await self._app.consumer.seek(tp, offset)
        return [messages[index] for index in placed]

    async def _take(self, stage: str, messages: Mapping[int, Sequence[Message]]) -> bool:
        """Take a round and hand it to the relay; return whether it left the messages waiting."""
        if not messages:
            return False
        began = time.monotonic()
        done: Round = await self._in_thread(self._rounds.run, stage, messages)
        self._moved_at = self._round_at[stage] = time.monotonic()
        self._observation.measures.observe("stream_round_seconds", self._moved_at - began, stage)
        self._observation.on_round(stage, done)
        await self._waiting[stage].put(done)
        return done.is_behind

    async def _look_for_appended(self) -> None:
        """Take rows that the API appended for partitions that Kafka brings nothing for.

        Also notices that the topics have grown: then there is nothing more to be done here.
        """
        interval_seconds = self._config.idle_interval_milliseconds / 1000
        looked_at = 0.0
        while True:
            await asyncio.sleep(interval_seconds)
            async with self._turn:
                now = time.monotonic()
                round_at = max(self._round_at.values(), default=0.0)
                if now - round_at < interval_seconds and now - looked_at < _LOOK_SECONDS:
                    appended = self._rounds.unread()
                else:
                    looked_at = now
                    try:
                        appended = await self._in_thread(self._rounds.appended)
                    except OutgrownError as error:
                        LOG.warning("worker ends, to start on topics that have grown: %s", error)
                        self._is_outgrown = True
                        return
                found = self._tidied() | appended
            for stage, partitions in found.items():
                async with self._turn:
                    owned = [p for p in partitions if (stage, p) in self._rounds.tasks]
                    await self._take(stage, {partition: [] for partition in owned})

    def _tidied(self) -> dict[str, list[int]]:
        """Return the partitions of idle stages whose outbox still has what Kafka has."""
        before = time.monotonic() - _IDLE_SECONDS
        return {
            stage: [partition for name, partition in self._rounds.tasks if name == stage]
            for stage in self._rounds.acknowledged()
            if self._round_at.get(stage, 0.0) < before
        }

    # -- relay ---------------------------------------------------------------------------------

    async def _publish_rounds(self, stage: str) -> None:
        while True:
            done = await self._waiting[stage].get()
            messages = [message_of(row) for row in done.outputs]
            octets_max = self._kafka.message_octets_max
            await self._publish(bundled(messages, self._bundled_topics, octets_max))
            self._rounds.acknowledge(stage, done.outputs)
            self._rounds.counters["stream_messages_published"] += len(done.outputs)
            self._observation.outbox.published(stage)
            ready = self._ready[stage]
            for task, progress in done.watermarks.items():
                # An old round of a task that went away and came back says less than we know.
                if task not in ready or progress[0] >= ready[task][0]:
                    ready[task] = progress

    async def _send_marks(self) -> None:
        """Pass watermarks on behind data that Kafka has acknowledged."""
        sent: dict[str, int] = {}
        interval_ms = self._config.mark_interval_milliseconds
        while True:
            # At the same moments by every worker's clock: one fetch then brings them all.
            wait_ms = interval_ms - self._observation.now_ms() % interval_ms
            await asyncio.sleep(wait_ms / 1000)
            messages: dict[tuple[str, int], list[Mark]] = {}
            for stage in self._stages:
                for task, (at, issued) in self._ready[stage.name].items():
                    if sent.get(task, 0) >= at:
                        continue
                    sent[task] = at
                    for topic in marked_topics(stage, self._stages):
                        numbers = issued.get(topic, {})
                        for partition in range(self._partitions):
                            mark = Mark(task, numbers.get(partition, 0), at)
                            messages.setdefault((topic, partition), []).append(mark)
            await self._publish(
                [(topic, p, encode_marks(marks)) for (topic, p), marks in messages.items()]
            )

    async def _publish(self, messages: Sequence[tuple[str, int, bytes]]) -> None:
        for first in range(0, len(messages), self._config.relay_messages_max):
            part = messages[first : first + self._config.relay_messages_max]
            began = time.monotonic()
            self._observation.in_flight += len(part)
            await self._relay.publish(part)
            self._observation.in_flight -= len(part)
            self._observation.measures.observe("stream_publish_seconds", time.monotonic() - began)

    # -- watching ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """End the worker where its positions stand still while its input grows."""
        while True:
            await asyncio.sleep(1.0)
            still = time.monotonic() - self._moved_at
            if still > self._config.stalled_after_seconds and self._is_behind():
                raise RuntimeError(f"no round for {still:.0f} s, although there is input")

    def _is_behind(self) -> bool:
        return any(
            (self._app.consumer.highwater(TP(name, partition)) or 0) > offset
            for (name, partition), offset in self._observation.positions().items()
        )

    async def _guarded(self, work: Work) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the process at once: at an orderly stop Faust acknowledges what was not taken."""
        LOG.critical("worker ends", exc_info=error)
        if isinstance(error, SequenceGapError):
            # Nobody may skip what is missing, and a restart changes nothing: be seen to stand.
            self._observation.is_at_gap = True
            time.sleep(self._config.gap_pause_seconds)
        logging.shutdown()
        os._exit(1)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work in the one thread of rounds, so that heartbeats go on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(call, *arguments))


def faust_credentials(kafka: KafkaConfig) -> Any:
    """Return how Faust logs in at the brokers; None where nothing is asked."""
    context = ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
