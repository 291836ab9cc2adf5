"""Cases: code that is tracked in a project of its own, and asked what it depends on."""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memoflow.fingerprint import Part
from memoflow.tracking import AccessTracker, FileDigests, Paths, ReadSet, World, tracking
from memoflow.tracking.kernel import KernelEvents

NOTHING = "nothing"


def no_events(*told: Any) -> Any:
    """Stand in for a system where the kernel tells nothing."""
    raise OSError("fanotify is not to be had")


@functools.cache
def sees_kernel() -> bool:
    try:
        KernelEvents(lambda event: None).close()
    except OSError:
        return False
    return True


class Case:
    """A project in a folder, and code that reads it."""

    def __init__(
        self, project: Path, *, outputs: tuple[str, ...] = (), sees_kernel: bool = True
    ) -> None:
        self.project = project
        self.paths = Paths(str(project), str(project))
        self.known: dict[str, str] = {}
        events = KernelEvents if sees_kernel else no_events
        self.tracker = AccessTracker(self.paths, outputs, events=events)
        self.reads: ReadSet
        self.result: Any = None

    @property
    def digests(self) -> FileDigests:
        return FileDigests(
            lambda names: {name: self.known[name] for name in names if name in self.known},
            self.known.update,
        )

    @property
    def world(self) -> World:
        return World(self.paths, self.digests, b"secret", os.environ)

    def run(self, act: Callable[[], Any]) -> ReadSet:
        """Track a function, and return what it read."""
        with tracking(self.tracker):
            self.tracker.start()
            try:
                self.result = act()
            finally:
                self.tracker.stop()
        self.reads = ReadSet(self.tracker, self.world, self.digests)
        return self.reads

    def take_events(self) -> None:
        """Have the tracker take the kernel's events of so far, as its thread does in time."""
        kernel = self.tracker._kernel
        assert kernel is not None
        kernel.drain()

    @property
    def names(self) -> dict[str, str]:
        """The digests of what was read, by kind and name."""
        return {f"{part.kind} {part.name}": part.digest for part in self.reads.parts}

    def differs(self) -> str:
        """Return the read that finds something else now."""
        assert not self.reads.never
        assert not self.reads.unsettled
        found: Part | None = self.world.differs(self.reads.parts, self.reads.written)
        return NOTHING if found is None else f"{found.kind} {found.name}"


def settle() -> None:
    """Let what was written become older than a tick of the file system's clock."""
    time.sleep(0.05)


def put(name: str, text: str = "old") -> Path:
    """Write a file, in a folder that is made if need be."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


_libc = ctypes.CDLL(None)
_libc.fopen.restype = ctypes.c_void_p


def c_read(name: str) -> None:
    """Read a file by code that is not Python's."""
    file = ctypes.c_void_p(_libc.fopen(name.encode(), b"r"))
    _libc.fread(ctypes.create_string_buffer(10), 1, 10, file)
    _libc.fclose(file)


def c_write(name: str, text: bytes = b"new!") -> None:
    """Write a file by code that is not Python's."""
    file = ctypes.c_void_p(_libc.fopen(name.encode(), b"w"))
    _libc.fwrite(text, 1, len(text), file)
    _libc.fclose(file)
