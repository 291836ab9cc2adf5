"""Log files: lines as Metaflow stores them, and the files that collect them on other machines."""

from __future__ import annotations

import fcntl
import heapq
import os
import sys
import termios
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from uuid import uuid4

from metaflow.mflog import RUNTIME_LOG_SOURCE, TASK_LOG_SOURCE

Line = tuple[str, bytes]  # stdout or stderr, and the line

_VARIABLES = {"stdout": "MFLOG_STDOUT", "stderr": "MFLOG_STDERR"}
_PATIENCE_SECONDS = 2.0
_STEP_SECONDS = 0.05


def decorated(lines: Iterable[Line], source: str = RUNTIME_LOG_SOURCE) -> Iterator[Line]:
    """Yield lines as Metaflow stores them, each a microsecond after the one before.

    Metaflow sorts lines by these times, which are those of now.
    """
    time = datetime.now(timezone.utc).replace(tzinfo=None)
    step, mark = timedelta(microseconds=1), uuid4().hex
    for number, (stream, line) in enumerate(lines):
        head = f"[MFLOG|0|{time.isoformat(timespec='microseconds')}Z|{source}|{mark}-{number}]"
        yield stream, head.encode() + line.removesuffix(b"\n") + b"\n"
        time += step


class LogFiles:
    """The two files with the output of a task in a container; other processes write them."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths
        self._began = self._sizes()

    @classmethod
    def of(cls, task: str) -> LogFiles | None:
        """Return the files of the running task, from now on; None if it has none."""
        # The environment of the task around a run that a task launches has them as well.
        if os.environ.get("MF_PATHSPEC") != task or not {*_VARIABLES.values()} <= os.environ.keys():
            return None
        return cls({stream: os.environ[name] for stream, name in _VARIABLES.items()})

    def lines(self) -> Iterator[Line]:
        """Yield the lines so far, as the task printed them, in the order of their times."""
        self._wait()
        read = (self._read(stream) for stream in _VARIABLES)
        for _, stream, line in heapq.merge(*read, key=lambda each: each[0]):
            yield stream, line

    def append(self, lines: Iterable[Line]) -> None:
        """Add lines that the task did not print."""
        texts: dict[str, bytearray] = {}
        for stream, line in decorated(lines, TASK_LOG_SOURCE):
            texts.setdefault(stream, bytearray()).extend(line)
        if texts:
            self._wait()  # Else a line that was printed before would be written in between.
        for stream, text in texts.items():
            with open(self._paths[stream], "a+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                is_whole = file.read(1) in (b"\n", b"")
                file.write(text if is_whole else b"\n" + text)

    def _read(self, stream: str) -> Iterator[tuple[bytes, str, bytes]]:
        time = b""
        with suppress(FileNotFoundError), open(self._paths[stream], "rb") as file:
            file.seek(self._began[stream])
            for line in file:
                head, bracket, text = line.partition(b"]")
                parts = head.split(b"|")
                if bracket and line.startswith(b"[MFLOG|") and len(parts) == 5:
                    time, line = parts[2], text
                yield time, stream, line

    def _wait(self) -> None:
        """Wait for the output of this process to be in the files, two seconds at most."""
        for file in (sys.stdout, sys.stderr):
            with suppress(Exception):
                file.flush()
        until = time.monotonic() + _PATIENCE_SECONDS
        sizes = self._sizes()
        while time.monotonic() < until:
            time.sleep(_STEP_SECONDS)
            before, sizes = sizes, self._sizes()
            if sizes == before and not any(map(_unread_bytes, (1, 2))):
                return

    def _sizes(self) -> dict[str, int]:
        sizes = dict.fromkeys(_VARIABLES, 0)
        for stream, path in self._paths.items():
            with suppress(OSError):
                sizes[stream] = os.path.getsize(path)
        return sizes


def _unread_bytes(pipe: int) -> int:
    """Return the number of bytes in a pipe that its reader has yet to read."""
    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0
