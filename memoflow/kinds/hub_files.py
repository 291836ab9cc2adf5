"""Hub files: the digests that the Hub announces, the proof of each, and copies in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from memoflow.backends import chunks
from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.kinds import hub
from memoflow.kinds.hub import Snapshot, Wanted
from memoflow.names import Digest, Key
from memoflow.objects import File, blob_name, is_whole, read_file
from memoflow.objects.paths import check_tree
from memoflow.store import Store

_SMALL_BYTES = 16 << 20
_MOST_SNAPSHOTS = 16


@dataclass(frozen=True)
class Announced:
    """A file that the Hub says a commit has.

    `digest` is `sha256:...` of its bytes for one that is kept by LFS, else `git:...`, the id of
    the blob that git makes of them.
    """

    path: str
    size_bytes: int
    digest: str


def check_paths(repo: str, files: Collection[Announced]) -> None:
    """Raise IntegrityError if these cannot be the files of one directory."""
    try:
        check_tree([file.path for file in files], (), {})
        for file in files:
            if "\\" in file.path:  # Which huggingface_hub does not download either.
                raise ValueError(f"{file.path!r} has a backslash")
    except ValueError as error:
        raise IntegrityError(
            f"the Hub lists files of {repo} that no directory can hold: {error}; nothing was loaded"
        ) from None


class WrongFileError(IntegrityError):
    """The received file is not the announced one."""


def prove(file: Announced, content: Path | bytes) -> None:
    """Raise WrongFileError, with size and digest, for any but the announced content."""
    size_bytes, digest = size_of(content), digest_of(file, content)
    if (size_bytes, digest) != (file.size_bytes, file.digest):
        raise WrongFileError(f"{size_bytes} bytes with {digest}")


def is_proven(file: Announced, content: Path | bytes) -> bool:
    """Return whether a content is the announced one."""
    try:
        prove(file, content)
    except WrongFileError:
        return False
    return True


def size_of(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def digest_of(file: Announced, content: Path | bytes) -> str:
    """Return the digest of a content in the form in which the Hub announced the file's.

    A git blob is hashed with its header: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    """
    form = file.digest.partition(":")[0]
    algorithm: Any = hashlib.sha256()
    if form == "git":
        algorithm = hashlib.sha1(b"blob %d\0" % size_of(content), usedforsecurity=False)
    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        for chunk in chunks(stream):
            algorithm.update(chunk)
    return f"{form}:{algorithm.hexdigest()}"


def remember(store: Store, snapshot: Snapshot, files: Iterable[Announced]) -> None:
    """Note that files lie in a snapshot, for lookups by their digests."""
    key = str(snapshot.ref.key)
    store.index.set({_fact(file): json.dumps([key, file.path]) for file in files})


def recall(store: Store, files: Collection[Announced]) -> dict[str, File]:
    """Return those of the files that are in the store, as far as this machine knows, by path.

    Each was proven by the same digest when it was stored.
    """
    by_fact: dict[str, list[Announced]] = {}
    for file in files:
        by_fact.setdefault(_fact(file), []).append(file)
    held: dict[str, dict[str, File]] = {}
    found: dict[str, File] = {}
    for fact, text in store.index.get(list(by_fact)).items():
        key, path = json.loads(text)
        if key not in held:
            held[key] = _files(store, Key.parse(key))
        known = held[key].get(path)
        if known is not None:
            found |= {file.path: replace(known, path=file.path) for file in by_fact[fact]}
    spoilt = _spoilt(store, found.values())
    return {
        path: file
        for path, file in found.items()
        if spoilt.isdisjoint(piece.blob for piece in file.pieces)
    }


def recognize(
    store: Store, wanted: Wanted, commit: str, files: Iterable[Announced]
) -> dict[str, File]:
    """Return those of the files that lie at their path in snapshots of the repository, by path.

    They are read and proven, since this machine has no note of them. So it is for small ones: large
    ones are found by `named`.
    """
    asked = {file.path: file for file in files if file.size_bytes <= _SMALL_BYTES}
    if not asked:
        return {}
    repo = (wanted.repo_type, wanted.repo_id)
    keys = [key for key in store.keys(Key.of(hub.KIND)) if hub.is_snapshot(key)]
    keys = [key for key in keys if key.parts[-4:-2] == repo]
    keys.sort(key=lambda key: key.parts[-2] != commit)
    found: dict[str, File] = {}
    for key in keys[:_MOST_SNAPSHOTS]:
        for path, held in _files(store, key).items():
            file = asked.get(path)
            if file is None or path in found or held.size_bytes != file.size_bytes:
                continue
            try:
                prove(file, read_file(store.backend, held))
            except (NotFoundError, IntegrityError):
                continue
            found[path] = held
    return found


def remember_public(store: Store, snapshot: Snapshot, wanted: Wanted) -> None:
    """Note that a snapshot is public, for equal requests in other scopes."""
    store.index.set({_public(wanted, snapshot.about.commit): str(snapshot.ref.key)})


def recall_public(store: Store, wanted: Wanted, commit: str) -> list[File] | None:
    """Return the files of such a snapshot; None if this machine knows of none that is whole."""
    fact = _public(wanted, commit)
    key = store.index.get([fact]).get(fact)
    found = [] if key is None else list(_files(store, Key.parse(key)).values())
    return found if found and not _spoilt(store, found) else None


def named(store: Store, files: Iterable[Announced]) -> dict[str, Path]:
    """Return the paths of blobs on this machine with the SHA-256 of a file, by the file's path.

    Whoever stored them may not have proven them.
    """
    found = {}
    for file in files:
        if file.digest.startswith("sha256:"):
            blob = store.blob_path(Digest(file.digest))
            if blob is not None and blob.is_file():
                found[file.path] = blob
    return found


def quarantine_damaged(store: Store, key: Key, files: Iterable[Announced]) -> None:
    """Quarantine damaged blobs of a snapshot and of files, which a save then replaces.

    A save takes a blob of the right size for present.
    """
    blobs = {Digest(file.digest) for file in files if file.digest.startswith("sha256:")}
    ref = store.find(key)
    lost = False
    if ref is not None:
        try:
            mine = store.manifest(ref).blobs
        except (NotFoundError, IntegrityError):
            mine = set()  # It is forgotten by now.
        lost = not store.backend.has(*(blob_name(blob) for blob in mine))
        blobs |= mine
    damaged = [blob for blob in blobs if not _is_sound(store, blob)]
    for blob in damaged:
        store.quarantine(blob)
    if damaged or lost:
        store.forget(key)


def _is_sound(store: Store, blob: Digest) -> bool:
    try:
        return is_whole(store.backend, blob)
    except NotFoundError:
        return True  # What is not there is written.


def _spoilt(store: Store, files: Iterable[File]) -> set[Digest]:
    """Return the blobs that are gone or were cut off, and would spoil another snapshot as well."""
    ends: dict[Digest, int] = {}
    for piece in (piece for file in files for piece in file.pieces):
        ends[piece.blob] = max(ends.get(piece.blob, 0), piece.offset + piece.length)
    sizes = store.backend.sizes([blob_name(blob) for blob in ends])
    return {blob for blob, size in zip(ends, sizes, strict=True) if (size or 0) < ends[blob]}


def _files(store: Store, key: Key) -> dict[str, File]:
    ref = store.find(key)
    if ref is None:
        return {}
    try:
        return {file.path: file for file in store.manifest(ref).files}
    except (NotFoundError, IntegrityError):
        return {}


def _fact(file: Announced) -> str:
    return f"hub:{file.digest}"


def _public(wanted: Wanted, commit: str) -> str:
    return f"public:{hub.key((), wanted, commit)}"
