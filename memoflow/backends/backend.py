"""Backend: the seven verbs of a place for bytes, wrappers around one, and first questions to it."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from memoflow.dataclass import dataclass
from memoflow.errors import BackendUnreachableError, NotFoundError, UsageError

_CHUNK_BYTES = 1 << 20
LARGEST_READ_BYTES = 1 << 30  # at once: nothing that is read whole comes near
_LONGEST_S = 18.0  # for a first answer
_AGAIN_AFTER_S = 6.0  # on another connection: one that stalls says nothing of the next

# The bytes to write: themselves, in a file, or in chunks.
Data = bytes | Path | Iterable[bytes | memoryview]


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


class Capabilities:
    """Further methods that only some places need; by default there is nothing for them to do."""

    # Whether each call takes a round trip to a server; else it costs next to nothing.
    takes_round_trips: bool = False

    def traffic(self) -> tuple[int, float]:
        """Return the number of this process's requests to a server, and their time in seconds."""
        return 0, 0.0

    def path(self, name: str) -> Path | None:
        """Return a file's path on this machine; None if its bytes lie elsewhere."""
        return None

    def folds_case(self, name: str) -> bool:
        """Tell whether a file that is there is found by its name in capitals, too."""
        return False

    def prefetch(self, names: Sequence[str]) -> None:
        """Fetch these files to this machine, so that they have paths, where there is a cache."""

    def evict_cached(self, name: str) -> bool:
        """Drop this machine's copy of a file kept elsewhere; True if there was one.

        Then reading anew may give other bytes.
        """
        return False

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        """Remove unfinished files that writers began before and left; return their number."""
        return 0


class Backend(Capabilities, ABC):
    """A place that keeps bytes by name.

    A name is a relative path of parts that neither are empty nor begin with a dot. A name
    appears whole or not at all. Raises BackendError and its children, never OSError.
    """

    @abstractmethod
    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        """Return the bytes, or None if nothing has this name.

        Of more than `most_bytes` one more than these, unread the rest: anybody who may write there
        can leave a file too large for memory.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO | None:
        """Return a seekable reader, or None if nothing has this name."""

    @abstractmethod
    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        """Give bytes, those of a file or chunks this name; False if `if_absent` and it is taken.

        Each chunk is used up before the next is asked for: it may come in the same memory. An
        error raised by them leaves nothing. With `durable=False` the file outlives this process
        but perhaps not a power cut.
        """

    @abstractmethod
    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        """Give a file of this machine or of a backend a second name here, unmoved if that can be.

        Whoever owns `source` must never write into it. False if the name is taken.
        """

    @abstractmethod
    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        """Return the size of each name in bytes; None for one that is not taken."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Found]:
        """Yield the files in the folder `prefix` and below, in no order; "" means all.

        Files that come or go meanwhile may be there or not.
        """

    @abstractmethod
    def delete(self, names: Sequence[str]) -> None:
        """Free the names; an absent one is fine."""

    def has(self, *names: str) -> bool:
        """Tell whether all these names are taken."""
        return None not in self.sizes(names)


class Forwarding(Backend):
    """A wrapper that does everything as the backend that it wraps does; to be overridden."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.takes_round_trips = backend.takes_round_trips

    def __repr__(self) -> str:
        return repr(self.backend)

    def __str__(self) -> str:
        return str(self.backend)

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        return self.backend.read(name, most_bytes=most_bytes)

    def open(self, name: str) -> BinaryIO | None:
        return self.backend.open(name)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        return self.backend.write(name, data, if_absent=if_absent, durable=durable)

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        return self.backend.link_or_copy(name, source)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return self.backend.sizes(names)

    def list(self, prefix: str) -> Iterator[Found]:
        return self.backend.list(prefix)

    def delete(self, names: Sequence[str]) -> None:
        self.backend.delete(names)

    def traffic(self) -> tuple[int, float]:
        return self.backend.traffic()

    def path(self, name: str) -> Path | None:
        return self.backend.path(name)

    def folds_case(self, name: str) -> bool:
        return self.backend.folds_case(name)

    def prefetch(self, names: Sequence[str]) -> None:
        self.backend.prefetch(names)

    def evict_cached(self, name: str) -> bool:
        return self.backend.evict_cached(name)

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        return self.backend.cleanup(before=before, dry_run=dry_run)


class Unconditional(Forwarding):
    """Wrap a backend on a server that ignores conditions: it looks before it writes.

    Of two that write at the same moment both may take themselves for the winner; then the later
    one's bytes are there. What is named by its content does not mind, and a ref that is not the one
    that was found is noticed by its digest. So work may be done twice, and no answer is wrong.
    """

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        if if_absent and self.has(name):
            return False
        self.backend.write(name, data, durable=durable)
        # Not ours if another wrote in between: the last one is the one there now.
        return not (if_absent and isinstance(data, bytes)) or self.backend.read(name) == data

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        return not self.has(name) and self.backend.link_or_copy(name, source)


def check_name(name: str) -> str:
    """Return the name; UsageError if it could leave the backend or hide in it."""
    if "\0" in name or any(not part or part.startswith(".") for part in name.split("/")):
        raise UsageError(f"{name!r} cannot name anything in a backend")
    return name


def folder(prefix: str) -> str:
    """Return the prefix as a folder: "" or ending in one slash."""
    return f"{check_name(prefix)}/" if prefix else ""


def chunks(file: Any) -> Iterator[memoryview]:
    """Yield the rest of a binary file in chunks, each in the same memory."""
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while length := file.readinto(buffer):
        yield view[:length]


def chunks_of(place: BlobLocation) -> Iterator[memoryview]:
    """Yield the bytes at a location as `chunks` does; NotFoundError if nothing is there."""
    file = place.backend.open(place.name)
    if file is None:
        raise NotFoundError(f"{place.name} went away before it could be adopted")
    with file:
        yield from chunks(file)


def first_read(backend: Backend, name: str, *, most_bytes: int) -> bytes | None:
    """Return the result of `backend.read`; BackendUnreachableError if it takes too long.

    The clients' own time limits are no bound: names with many addresses, logins and proxies each
    have a patience of their own.
    """
    if not backend.takes_round_trips:
        return backend.read(name, most_bytes=most_bytes)
    answers: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(backend.read(name, most_bytes=most_bytes))
        except BaseException as error:
            answers.put(error)

    began = time.monotonic()
    while time.monotonic() - began < _LONGEST_S:
        # Daemons: a process that goes on without an answer does not wait for it at its end.
        threading.Thread(target=ask, name="memoflow-contact", daemon=True).start()
        left_s = began + _LONGEST_S - time.monotonic()
        try:
            answer = answers.get(timeout=min(_AGAIN_AFTER_S, max(0.0, left_s)))
        except queue.Empty:
            continue
        if isinstance(answer, BaseException):
            raise answer
        return answer
    raise BackendUnreachableError(
        f"cannot reach {backend}: no answer within {_LONGEST_S:.0f} s; check the address and the "
        "network, and whether the server works"
    )


def honours_conditions(backend: Backend, probe: str) -> bool:
    """Tell whether a write that must not replace anything does not.

    On a server that is tried: `probe` is overwritten.
    """
    if not backend.takes_round_trips:
        return True
    # Not deleted: who may not delete may have a store, too. It is there for the next one to ask.
    backend.write(probe, b"")
    return not backend.write(probe, b"again", if_absent=True)
