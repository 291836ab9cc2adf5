"""Payload: the input of a save, and files that Metaflow wrote, which become blobs as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from memoflow.backends import Backend, BlobLocation
from memoflow.dataclass import dataclass
from memoflow.errors import BackendUnavailableError, UsageError
from memoflow.names import Digest
from memoflow.objects import Adopted, Content, File, blob_name, is_whole, measure, measured

_TRIES = 3

# Smaller files are copied: Metaflow binds many tasks to one file of a small value such as None,
# and damage to one of two copies can be healed from the other.
_LINK_FROM_BYTES = 64 << 10


def adopt(backend: Backend, name: str, adoption: Adoption) -> tuple[Adopted, int]:
    """Make Metaflow's file a blob, if it is none yet; a damaged one is replaced by it.

    Returns what was adopted, and how many bytes of it are new in the store.
    """
    digest, source = adoption.digest, adoption.source
    if digest.algorithm != "sha1":
        raise UsageError(f"{digest} is no SHA-1, so {source} cannot be adopted under it")
    blob = blob_name(digest)
    if isinstance(source, BlobLocation):
        return _adopt_unread(backend, name, adoption, source)
    for _ in range(_TRIES):
        mine = _measure(source)
        if _take(backend, blob, source, mine[0]):
            return Adopted(name, digest, *mine), mine[0]
        if _same_file(backend.path(blob), source):
            return Adopted(name, digest, *mine), 0
        theirs = measured(backend, digest)
        if theirs is None:
            continue  # A sweep took it; ours will be adopted now.
        if theirs != mine and not is_whole(backend, digest):
            backend.write(blob, source)
            return Adopted(name, digest, *mine), mine[0]
        return Adopted(name, digest, *theirs), 0
    raise BackendUnavailableError(f"blob {digest} went away {_TRIES} times while it was adopted")


def _adopt_unread(
    backend: Backend, name: str, adoption: Adoption, source: BlobLocation
) -> tuple[Adopted, int]:
    """Adopt a file elsewhere, without reading it to copy it: its XXH3-128 stays unknown."""
    blob = blob_name(adoption.digest)
    is_new = backend.link_or_copy(blob, source)
    size_bytes = backend.sizes([blob])[0]
    if size_bytes is None:
        raise BackendUnavailableError(f"blob {adoption.digest} went away while it was adopted")
    return Adopted(name, adoption.digest, size_bytes, ""), size_bytes if is_new else 0


def _take(backend: Backend, blob: str, source: Path, size_bytes: int) -> bool:
    if size_bytes < _LINK_FROM_BYTES:
        return backend.write(blob, source, if_absent=True, durable=False)
    return backend.link_or_copy(blob, source)


def _measure(source: Path) -> tuple[int, str]:
    try:
        with open(source, "rb", buffering=0) as file:
            return measure(file)
    except OSError as error:
        raise UsageError(f"cannot adopt {source}: {error.strerror}") from error


def _same_file(path: Path | None, source: Path) -> bool:
    try:
        return path is not None and path.samefile(source)
    except OSError:
        return False


@dataclass(frozen=True)
class Adoption:
    """A file of Metaflow's that becomes a blob as it is.

    `digest` is the SHA-1 by which Metaflow knows what is packed in `source`, a file of this
    machine or in a backend, that nobody writes to again.
    """

    digest: Digest
    source: Path | BlobLocation


@dataclass(frozen=True)
class Payload:
    """A file or directory, files by relative path, and adopted blobs by name; any may be empty.

    A `tree` that is a file is saved under its own name. Each of `files` is a path, `bytes`, a
    buffer, or a sequence of these two; buffers are not copied, and a save fails if they keep
    changing. `whole` keeps each file of a megabyte or more as one blob, named by its SHA-256; with
    `linked` that is a hard link to the file where it can be, for smaller ones as well, which is
    made read-only for that and to which nobody may write. `ignore` are shell patterns of what is
    left out of the tree. `kept` are files as another manifest in the same store has them, and cost
    nothing.
    """

    tree: Path | None = None
    files: Mapping[str, Content] = field(default_factory=dict)
    adopted: Mapping[str, Adoption] = field(default_factory=dict)
    whole: bool = False
    linked: bool = False
    ignore: tuple[str, ...] = ()
    kept: tuple[File, ...] = ()
