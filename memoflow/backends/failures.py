"""Failures: which OSError means that retrying will not help, and what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from memoflow.errors import BackendDeniedError, BackendError, BackendUnavailableError

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.EAGAIN}


@contextmanager
def translated(verb: str, path: os.PathLike[str] | str) -> Iterator[None]:
    """Turn an OSError inside into a BackendError that says what, where and what to do."""
    try:
        yield
    except OSError as error:
        what = f"cannot {verb} {os.fspath(path)}: {error.strerror or error}"
        if error.errno in _DENIED:
            raise BackendDeniedError(f"{what}; check who owns it and its mode") from error
        if error.errno in _FULL:
            raise BackendUnavailableError(f"{what}; free some space and run again") from error
        if error.errno in _PASSING:
            raise BackendUnavailableError(f"{what}; it may work later") from error
        raise BackendError(f"{what}; check that this path can be used") from error
