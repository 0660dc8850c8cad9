"""What a backup holds: the file `manifest.json`, written last, with a checksum of every part.

A folder without a manifest is no backup: its making was interrupted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import msgspec

from infra.files import create_whole
from warehouse.exports import Reached

FILE_NAME = "manifest.json"
FORM = 1
"""Number of the layout that this version writes and reads."""

_CHUNK_OCTETS = 1 << 20


class BackupError(Exception):
    """A backup cannot be made, trusted or restored; str() is the message for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup: its path inside the folder, its size and its SHA-256 (hex)."""

    path: str
    octets: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class RatedPart:
    """What the backup has of the warehouse: sums over all its rows, and how far they reach.

    The charge is the exact decimal as text.
    """

    generation: int
    reached: tuple[Reached, ...]
    rows: int
    octets_up: int
    octets_down: int
    charge: str


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What was backed up, when, from which version, and how far it had come.

    positions: task -> topic (or raw log) -> where it goes on; chain_heads: branch -> number of its
    newest ledger transaction.
    """

    form: int
    mode: str
    version: str
    schema_revision: str
    made_at: int
    topic_generation: int
    positions: dict[str, dict[str, int]]
    chain_heads: dict[str, int]
    warehouse: RatedPart | None
    parts: tuple[Part, ...]


def running_version() -> str:
    """Return the version of the Flowrate that runs."""
    try:
        return importlib.metadata.version("flowrate")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def part_of(directory: Path, path: Path) -> Part:
    """Return a file of the backup with its size and checksum."""
    digest = hashlib.sha256()
    octets = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_OCTETS):
            digest.update(chunk)
            octets += len(chunk)
    return Part(path.relative_to(directory).as_posix(), octets, digest.hexdigest())


def parts_in(directory: Path) -> tuple[Part, ...]:
    """Return every file below the backup's folder but the manifest, by path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple(part_of(directory, path) for path in files if path.name != FILE_NAME)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the folder a backup. Raises OSError."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    if not create_whole(directory / FILE_NAME, encoded.decode() + "\n"):
        raise BackupError(f"{directory} is a backup already and is left as it is")


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a backup; BackupError where the folder is none that we understand."""
    path = directory / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BackupError(f"{directory}: no {FILE_NAME}, so no (finished) backup") from None
    except OSError as error:
        raise BackupError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        form: Any = msgspec.json.decode(content)["form"]
        if form != FORM:
            raise BackupError(f"{path}: form {form}; this version of Flowrate reads form {FORM}")
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise BackupError(f"{path}: not a manifest: {error}") from None


def altered_parts(directory: Path, manifest: Manifest) -> list[str]:
    """Return one sentence per part that is missing, altered or not in the manifest."""
    found = {part.path: part for part in parts_in(directory)}
    wanted = {part.path: part for part in manifest.parts}
    problems = []
    for path in sorted(found.keys() | wanted.keys()):
        if path not in found:
            problems.append(f"{path} is missing")
        elif path not in wanted:
            problems.append(f"{path} is not in the manifest")
        elif found[path].octets != wanted[path].octets:
            octets = (found[path].octets, wanted[path].octets)
            problems.append(f"{path} has {octets[0]} octets, not {octets[1]}")
        elif found[path].sha256 != wanted[path].sha256:
            problems.append(f"{path} has another SHA-256 than when it was written")
    return problems
