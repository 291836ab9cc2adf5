"""Backend: the five verbs, and their streaming forms, that a place for bytes must know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError, UsageError

_CHUNK_BYTES = 1 << 20
LARGEST_READ_BYTES = 1 << 30  # at once: nothing that is read whole comes near


class Found(NamedTuple):
    """A name that a listing found.

    `modified` is by the backend's own clock: when this name last got its bytes, not when they
    were first made. `version` is another whenever they were written anew.
    """

    name: str
    size_bytes: int
    modified: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """The location of a blob: a backend, and its name there."""

    backend: Backend
    name: str


class Backend(Protocol):
    """A place that keeps bytes by name.

    A name is a relative path of parts that neither are empty nor begin with a dot. A name
    appears whole or not at all. Raises BackendError and its children, never OSError.

    `is_local` tells that to ask costs next to nothing; elsewhere each call takes a round trip.
    """

    is_local: bool

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        """Return the bytes, or None if nothing has this name.

        Of more than `most_bytes` one more than these, unread the rest: anybody who may write there
        can leave what does not fit into memory.
        """

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        """Give the bytes this name; False if `if_absent` and the name is taken.

        With `durable=False` they outlive this process but perhaps not a power cut.
        """

    def exists(self, names: Sequence[str]) -> list[bool]:
        """Return, for each name, True if it is taken."""

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        """Return the size of each name in bytes; None for one that is not taken."""

    def list(self, prefix: str) -> Iterator[Found]:
        """Yield the files in the folder `prefix` and below, in no order; "" means all.

        What comes or goes meanwhile may be there or not.
        """

    def delete(self, names: Sequence[str]) -> None:
        """Free the names; an absent one is fine."""

    def open(self, name: str) -> BinaryIO | None:
        """Return a seekable reader, or None if nothing has this name."""

    def write_from(
        self,
        name: str,
        source: Path | Iterable[bytes | memoryview],
        *,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        """Write a file's bytes or an iterable's chunks; an error it raises leaves nothing.

        Each chunk is used up before the next is asked for: it may come in the same memory.
        """

    def adopt(self, name: str, source: Path | BlobLocation) -> bool:
        """Give a file of this machine or of a backend a second name here, unmoved if that can be.

        Whoever owns `source` must never write into it. False if the name is taken.
        """

    def path(self, name: str) -> Path | None:
        """Return a file's path on this machine; None if its bytes lie elsewhere."""

    def bring(self, names: Sequence[str]) -> None:
        """See to it that these files lie on this machine, where this backend has a way to."""

    def doubt(self, name: str) -> bool:
        """Drop this machine's copy of a file kept elsewhere; True if there was one.

        Then reading anew may give other bytes.
        """

    def tidy(self, *, before: float, dry_run: bool = False) -> int:
        """Remove unfinished files that dead writers left; return their number."""


def check_name(name: str) -> str:
    """Return the name; UsageError if it could leave the backend or hide in it."""
    if "\0" in name or any(not part or part.startswith(".") for part in name.split("/")):
        raise UsageError(f"{name!r} cannot name anything in a backend")
    return name


def folder(prefix: str) -> str:
    """Return the prefix as a folder: "" or ending in one slash."""
    return f"{check_name(prefix)}/" if prefix else ""


def chunks_of(place: BlobLocation) -> Iterator[bytes]:
    """Yield the bytes at a location in chunks; NotFoundError if nothing is there."""
    file = place.backend.open(place.name)
    if file is None:
        raise NotFoundError(f"{place.name} went away before it could be adopted")
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
