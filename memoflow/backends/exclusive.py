"""Exclusive: giving a file a name that nothing has, also where there are no hard links.

Of many who want one name at the same time one gets it. By a hard link, where the file system has
them; by a rename that replaces nothing; or by a look and a rename under a lock, which goes when
its holder dies. Which of them a file system knows is found by trying: each answers otherwise.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

LOCK = ".lock"
_LONGEST_WAIT_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 0.05
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1  # of linux/fs.h
_RENAME_EXCL = 4  # of sys/stdio.h on macOS
# Not a way that this file system lacks, but an answer: whatever the way, it would be the same.
ANSWERS = {
    *(errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
}

# Gives the first path's file the second name, below a root; FileExistsError if that is taken.
Way = Callable[[str, str, str], None]


def by_link(temporary: str, path: str, root: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        # Over a network the answer to a link that was made may be lost, and it is asked for again.
        with suppress(OSError):
            if os.path.samestat(os.lstat(temporary), os.lstat(path)):
                return
        raise


def by_rename(temporary: str, path: str, root: str) -> None:
    code = _rename(os.fsencode(temporary), os.fsencode(path))
    if code:
        raise OSError(code, os.strerror(code), path)


def by_lock(temporary: str, path: str, root: str) -> None:
    with open(_opened(f"{root}/{LOCK}"), "rb") as lock:
        _wait_for(lock.fileno())
        by_look(temporary, path, root)


def by_look(temporary: str, path: str, root: str) -> None:
    """Look, then rename; two that look at the same time may both get the name."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    os.rename(temporary, path)


WAYS: Sequence[Way] = (by_link, by_rename, by_lock, by_look)


def give(temporary: str, path: str, root: str, ways: Sequence[Way] = WAYS) -> Way:
    """Give a file a name by the first way that there is, and return that.

    FileExistsError if the name is taken.
    """
    *first, last = ways
    for way in first:
        try:
            way(temporary, path, root)
        except OSError as error:
            if error.errno in ANSWERS:
                raise
        else:
            return way
    last(temporary, path, root)
    return last


def way_of(folder: str, ways: Sequence[Way] = WAYS) -> Way:
    """Return the first way that works in a folder, which is written to; OSError if none does."""
    probe = f"{folder}/.probe-{uuid.uuid4().hex}"
    with open(probe, "xb"):
        pass
    try:
        return give(probe, f"{probe}-named", folder, ways)
    finally:
        for name in (probe, f"{probe}-named"):
            with suppress(OSError):
                os.unlink(name)


def _opened(lock: str) -> int:
    try:
        # To be written by all who may write here: some file systems lock no other files.
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):
            os.fchmod(file, os.stat(os.path.dirname(lock)).st_mode & 0o666)
        return file
    except PermissionError:
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _wait_for(lock: int) -> None:
    """Take the lock; TimeoutError if its holder neither goes on nor dies."""
    deadline, pause = time.monotonic() + _LONGEST_WAIT_SECONDS, 0.001
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                what = "another process has held the store's lock for a minute; is it stopped?"
                raise TimeoutError(errno.ETIMEDOUT, what) from None
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _rename(source: bytes, target: bytes) -> int:
    """Rename a file if nothing has its new name; return the errno, 0 if it was done."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(source, target, ctypes.c_uint(_RENAME_EXCL))
        else:
            failed = library.renameat2(
                _AT_FDCWD, source, _AT_FDCWD, target, ctypes.c_uint(_RENAME_NOREPLACE)
            )
    except (OSError, AttributeError):
        return errno.ENOSYS  # A library of another kind, or an older one.
    return ctypes.get_errno() if failed else 0
