"""Spooling: a task's checkpoints on a store that is elsewhere, with a gate before its writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memoflow.backends import Local
from memoflow.errors import BackendUnavailableError
from memoflow.flow import references
from memoflow.flow.cards.journal import Journal
from memoflow.flow.checkpoint.checkpointer import Checkpointer, CheckpointOptions
from memoflow.flow.task.identity import Identity
from memoflow.kinds import checkpoint
from memoflow.kinds.legacy import Legacy
from memoflow.store import Store, open_store
from tests.faults import Faulty
from tests.waiting import PATIENCE_S

PATHSPEC = "Train/1/start/1"
SERIES = checkpoint.series("Train", "start", "user:me", "0123456789ab")


@dataclass
class Gate:
    """Holds the writes of refs back while it is closed, and while a file is there."""

    file: Path | None = None
    fails: bool = False
    refs: list[str] = field(default_factory=list)  # in the order in which they were to be written
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _open: threading.Event = field(default_factory=threading.Event)

    def __call__(self, name: str) -> None:
        if not name.startswith(f"refs/{SERIES}"):
            return
        if self.fails:
            raise BackendUnavailableError("write failed on purpose")
        self.refs.append(name.rpartition("/")[2])
        self.arrived.release()
        assert self._open.wait(PATIENCE_S)
        until = time.monotonic() + 60
        while self.file is not None and self.file.exists() and time.monotonic() < until:
            time.sleep(0.005)

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()


@dataclass(frozen=True)
class Elsewhere:
    """What an ArtifactStore is to a Checkpointer, of a backend of our own."""

    store: Store
    root: str
    folder: str
    type: str = "local"

    @property
    def legacy(self) -> Legacy:
        return Legacy(Local(Path(self.root)))


@dataclass
class Task:
    """An attempt of a task, and the backend that its store lies in."""

    checkpointer: Checkpointer
    backend: Faulty
    folder: Path

    def save(self, text: str, *, wait: bool = False, **options: Any) -> dict[str, Any]:
        file = self.folder / "state.txt"
        file.write_text(text)
        asked = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
        return self.checkpointer.save(file, **(asked | options), wait=wait)

    def read(self, reference: Any) -> str:
        into = self.folder / f"loaded-{time.monotonic_ns()}"
        references.load(self.checkpointer.where, reference, into, writable=True)
        return (into / "state.txt").read_text()


def task(
    folder: Path,
    before_write: Callable[[str], None] | None = None,
    *,
    machine: str = "here",
    attempt: int = 0,
    is_local: bool = False,
    **options: Any,
) -> Task:
    """Make an attempt of a task on a machine; its store is in the folder on any of them."""
    backend = Faulty(Local(folder / "store"), takes_round_trips=not is_local)
    backend.before_write = before_write
    store = open_store(backend, cache_dir=folder / machine)
    work = folder / f"work-{machine}-{attempt}"
    work.mkdir(exist_ok=True)
    return task_of(store, work, backend, attempt=attempt, **options)


def task_of(
    store: Store, work: Path, backend: Any = None, *, attempt: int = 0, **options: Any
) -> Task:
    """Make an attempt of a task that keeps its checkpoints in a store, and works in a folder."""
    where: Any = Elsewhere(store, str(work.parent), f"{work.parent}/store")
    _, step, scope, identifier = SERIES.parts[1:]
    identity = Identity("Train", step, scope, identifier, PATHSPEC, PATHSPEC, attempt)
    return Task(
        Checkpointer(where, identity, CheckpointOptions(**options), Journal()), backend, work
    )


def stored(folder: Path) -> list[str]:
    """Return the refs that the store has, as any other machine would find them, oldest first."""
    found = Local(folder / "store").list(f"refs/{SERIES}")
    return sorted(each.name.rpartition("/")[2] for each in found)
