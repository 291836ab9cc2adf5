"""Unpacking: blobs back into files, every byte proven before anyone sees it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from memoflow.backends import Backend
from memoflow.backends.failures import translated
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name, xxh3_of
from memoflow.objects.manifest import File, Manifest, Piece

_THREADS = 4
_JOB_BYTES = 64 << 20  # so that one large file keeps all threads busy


class DamagedBlobError(IntegrityError):
    """A blob does not hold what a manifest found in it."""

    def __init__(self, blob: Digest) -> None:
        super().__init__(f"blob {blob} is damaged")
        self.blob = blob


class LostBlobError(NotFoundError):
    """A blob that a manifest names is not there."""

    def __init__(self, blob: Digest) -> None:
        super().__init__(f"blob {blob} is gone from the store")
        self.blob = blob


def unpack(backend: Backend, manifest: Manifest, into: Path) -> None:
    """Write the manifest's files into a directory, whole or not at all.

    Files of the same path are replaced, others stay. What is written belongs to the caller:
    no byte of it is shared with the store.
    """
    into = Path(os.path.abspath(into))
    draft = into.with_name(f".memoflow-{uuid.uuid4().hex}")
    with translated("write", into):
        draft.mkdir(parents=True)
        try:
            _write_all(backend, manifest, draft)
            _move(draft, into)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def read_file(backend: Backend, file: File) -> bytes:
    """Return the content of one file of a manifest, proven."""
    if file.target is not None:
        raise NotFoundError(f"{file.path!r} is a link to {file.target!r}; read that")
    if file.inline is not None:
        return file.inline
    data = bytearray()
    for _, chunk in _read(backend, list(file.pieces)):
        data += chunk
    return bytes(data)


def _write_all(backend: Backend, manifest: Manifest, root: Path) -> None:
    jobs: list[Callable[[], None]] = []
    for folder in manifest.folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    made = {root}
    for file in manifest.files:
        path = root / file.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        if file.target is None:
            jobs.extend(_create(backend, file, path))
    if len(jobs) < 2:
        for job in jobs:
            job()
    else:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="memoflow-unpack") as pool:
            for _ in pool.map(lambda job: job(), jobs):
                pass
    # Last, so that nothing above can have been written through one.
    for file in manifest.files:
        if file.target is not None:
            os.symlink(file.target, root / file.path)


def _create(backend: Backend, file: File, path: Path) -> Iterator[Callable[[], None]]:
    """Make the file, and yield what fills it if that is more than a few bytes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o777 if file.executable else 0o666)
    with os.fdopen(descriptor, "wb") as opened:
        if file.inline is not None:
            opened.write(file.inline)
            return
        opened.truncate(file.size_bytes)
    pieces: list[Piece] = []
    start = length = 0
    for piece in file.pieces:
        pieces.append(piece)
        length += piece.length
        if length >= _JOB_BYTES:
            yield _fill(backend, pieces, path, start)
            pieces, start, length = [], start + length, 0
    if pieces:
        yield _fill(backend, pieces, path, start)


def _fill(backend: Backend, pieces: list[Piece], path: Path, start: int) -> Callable[[], None]:
    def fill() -> None:
        with open(path, "r+b", buffering=0) as opened:
            opened.seek(start)
            for _, data in _read(backend, pieces):
                rest = data
                while rest:
                    rest = rest[opened.write(rest) :]

    return fill


def _read(backend: Backend, pieces: list[Piece]) -> Iterator[tuple[Piece, memoryview]]:
    """Yield the pieces with their bytes, each time in the same memory."""
    buffer = bytearray(max((piece.length for piece in pieces), default=0))
    blob, file = None, None
    try:
        for piece in pieces:
            if piece.blob != blob:
                if file is not None:
                    file.close()
                blob, file = piece.blob, backend.open(blob_name(piece.blob))
            if file is None:
                raise LostBlobError(piece.blob)
            view = memoryview(buffer)[: piece.length]
            with translated("read", blob_name(piece.blob)):
                file.seek(piece.offset)
                filled = 0
                while filled < piece.length:
                    count = file.readinto(view[filled:])  # type: ignore[attr-defined]
                    if not count:
                        raise DamagedBlobError(piece.blob)
                    filled += count
            if xxh3_of(view) != piece.xxh3:
                raise DamagedBlobError(piece.blob)
            yield piece, view
    finally:
        if file is not None:
            file.close()


def _move(draft: Path, into: Path) -> None:
    """Put everything in the draft where it belongs, in one step if nothing is there yet."""
    try:
        os.rename(draft, into)
        return
    except OSError:
        if not into.is_dir():
            raise
    for entry in list(os.scandir(draft)):
        target = into / entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and target.is_dir() and not target.is_symlink():
            _move(Path(entry.path), target)
            continue
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif is_folder and (target.exists() or target.is_symlink()):
            target.unlink()
        os.replace(entry.path, target)
