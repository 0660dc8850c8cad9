"""`flowrate topics`: brings the topics in Kafka to what the settings say, and lets them grow."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from billing.adapters.databases import open_database, reading
from infra.settings import Settings, SettingsError, find_file, load_settings
from infra.wiring.paths import database_url
from infra.wiring.topic_growth import drop, grow
from streams.adapters.kafka_admin import open_topics
from streams.adapters.kafka_login import KafkaRefusedError
from streams.adapters.postgres_growth import GrowthError
from streams.adapters.postgres_tables import current_generation
from streams.topic_plan import compare, describe, wanted_topics

EXIT_REFUSED = 1


class RefusedError(Exception):
    """What keeps the command from its work, as one line for the operator."""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 as wanted, 1 where something is not."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    if settings.mode != "cluster":
        raise SettingsError(['mode = "embedded": expected "cluster"; embedded has no topics'])
    try:
        if options.command == "apply":
            return apply(settings, is_dry_run=options.dry_run)
        return change_generation(settings, options)
    except (RefusedError, GrowthError) as error:
        print(f"flowrate: {error}", file=sys.stderr)
    except KafkaRefusedError as error:
        keys = ", ".join(f"cluster.{key}" for key in error.keys)
        print(f"flowrate: {keys}: {error}" if keys else f"flowrate: {error}", file=sys.stderr)
    return EXIT_REFUSED


def apply(settings: Settings, is_dry_run: bool) -> int:
    """Print the difference between Kafka's topics and the settings', then apply it.

    Returns 1 where something differs that cannot be changed in place; the rest is applied.
    Raises RefusedError, KafkaRefusedError.
    """
    generation, partitions = _generation(settings)
    config = settings.cluster.topics
    wanted = wanted_topics(config, settings.cluster.kafka, generation, partitions)
    with open_topics(settings.cluster.kafka) as topics:
        plan = compare(wanted, topics.read(topic.name for topic in wanted))
        if generation == 1 and config.partitions != partitions:
            stale = f"cluster.topics.partitions is {config.partitions}, the topics have"
            stale += f" {partitions}: partitions grow by `flowrate topics grow`"
            plan = dataclasses.replace(plan, obstacles=(*plan.obstacles, stale))
        for line in describe(plan):
            print(line, flush=True)
        if plan.is_empty:
            print(f"nothing to do: {len(wanted)} topics of generation {generation}")
        elif is_dry_run:
            print("nothing was changed (--dry-run)")
        else:
            topics.create(plan.creations)
            topics.change(plan.changes)
            print(f"created {len(plan.creations)} topics, changed {len(plan.changes)} configs")
    return EXIT_REFUSED if plan.obstacles else 0


def change_generation(settings: Settings, options: argparse.Namespace) -> int:
    """Run `grow` or `drop`; return the exit status. Raises as `apply`, and GrowthError."""
    with _database(settings) as engine, open_topics(settings.cluster.kafka) as topics:
        if options.command == "grow":
            grow(settings, engine, topics, options.partitions)
        else:
            drop(engine, topics, options.generation)
    return 0


def _generation(settings: Settings) -> tuple[int, int]:
    """Return number and partitions of the generation in use, from the database."""
    with _database(settings) as engine, reading(engine) as connection:
        return current_generation(connection)


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Engine]:
    """Open the cluster's database; what it refuses is told as RefusedError."""
    engine = open_database(database_url(settings), config=settings.cluster.database)
    try:
        yield engine
    except LookupError as error:
        raise RefusedError(f"cluster.database_url: {error.args[0]}") from error
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise RefusedError(f"cluster.database_url: {reason}") from error
    finally:
        engine.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate topics", description="Create and change the topics of a cluster."
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    text = "print what differs from the settings, then create and change it"
    command = commands.add_parser("apply", help=text, description=f"{text}.", allow_abbrev=False)
    command.add_argument("--dry-run", action="store_true", help="print only")
    _add_settings(command)
    text = "give the topics more partitions, by a new generation; may be called again at any time"
    command = commands.add_parser("grow", help=text, description=f"{text}.", allow_abbrev=False)
    command.add_argument("--partitions", type=int, required=True, metavar="N", help="how many")
    _add_settings(command)
    text = "delete the topics of a former generation that nobody needs any more"
    command = commands.add_parser("drop", help=text, description=f"{text}.", allow_abbrev=False)
    command.add_argument("--generation", type=int, required=True, metavar="G", help="which one")
    _add_settings(command)
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
