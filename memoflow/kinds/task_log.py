"""Task logs: stdout and stderr of the task that computed a result, kept for as long as the result.

    memo/<flow>/<step>/<scope>/logs/<inputs>/<refs>/<n>    the files stdout, stderr and order

The key is that of the result with `logs` for `results`, and the description has the digest of the
result's reference: a number can come again once its result is forgotten. The log has an entry of
its own since it is complete only when the task's process has ended, after the result was recorded.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import cycle, groupby
from operator import itemgetter

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fields import loaded
from memoflow.kinds import memo
from memoflow.names import Digest, Key, Ref
from memoflow.store import Payload, Store
from memoflow.units import readable

STREAMS = ("stdout", "stderr")
MOST_BYTES = 1 << 20  # of each stream
_MOST_LINES = 100_000  # of each stream, about as many as Metaflow keeps
_OWN = b"[memoize] "  # Why the origin ran is nothing that a hit is to say.
_LARGEST = 4 << 20  # of all files of a log, as other writers may have left it
_ORDER = "order"  # numbers of lines: of stdout, then of stderr, then of stdout again, and so on

Line = tuple[str, bytes]  # the stream, and the line with its end


class TaskLog:
    """The lines of both streams in the order in which they came, within bounds."""

    def __init__(self) -> None:
        self._streams = {name: _BoundedStream() for name in STREAMS}
        self._count = 0

    def add(self, stream: str, line: bytes) -> None:
        """Add one line, with its end unless it has none; memoflow's own are left out."""
        if line.startswith(_OWN):
            return
        self._streams[stream].add(self._count, line)
        self._count += 1

    @property
    def lines(self) -> list[Line]:
        """The kept lines, with the size of the rest on a line in its place."""
        numbered = [
            (number, stream, line)
            for stream, kept in self._streams.items()
            for number, line in kept.lines()
        ]
        numbered.sort(key=itemgetter(0))  # Those of one number stay in order.
        return [(stream, line) for _, stream, line in numbered]

    def files(self) -> dict[str, bytes]:
        """Return the streams that are not empty as files, and the order of both as a third."""
        lines = self.lines
        files = {
            name: content
            for name in STREAMS
            if (content := b"".join(line for stream, line in lines if stream == name))
        }
        if len(files) == len(STREAMS):
            order = [len(list(group)) for _, group in groupby(lines, itemgetter(0))]
            if lines[0][0] != STREAMS[0]:
                order.insert(0, 0)
            files[_ORDER] = json.dumps(order, separators=(",", ":")).encode()
        return files


class _BoundedStream:
    """The beginning and the end of one stream."""

    def __init__(self) -> None:
        self._head: list[tuple[int, bytes]] = []
        self._tail: deque[tuple[int, bytes]] = deque()
        self._head_left = self._tail_left = MOST_BYTES // 2
        self._left_out = 0  # bytes
        self._is_cut = False  # the last line of the head goes on in the tail

    def add(self, number: int, line: bytes) -> None:
        if not self._tail and len(self._head) < _MOST_LINES // 2:
            fitting = line[: self._head_left]
            if fitting:
                self._head.append((number, fitting))
                self._head_left -= len(fitting)
            if len(fitting) == len(line):
                return
            self._is_cut, line = bool(fitting), line[len(fitting) :]
        self._tail.append((number, line))
        self._tail_left -= len(line)
        while self._tail_left < 0 or len(self._tail) > _MOST_LINES // 2:
            number, line = self._tail.popleft()
            self._tail_left += len(line)
            self._left_out += len(line)
            if not self._tail:  # A line that is longer than all that is kept: its end is.
                end = line[-MOST_BYTES // 2 :]
                self._tail.append((number, end))
                self._tail_left -= len(end)
                self._left_out -= len(end)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        head, tail = list(self._head), list(self._tail)
        if self._left_out:
            if self._is_cut:
                number, line = head[-1]
                head[-1] = number, line + b"\n"
            line = f"[memoize] {readable(self._left_out)} of the log left out here\n".encode()
            head.append((tail[0][0], line))
        elif self._is_cut:
            number, line = head.pop()
            tail[0] = number, line + tail[0][1]
        yield from head
        yield from tail


def keep(
    store: Store, result: Key, digest: Digest, log: TaskLog, *, expires: float | None = None
) -> None:
    """Store the log of the task that computed a result; nothing if it printed nothing."""
    files = log.files()
    if not files:
        return
    there = key(result)
    ref = store.lookup(there)
    if ref is not None and not _is_of(store, ref, digest):
        store.forget(there)  # It is that of a result of the same number, which is gone.
    store.save(
        there, Payload(files=files), meta={"result": str(digest)}, expires=expires, durable=False
    )


def find(store: Store, result: Key, digest: Digest) -> list[Line]:
    """Return the lines of the log kept with a result; none without one that is whole."""
    ref = store.find(key(result))
    if ref is None:
        return []
    try:
        manifest = store.manifest(ref)
        sizes = {file.path: file.size_bytes for file in manifest.files}
        if manifest.meta.get("result") != str(digest) or sum(sizes.values()) > _LARGEST:
            return []
        files = {name: store.read_file(manifest, name) for name in sizes}
    except (NotFoundError, IntegrityError):
        return []
    return _lines_of(files)


def key(result: Key) -> Key:
    """Return the key of the log that belongs to a result."""
    return Key((*result.parts[:4], memo.LOGS, *result.parts[5:]))


def _is_of(store: Store, ref: Ref, digest: Digest) -> bool:
    try:
        return bool(store.meta(ref).get("result") == str(digest))
    except (NotFoundError, IntegrityError):
        return False


def _lines_of(files: Mapping[str, bytes]) -> list[Line]:
    """Return the lines of both streams in order; one stream after the other if that is unknown."""
    left = {name: deque(_split(files.get(name, b""))) for name in STREAMS}
    found: list[Line] = []
    with suppress(ValueError, TypeError, RecursionError):
        for stream, count in zip(cycle(STREAMS), loaded(files.get(_ORDER, b"[]")), strict=False):
            lines = left[stream]
            found += [(stream, lines.popleft()) for _ in range(min(count, len(lines)))]
    return found + [(name, line) for name, lines in left.items() for line in lines]


def _split(content: bytes) -> list[bytes]:
    """Return lines with their ends; a carriage return ends none."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines
