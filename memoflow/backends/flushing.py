"""Flushing: written bytes and names put on the disk, out of reach of a power cut."""

from __future__ import annotations

import errno
import fcntl
import os

_FAILED = {errno.EIO, errno.ENOSPC, errno.EDQUOT}  # Asked again, they would say that all is well.


def flush(file: int) -> None:
    """Wait until an open file, or folder, is on the disk, and not only on its way there.

    On macOS `fsync` leaves it in the disk's own memory; F_FULLFSYNC does not, where it is known.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(file, full)
            return
        except OSError as error:
            if error.errno in _FAILED:
                raise
            # Network file systems, and some disks, refuse it.
    os.fsync(file)


def flush_folder(directory: str) -> None:
    """Wait until the names in a folder are on the disk, as far as its file system can tell."""
    try:
        file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, PermissionError):
        return  # Dropped meanwhile, or the parent of a root and not ours to sync.
    try:
        flush(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Some file systems cannot sync a folder.
            raise
    finally:
        os.close(file)
