"""Orphans: leftovers of killed saves and sweeps, damaged copies, and files of nobody's.

None of it hurts a ref, with one exception: fifos, devices, sockets and links are no files to a
`Local`, and neither is a folder in the place of one. A file there is lost, and one to come may find
the place taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from memoflow.backends import Backend, Found, Local, Tiered, honours_conditions
from memoflow.errors import BackendError, FormatError, IntegrityError
from memoflow.names import Digest
from memoflow.objects import FOLDER as BLOBS
from memoflow.objects import blob_of, kind
from memoflow.store import format, leases
from memoflow.store.check.verification import Problem
from memoflow.store.deletion_log import (
    DELETING,
    GENERATION,
    LARGEST_NAMES_BYTES,
    ended_without_a_word,
)
from memoflow.store.format import Format
from memoflow.store.gc import uses
from memoflow.store.gc.sweeping import (
    LARGEST_PENDING_BYTES,
    PENDING,
    REMAINS_AGE,
    STOPPED_AGE,
    pending,
)
from memoflow.store.marker_file import LARGEST_MARK_BYTES, content, sealed
from memoflow.store.refs import prefetch
from memoflow.store.refs.ref_file import FOLDER, parsed_key
from memoflow.store.refs.refs import DROPPED, QUARANTINE, Refs
from memoflow.store.saves.upload_heartbeat import DEAD_AFTER_SECONDS
from memoflow.store.saves.upload_heartbeat import FOLDER as SAVING

_ID = re.compile(rb"[0-9a-f]{32}")
_BUNDLE = re.compile(r"[0-9a-f]{64}")
_FOLDERS = (QUARANTINE, BLOBS, FOLDER, prefetch.FOLDER, leases.FOLDER, uses.FOLDER, "gc")


def check(
    backend: Backend, id: str, *, now: float, read_data: bool, repair: bool
) -> Iterator[Problem]:
    """Yield the orphans in a store of this id, each as `repair` removes it.

    `now` is by the backend's clock: what is young may be of somebody who lives.
    """
    yield from _format(backend, id, repair=repair)
    count = backend.cleanup(before=now - REMAINS_AGE.total_seconds(), dry_run=not repair)
    if count:
        yield _harmless("", f"{count} unfinished files of saves that were killed")
    yield from _marks(backend, now=now, repair=repair)
    notes = list(uses.damaged(backend))
    yield from _removed(backend, notes, "a note of uses is damaged", repair=repair)
    if read_data:
        yield from _bundles(backend, repair=repair)


def _format(backend: Backend, id: str, *, repair: bool) -> Iterator[Problem]:
    try:
        if format.read_format(backend, make=False).id == id:
            return
        what = "it names another store than when this one was opened"
    except FormatError:
        return  # Upgraded since it was opened.
    except BackendError as error:
        if backend.has(format.NAME):
            yield _unread(format.NAME, error)
            return
        what = f"{format.NAME} is gone"
    except IntegrityError as error:
        what = str(error)
    if repair:
        found = Format(id, honours_conditions(backend, format.PROBE))
        backend.write(format.NAME, format.encoded(found))
    yield Problem(format.NAME, what, None, "written again")


def _marks(backend: Backend, *, now: float, repair: bool) -> Iterator[Problem]:
    dead: dict[str, str] = {}
    for mark in backend.list(SAVING):
        if mark.modified < now - DEAD_AFTER_SECONDS:
            dead[mark.name] = "the mark of a save that was killed"
    for name in ended_without_a_word(backend, before=now - STOPPED_AGE.total_seconds()):
        dead[name] = "the mark of a sweep that was killed"
    for found, what in _damaged(backend):
        if isinstance(what, BackendError):
            yield _unread(found.name, what)
        else:
            dead.setdefault(found.name, what)
    if repair:
        backend.delete([name for name in dead if name != GENERATION])
        if GENERATION in dead:
            # Another than any before, so that saves which know one look what is left.
            backend.write(GENERATION, sealed(Digest.of(repr(now).encode()).hex[:32].encode()))
    for name, what in dead.items():
        yield _harmless(name, what)


def _damaged(backend: Backend) -> Iterator[tuple[Found, str | BackendError]]:
    checks: list[tuple[str, Callable[[bytes], object], int]] = [
        (SAVING, lambda data: int(content(data)), LARGEST_MARK_BYTES),
        (PENDING, pending, LARGEST_PENDING_BYTES),
        (GENERATION, _check_id, LARGEST_MARK_BYTES),
        (DROPPED, lambda data: int(data or b"0"), LARGEST_MARK_BYTES),
        (DELETING, content, LARGEST_NAMES_BYTES),
    ]
    for found in backend.list("gc"):
        for start, check, most_bytes in checks:
            of_kind = found.name == start or found.name.startswith(f"{start}/")
            try:
                data = backend.read(found.name, most_bytes=most_bytes) if of_kind else None
            except BackendError as error:
                yield found, error
                break
            if data is not None and not found.name.endswith("/beat"):
                try:
                    if len(data) > most_bytes:
                        raise ValueError("it is larger than it can be")
                    check(data)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    yield found, "a mark that is damaged"


def _check_id(data: bytes) -> None:
    if not _ID.fullmatch(content(data)):
        raise ValueError("it is no id")


def _bundles(backend: Backend, *, repair: bool) -> Iterator[Problem]:
    bad = []
    for found in backend.list(prefetch.FOLDER):
        name = found.name.rpartition("/")[2]
        try:
            data = backend.read(found.name, most_bytes=prefetch.LARGEST_BUNDLE_BYTES)
        except BackendError as error:
            yield _unread(found.name, error)
            continue
        if data is not None and (not _BUNDLE.fullmatch(name) or Digest.of(data).hex != name):
            bad.append(found.name)
    yield from _removed(backend, bad, "a copy of refs is damaged", repair=repair)


def _removed(backend: Backend, bad: list[str], what: str, *, repair: bool) -> Iterator[Problem]:
    if repair:
        backend.delete(bad)
    for name in bad:
        yield _harmless(name, what)


def _unread(name: str, error: BackendError) -> Problem:
    return Problem(name, f"cannot be read ({error})", None, harmless=True, unread=True)


def _harmless(name: str, what: str, done: str = "removed") -> Problem:
    return Problem(name, what, None, done, harmless=True)


def check_strays(refs: Refs, *, repair: bool) -> Iterator[Problem]:
    """Yield the files and folders out of place, each as `repair` moves it away."""
    backend = refs.backend
    if isinstance(backend, Tiered):
        near = backend.near
        for each in _special(near, repair=repair):
            yield _harmless(each.name, f"in this machine's cache {each.what}")
        bad = [found.name for found in near.list("") if blob_of(found.name) is None]
        what = "a file that is no copy of a blob is in this machine's cache"
        yield from _removed(near, bad, what, repair=repair)
        return
    if not isinstance(backend, Local):
        return  # A bucket holds nothing but files, and a folder there is only part of a name.
    for folder, size in zip(_FOLDERS, backend.sizes(_FOLDERS), strict=True):
        if size is not None:
            if repair and folder == QUARANTINE:
                backend.delete([folder])
            elif repair:
                refs.move_to_quarantine(folder)
            yield Problem(folder, "a file is in the place of a folder", None, "quarantined")
    yield from _special(backend, repair=repair)
    for found in list(backend.list(BLOBS)):
        if blob_of(found.name) is None:
            if repair:
                refs.move_to_quarantine(found.name)
            what = "a file that is no blob is among the blobs"
            yield _harmless(found.name, what, "quarantined")


def _special(backend: Local, *, repair: bool) -> Iterator[Problem]:
    for name, mode in list(backend.specials()):
        if repair:
            backend.delete([name])  # Only the name of it: what a link leads to stays.
        below = name.removeprefix(f"{FOLDER}/")
        key = parsed_key(below) if below != name else None
        what = f"a {kind(mode)} is in the place of a file"
        yield Problem(name, what, key, "removed", harmless=key is None)
