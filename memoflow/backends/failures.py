"""Failures: each OSError as an error of ours, with its remedy."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    NoRoomError,
)

T = TypeVar("T")

_ADVICE: dict[int, tuple[type[BackendError], str]] = {
    errno.EACCES: (BackendDeniedError, "check its owner and its mode"),
    errno.EPERM: (BackendDeniedError, "check its owner, its mode, and that it is not immutable"),
    errno.EROFS: (
        BackendDeniedError,
        "its file system is mounted read-only; mount it read-write, or keep the store elsewhere",
    ),
    errno.ENOSPC: (NoRoomError, "free some space, then run again"),
    errno.EDQUOT: (
        NoRoomError,
        "your disk quota is used up (`quota` shows it); delete files or have it raised",
    ),
    errno.ENAMETOOLONG: (
        BackendError,
        "the path is too long for this file system; keep the store in a directory with a shorter "
        "path, or give a shorter name",
    ),
    errno.EMFILE: (
        BackendUnavailableError,
        "this process has too many files open; close some, or raise the limit (`ulimit -n`)",
    ),
    errno.ENFILE: (
        BackendUnavailableError,
        "this machine has too many files open; end some processes, or raise fs.file-max",
    ),
    errno.EIO: (
        BackendUnavailableError,
        "the disk or its connection failed; look into the system's log, and try again",
    ),
    errno.ESTALE: (
        BackendUnavailableError,
        "the server has lost track of this file; try again, or mount it anew",
    ),
    errno.ETIMEDOUT: (BackendUnavailableError, "it may work later"),
    errno.EAGAIN: (BackendUnavailableError, "it may work later"),
}
# Which a second try can answer otherwise.
_AGAIN = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
_PAUSES_SECONDS = (0.01, 0.1)
_OTHERWISE = (BackendError, "check that this path can be used")


@contextmanager
def translated(verb: str, path: os.PathLike[str] | str) -> Iterator[None]:
    """Turn an OSError inside into a BackendError that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        kind, advice = _ADVICE.get(error.errno or 0, _OTHERWISE)
        if error.errno == errno.ENOSPC:
            advice = _without_inodes(os.fspath(path)) or advice
        what = f"cannot {verb} {os.fspath(path)}: {error.strerror or error}"
        raise kind(f"{what}; {advice}") from error


def reread(path: os.PathLike[str] | str, read: Callable[[], T]) -> T:
    """Return the result of a read, retried after a disk's passing failure.

    BackendError, which names the path, if it goes on failing.
    """
    for pause_s in _PAUSES_SECONDS:
        try:
            return read()
        except (OSError, BackendUnavailableError) as error:
            system = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(system, OSError) or system.errno not in _AGAIN:
                with translated("read", path):
                    raise
        time.sleep(pause_s)
    with translated("read", path):
        return read()


def _without_inodes(path: str) -> str:
    """Return the advice for a file system out of inodes, "" if it is out of bytes."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        info = os.statvfs(path)
    except OSError:
        return ""
    # Some file systems make inodes as they are needed, and count none.
    if info.f_files <= 0 or info.f_favail > 0:
        return ""
    return (
        f"no inodes are free there: {info.f_files} are in use, one by each file and "
        "directory (`df -i` shows them); delete some files of any size, then run again"
    )
