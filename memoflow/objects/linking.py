"""Linking: a stored file under a second name, where nobody can write through that to the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from memoflow.backends import Backend
from memoflow.backends.local import flush
from memoflow.dataclass import dataclass
from memoflow.names import Digest
from memoflow.objects.blobs import FOLDER, blob_name
from memoflow.objects.manifest import File
from memoflow.objects.tree import Source, State, state_of_file


class Proofs(Protocol):
    """The verified states of this machine's blob files, kept between processes."""

    def recall(self, blobs: Iterable[Digest]) -> Mapping[Digest, State]:
        """Return the state in which each blob was proven, if that was not too long ago."""

    def remember(self, states: Mapping[Digest, State]) -> None:
        """Note that these blobs are proven now."""


def whole_blob(file: File) -> Digest | None:
    """Return the blob that is this file and nothing else, as far as a manifest can tell."""
    if not file.pieces or len({piece.blob for piece in file.pieces}) > 1:
        return None
    offset = 0
    for piece in file.pieces:
        if piece.offset != offset:
            return None
        offset += piece.length
    return file.pieces[0].blob


@dataclass(frozen=True, slots=True)
class Link:
    """A blob's file to link from, and the state it was found in."""

    blob: Digest
    source: Path
    state: State


def linkable(backend: Backend, file: File) -> Link | None:
    """Return the link to make for a file; None if it must be copied.

    A link shares mode and bytes with the blob, so neither can an executable file be one, nor
    anything that this process could write to: root can, whatever the mode says.
    """
    blob = None if file.executable else whole_blob(file)
    path = None if blob is None else backend.path(blob_name(blob))
    if blob is None or path is None:
        return None
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return None  # Copying says what is wrong.
    is_read_only = stat.S_ISREG(info.st_mode) and not info.st_mode & 0o333
    if not is_read_only or info.st_size != file.size_bytes or os.access(path, os.W_OK):
        return None
    return Link(blob, path, state_of_file(info))


def device_of_blobs(backend: Backend) -> int | None:
    """Return the device on which blobs lie as files; None if they lie elsewhere."""
    folder = backend.path(FOLDER)
    if folder is None:
        return None
    while not os.path.exists(folder):
        folder = folder.parent  # The first write makes it.
    return os.stat(folder).st_dev


def take(backend: Backend, blob: Digest, source: Source, *, durable: bool) -> bool:
    """Give a file, which the caller has hashed, a blob's name as well; False if it must be copied.

    It is read-only from then on, like any blob: who has it open for writing still could write, and
    so could root at any time.
    """
    if not isinstance(source.content, str):
        return False
    try:
        opened = os.open(source.content, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # Copying says what is wrong.
    try:
        # What its owner shows to nobody else stays so, or is copied where others are to read it.
        mode = stat.S_IMODE(os.fstat(opened).st_mode) & 0o444
        if mode != 0o444 and _is_shared(backend):
            return False
        os.fchmod(opened, mode)
        if durable:
            flush(opened)
    except OSError:
        return False  # Somebody else's file, who may write to it again.
    finally:
        os.close(opened)
    backend.link_or_copy(blob_name(blob), Path(os.path.realpath(source.content)))
    return True


def _is_shared(backend: Backend) -> bool:
    folder = backend.path(FOLDER)
    return folder is not None and folder.exists() and bool(folder.stat().st_mode & 0o077)


def state_of(path: Path) -> State | None:
    """Return the state of a blob's file; None if there is none."""
    try:
        return state_of_file(os.stat(path, follow_symlinks=False))
    except OSError:
        return None
