"""Children: the accesses of forked processes, told to their parent by a file, line by line.

Each line is written at once: a pool ends its workers by a signal, and nothing is flushed then.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any


class ChildLog:
    """A file that children append to and their parent reads on."""

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="memoflow-reads-")
        os.close(handle)
        self._parent = os.getpid()
        self._read_bytes = 0

    @property
    def is_child(self) -> bool:
        """True in a process forked from the one that made the log."""
        return os.getpid() != self._parent

    def tell(self, *note: Any) -> None:
        """Append a note, in a child."""
        with contextlib.suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(handle, (json.dumps(note) + "\n").encode())
            finally:
                os.close(handle)

    def news(self) -> Iterator[list[Any]]:
        """Yield the notes that were appended since the last time, in the parent."""
        if self.is_child:
            return
        try:
            with open(self._path, "rb") as log:
                log.seek(self._read_bytes)
                for line in log:
                    if not line.endswith(b"\n"):
                        return
                    self._read_bytes += len(line)
                    yield json.loads(line)
        except OSError:
            return

    def close(self) -> None:
        """Remove the file, in the parent."""
        if not self.is_child:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
