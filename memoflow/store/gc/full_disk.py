"""Full disk: deleting on a disk that has no bytes or inodes left.

A pass says what it is about to delete before it deletes, and that takes room: a few files. So a
store on a disk keeps some in reserve, and holds notes and copies that may go unsaid at any time,
since they are made anew. What is left to delete is said in parts, the largest files first, and the
first part fits into one block.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from memoflow.backends import Backend, Found, Local
from memoflow.errors import BackendError, NoRoomError
from memoflow.store.deletion_log import PROBE
from memoflow.store.format import PROBE as CONDITIONS
from memoflow.store.marker_file import HOUSEKEEPING
from memoflow.store.refs import prefetch

# Two folders, a list of names and a generation on its way: each an inode, and a block or a cluster
# of whatever size. With some to spare.
_RESERVE = [f"gc/reserve/{number}" for number in range(6)]
_RESERVED_BYTES = 4 << 10
_DOOMED_AT_ONCE = 20_000
_DOOMED_IN_A_BLOCK = 50
_GROWTH = 8
_TRIES = 6
_PAUSE_SECONDS = 0.05


def keep_reserve(backend: Backend) -> None:
    """Keep a few blocks and inodes for the next sweep on a full disk, if there are any now."""
    if not isinstance(backend, Local):
        return
    try:
        for name, size in zip(_RESERVE, backend.sizes(_RESERVE), strict=True):
            if size is None:
                # At random: some file systems store nothing of bytes that are all alike.
                backend.write(name, os.urandom(_RESERVED_BYTES), durable=False)
    except BackendError:
        pass  # In better times.


def make_room(backend: Backend) -> None:
    """Delete files that are made anew at any time: the reserve, copies of refs, our notes."""
    unsaid = [*_RESERVE, PROBE, CONDITIONS]
    unsaid += [file.name for each in (prefetch.FOLDER, HOUSEKEEPING) for file in backend.list(each)]
    backend.delete(unsaid)


def delete_in_parts(
    to_delete: list[Found],
    delete: Callable[[list[Found]], list[Found]],
    *,
    make_room: Callable[[], None],
) -> list[Found]:
    """Delete as much at a time as there is room to announce; return the deleted files.

    NoRoomError if there is none for the least, after all that may go unsaid has gone.
    """
    rest = sorted(to_delete, key=lambda file: -file.size_bytes)
    gone: list[Found] = []
    most, tries = _DOOMED_AT_ONCE, 0
    while rest:
        try:
            gone += delete(rest[:most])
        except NoRoomError as error:
            if tries == _TRIES:
                raise NoRoomError(
                    f"nothing could be deleted: saying what goes takes 24 KiB and 6 inodes, and "
                    f"nothing that may go unsaid is left in the store ({error}); delete or move a "
                    "file that is not the store's, then run `memoflow gc` again"
                ) from error
            make_room()
            # Somebody else may have been faster, and let go of some by then.
            time.sleep(_PAUSE_SECONDS * tries)
            most, tries = _DOOMED_IN_A_BLOCK, tries + 1
        else:
            rest = rest[most:]
            most, tries = min(_GROWTH * most, _DOOMED_AT_ONCE), 0
    return gone
