"""Kernel events: files opened by code that Python does not see, told by Linux's fanotify.

Each watched directory tells of its own files: who opened, made, wrote or moved one. Unprivileged
since Linux 5.13; then the process is known only where it is this one. Elsewhere, and where a
container forbids it, there are no events. See fanotify(7); the masks are those of its header.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

_INIT = 0x1 | 0x2 | 0xC00  # CLOEXEC, NONBLOCK, REPORT_DFID_NAME
_ACCESS, _CLOSE_WRITE, _CLOSE_NOWRITE, _OPEN = 0x1, 0x8, 0x10, 0x20
_MOVED_TO, _CREATE = 0x80, 0x100
_OVERFLOW, _ON_CHILD, _ON_DIR = 0x4000, 0x08000000, 0x40000000
_READ = _ACCESS | _CLOSE_NOWRITE  # What is mapped into memory is not accessed, but closed.
_WRITTEN = _CLOSE_WRITE | _CREATE | _MOVED_TO
_FLAGS = (_OPEN, _READ, _CREATE, _MOVED_TO, _WRITTEN, _ON_DIR)  # as the fields of an Event
_MASK = _READ | _CLOSE_WRITE | _OPEN | _CREATE | _MOVED_TO | _ON_CHILD | _ON_DIR
_ADD, _HERE = 0x1, -100
_HEADER = struct.Struct("=IBBHQii")
_RECORD = struct.Struct("=BBH8sIi")
_BUFFER_BYTES = 1 << 18
_HANDLE_BYTES = 128
_FOLLOW = 0x400  # AT_SYMLINK_FOLLOW
_ANY_HANDLE = 0x200  # AT_HANDLE_FID: file systems that cannot decode handles give them all the same
_PAUSE_SECONDS = 0.001
_LOCK_SECONDS = 5.0  # more than any drain takes
_MOST_BUFFERS = 256  # read at a time, whatever goes on


class Event(NamedTuple):
    """One or more events of a file, merged in no order; `mine` is False for another process."""

    path: str
    mine: bool
    opened: bool
    read: bool
    made: bool
    replaced: bool
    written: bool
    is_directory: bool


class KernelEvents:
    """The events of some directories, told to a function in a thread of its own until `close`.

    `is_told` says that a file which is only opened or read need not be told of.
    """

    def __init__(
        self,
        report: Callable[[Event], None],
        is_known: Callable[[str, bool], bool] = lambda path, mine: False,
    ) -> None:
        """Open a queue of events; OSError where there is none to be had."""
        import ctypes  # Here, since only a step that runs needs it, and it takes a while.

        self._ctypes = ctypes
        self._report = report
        self._is_known = is_known
        self._libc = ctypes.CDLL(None, use_errno=True)
        init = getattr(self._libc, "fanotify_init", None)
        if init is None:
            raise OSError("this system has no fanotify")
        self._fd = int(init(_INIT, os.O_RDONLY | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify is not to be had")
        self._pid = os.getpid()
        self._folders: dict[bytes, str] = {}
        self._marked: set[str] = set()
        self.overflowed = False
        self._count = 0
        self._ended = False
        self._lock = threading.RLock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        try:
            self.resume()
        except RuntimeError as error:  # There are as many threads as there may be.
            os.close(self._fd)
            os.close(self._wake)
            raise OSError("no thread for events is to be had") from error

    def pause(self) -> None:
        """End the thread for a while: Python warns of a fork of a process that has several."""
        thread, self._thread = self._thread, None
        if thread is not None and os.getpid() == self._pid and not self._ended:
            os.eventfd_write(self._wake, 1)
            thread.join(_LOCK_SECONDS)
            for _ in range(100):  # It is counted a little longer than it runs.
                if not os.path.exists(f"/proc/self/task/{thread.native_id}"):
                    return
                time.sleep(0.0001)

    def resume(self) -> None:
        """Tell of events from a thread of its own, again or for the first time."""
        if self._thread is None and not self._ended:
            thread = threading.Thread(target=self._follow, name="memoflow-events", daemon=True)
            thread.start()
            self._thread = thread

    def watch(self, folders: Iterable[str]) -> None:
        """Report events in these directories from now on; unwatchable ones are skipped."""
        for folder in folders:
            if folder in self._marked or self._ended:
                continue
            self._marked.add(folder)
            name = os.fsencode(folder)
            handle = self._handle(name)
            mask = self._ctypes.c_uint64(_MASK)
            if (
                handle is not None
                and self._libc.fanotify_mark(self._fd, _ADD, mask, _HERE, name) == 0
            ):
                self._folders.setdefault(handle, folder)

    def drain(self) -> None:
        """Report all events so far."""
        if os.getpid() != self._pid:
            return
        # A finalizer of the user's may run in the thread that has the lock, and wait for a lock of
        # the user's that is held here.
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            self.overflowed = True
            return
        try:
            self._drain()
        finally:
            self._lock.release()

    def _drain(self) -> None:
        for _ in range(_MOST_BUFFERS):
            if self._ended:
                return
            try:
                data = os.read(self._fd, _BUFFER_BYTES)
            except OSError:
                return  # There is nothing more, most often.
            if not data:
                return
            self._split(data)

    def close(self) -> None:
        """Report pending events and stop."""
        if os.getpid() != self._pid or self._ended:
            return
        self.drain()
        self.pause()
        self._ended = True
        # If the lock is not to be had, the queue stays open: its number may be another file's soon.
        if self._lock.acquire(timeout=_LOCK_SECONDS):
            os.close(self._fd)
            os.close(self._wake)
            self._lock.release()

    def _follow(self) -> None:
        waiting = select.poll()  # `select` takes no more than 1024 open files.
        waiting.register(self._fd, select.POLLIN)
        waiting.register(self._wake, select.POLLIN)
        while True:
            ready = dict(waiting.poll())
            if self._wake in ready:
                with contextlib.suppress(OSError):
                    os.eventfd_read(self._wake)
                return
            told = self._count
            try:
                self.drain()
            except Exception:
                self.overflowed = True  # Something is not told.
            if self._count == told:
                # Python opens many files: not each is worth that this thread wakes up.
                time.sleep(_PAUSE_SECONDS)

    def _split(self, data: bytes) -> None:
        at = 0
        while at + _HEADER.size <= len(data):
            length, _, _, header, mask, _, pid = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                return
            if mask & _OVERFLOW:
                self.overflowed = True
            else:
                path = self._path(data[at + header : at + length])
                mine = pid == self._pid
                # Most are of Python's own opens, and need no more.
                if path is not None and (mask & _WRITTEN or not self._is_known(path, mine)):
                    self._count += 1
                    self._report(Event(path, mine, *(bool(mask & each) for each in _FLAGS)))
            at += length

    def _path(self, record: bytes) -> str | None:
        """Return the path that the record of an event names; None if its directory is unknown."""
        if len(record) < _RECORD.size:
            return None
        _, _, _, _, size, kind = _RECORD.unpack_from(record)
        end = _RECORD.size + size
        folder = self._folders.get(struct.pack("=i", kind) + record[_RECORD.size : end])
        name = record[end:].partition(b"\0")[0]
        if folder is None or name in (b"", b".."):
            return None
        return folder if name == b"." else os.path.join(folder, os.fsdecode(name))

    def _handle(self, name: bytes) -> bytes | None:
        """Return the kernel's handle for a directory, as events carry it."""
        buffer = self._ctypes.create_string_buffer(8 + _HANDLE_BYTES)
        mount = self._ctypes.c_int()
        for flags in (_FOLLOW, _FOLLOW | _ANY_HANDLE):
            struct.pack_into("=Ii", buffer, 0, _HANDLE_BYTES, 0)
            done = self._libc.name_to_handle_at(
                _HERE, name, buffer, self._ctypes.byref(mount), flags
            )
            if done == 0:
                size, kind = struct.unpack_from("=Ii", buffer)
                return struct.pack("=i", kind) + buffer.raw[8 : 8 + size]
        return None
