"""Cases: code that is tracked in a project of its own, and asked what it depends on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memoflow.fingerprint import Part
from memoflow.tracking import AccessTracker, FileDigests, Paths, Reads, World, tracking
from memoflow.tracking.kernel import KernelEvents


def no_events(*told: Any) -> Any:
    """Stand in for a system where the kernel tells nothing."""
    raise OSError("fanotify is not to be had")


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
        self.reads: Reads
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

    def run(self, act: Callable[[], Any]) -> Reads:
        """Track a function, and return what it read."""
        with tracking(self.tracker):
            self.tracker.start()
            try:
                self.result = act()
            finally:
                self.tracker.stop()
        self.reads = Reads(self.tracker, self.world, self.digests)
        return self.reads

    @property
    def names(self) -> dict[str, str]:
        """The digests of what was read, by kind and name."""
        return {f"{part.kind} {part.name}": part.digest for part in self.reads.parts}

    def differs(self) -> str | None:
        """Return the read that finds something else now, if any."""
        found: Part | None = self.world.differs(self.reads.parts, self.reads.written)
        return None if found is None else f"{found.kind} {found.name}"
