"""Owned directories: temporary ones with a lock file, removed once their process has ended.

Beside each lies a file that its process holds locked for as long as it lives, and that children
which it forks hold with it. The kernel lets go of it however they die. A number of a process would
prove nothing: containers that share a directory have numbers of their own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
import uuid
import weakref
from contextlib import suppress
from functools import cache

from memoflow.process import boot_id

LOCK = ".lock"
_MOST_LOOKED_AT = 1000  # entries of a directory, for what dead processes left


class Directory:
    """A new directory of this process, removed by `cleanup` or at its end.

    Below `folder`, or where temporary files go. Where files cannot be locked it stays if the
    process is killed.
    """

    def __init__(
        self, prefix: str, folder: str | os.PathLike[str] | None = None, *, mode: int = 0o700
    ) -> None:
        root = os.path.abspath(folder or tempfile.gettempdir())
        self.name = os.path.join(root, f"{prefix}{uuid.uuid4().hex[:12]}")
        self._lock = _locked(self.name + LOCK)
        try:
            os.mkdir(self.name, mode)
        except OSError:
            _let_go(self._lock, self.name + LOCK)
            raise
        self._finalizer = weakref.finalize(self, _remove, self.name, self._lock, os.getpid())

    def cleanup(self) -> None:
        """Remove the directory with its content; a call in a forked child removes nothing."""
        self._finalizer()

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *raised: object) -> None:
        self.cleanup()


def reap(folder: str | os.PathLike[str], prefix: str, *, most: int) -> int:
    """Remove directories of ended processes of this machine, up to a number; return the count.

    Never what a living process has, here or in another container, nor what another user or another
    machine made: its locks need not be seen here.
    """
    removed = 0
    with suppress(OSError):
        with os.scandir(folder) as entries:
            names = [each.name for _, each in zip(range(_MOST_LOOKED_AT), entries, strict=False)]
        for name in names:
            if removed < most and name.startswith(prefix) and name.endswith(LOCK):
                with suppress(OSError):
                    removed += _reaped(os.path.join(folder, name))
    return removed


def forget(directory: str) -> None:
    """Remove a directory with its lock file, of any process."""
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        os.unlink(directory + LOCK)


def _reaped(lock: str) -> bool:
    opened = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_uid != os.geteuid():
            return False
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Nothing in it: it is about to be locked. Another one: of a machine that shares the disk.
        if os.read(opened, 1000).decode(errors="replace") != _machine():
            return False
        directory = lock.removesuffix(LOCK)
        with suppress(FileNotFoundError):
            found = os.lstat(directory)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                return False
            shutil.rmtree(directory)
        os.unlink(lock)
        return True
    finally:
        os.close(opened)


def _locked(path: str) -> int | None:
    """Return the open file of a new lock, None where there can be none."""
    opened = None
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(opened, fcntl.LOCK_EX)  # Waits no longer than somebody else looks at it.
        os.write(opened, _machine().encode())
    except OSError:
        if opened is not None:
            _let_go(opened, path)
        return None
    return opened


def _let_go(opened: int | None, path: str) -> None:
    if opened is not None:
        with suppress(OSError):
            os.unlink(path)
        with suppress(OSError):
            os.close(opened)


def _remove(name: str, lock: int | None, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(name, ignore_errors=True)
        _let_go(lock, name + LOCK)


@cache
def _machine() -> str:
    """Return an id of this machine since its last start, the same in all its containers."""
    return boot_id() or socket.gethostname()
