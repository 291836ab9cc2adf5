"""Strays: files in a store of this machine, or in its cache, that memoflow did not put there.

Fifos, devices, sockets and links are no files to a `Local`, and neither is a folder in the place of
one: what was there is lost, and what is to come there may find the place taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from memoflow.backends import Local, Tiered
from memoflow.errors import BadKeyError
from memoflow.names import Key
from memoflow.objects import FOLDER as BLOBS
from memoflow.objects import blob_of, kind
from memoflow.store import leases
from memoflow.store.check.verification import Problem
from memoflow.store.gc import uses
from memoflow.store.refs import prefetch
from memoflow.store.refs.ref_names import FOLDER
from memoflow.store.refs.refs import QUARANTINE, Refs

_FOLDERS = (QUARANTINE, BLOBS, FOLDER, prefetch.FOLDER, leases.FOLDER, uses.FOLDER, "gc")


def check(refs: Refs, *, repair: bool) -> Iterator[Problem]:
    """Yield the files and folders out of place; with `repair` they are moved away."""
    backend = refs.backend
    if isinstance(backend, Tiered):
        yield from _in_cache(backend.near, repair=repair)
        return
    if not isinstance(backend, Local):
        return  # A bucket holds nothing but files, and a folder there is only part of a name.
    for folder, size in zip(_FOLDERS, backend.sizes(_FOLDERS), strict=True):
        if size is not None:
            if repair and folder == QUARANTINE:
                backend.delete([folder])
            elif repair:
                refs.move_to_quarantine(folder)
            done = "quarantined" if repair else ""
            yield Problem(folder, "a file is in the place of a folder", None, done)
    yield from _special(backend, repair=repair)
    for found in list(backend.list(BLOBS)):
        if blob_of(found.name) is None:
            if repair:
                refs.move_to_quarantine(found.name)
            what = "a file that is no blob is among the blobs"
            done = "quarantined" if repair else ""
            yield Problem(found.name, what, None, done, harmless=True)


def _in_cache(near: Local, *, repair: bool) -> Iterator[Problem]:
    for each in _special(near, repair=repair):
        yield Problem(each.name, f"in this machine's cache {each.what}", None, each.done, True)
    for found in list(near.list("")):
        if blob_of(found.name) is None:
            if repair:
                near.delete([found.name])
            what = "a file that is no copy of a blob is in this machine's cache"
            yield Problem(found.name, what, None, _removed(repair), harmless=True)


def _special(backend: Local, *, repair: bool) -> Iterator[Problem]:
    for name, mode in list(backend.specials()):
        if repair:
            backend.delete([name])  # Only the name of it: what a link leads to stays.
        key = _key_of(name)
        what = f"a {kind(mode)} is in the place of a file"
        yield Problem(name, what, key, _removed(repair), harmless=key is None)


def _key_of(name: str) -> Key | None:
    try:
        return Key.parse(name.removeprefix(f"{FOLDER}/")) if name.startswith(f"{FOLDER}/") else None
    except (BadKeyError, UnicodeDecodeError):
        return None


def _removed(repair: bool) -> str:
    return "removed" if repair else ""
