"""Unpacking: blobs back into files, every byte proven before anyone sees it."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, TypeVar

from memoflow import owned
from memoflow.backends import Backend
from memoflow.backends.failures import reread, translated
from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UsageError
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name, xxh3_of
from memoflow.objects.linking import Proofs, linkable, whole_blob
from memoflow.objects.manifest import File, Manifest, Piece
from memoflow.objects.tree import kind
from memoflow.progress import Advance, counted
from memoflow.threads import for_each, stop_check

T = TypeVar("T")

_DRAFT = ".memoflow-"
_MOST_REMOVED = 4  # drafts that killed loads left beside a target, by one load
_THREADS = 4
_JOB_BYTES = 16 << 20
_FILE_BYTES = 64 << 10  # what making a file costs, as if it were so many bytes more
_LEAST_HOLE_BYTES = 4096
_STEP_BYTES = 1 << 20  # what is read is hashed and written while it is in the processor's cache


class DamagedBlobError(IntegrityError):
    """A blob does not hold the bytes that a manifest lists."""

    def __init__(self, blob: Digest) -> None:
        super().__init__(f"blob {blob} is damaged")
        self.blob = blob


class LostBlobError(NotFoundError):
    """A blob that a manifest names is not there."""

    def __init__(self, blob: Digest) -> None:
        super().__init__(f"blob {blob} is gone from the store")
        self.blob = blob


def unpack(
    backend: Backend, manifest: Manifest, into: Path, *, linked: Proofs | None = None
) -> None:
    """Write the manifest's files into a directory, whole or not at all.

    Files of the same path are replaced, others stay; UsageError if a directory or link is in the
    place of one, or the other way round. What is written belongs to the caller:
    no byte of it is shared with the store. With `linked` all files are read-only, and those
    that are a blob by themselves share it where that is safe; a blob that those proofs vouch
    for is not read.
    """
    with drafted(into) as draft:
        _write_all(backend, manifest, draft, linked)
        stop_check()()  # A load that nobody waits for any more leaves nothing.


@contextmanager
def drafted(into: Path) -> Iterator[Path]:
    """Yield a directory to write to; in the end all of it comes into `into`, after an error none.

    Files of the same path are replaced, others stay. A directory that is there already stays the
    same directory, and nothing is written beside it: it may be a mount, or all that we may write.
    """
    into = Path(os.path.abspath(into))
    is_there = into.is_dir()
    folder = into if is_there else into.parent
    with translated("write", into):
        folder.mkdir(parents=True, exist_ok=True)
        owned.reap(folder, _DRAFT, most=_MOST_REMOVED)
        made = owned.Directory(_DRAFT, folder, mode=0o777)  # It may become the target itself.
        draft = Path(made.name)
        try:
            yield draft
            if is_there:
                _merge(draft, into)
            else:
                _move(draft, into)
        finally:
            made.cleanup()


def read_file(backend: Backend, file: File) -> bytes:
    """Return the content of one file of a manifest, proven."""
    if file.target is not None:
        raise NotFoundError(f"{file.path!r} is a link to {file.target!r}; read that")
    if file.inline is not None:
        return file.inline
    return b"".join(map(bytes, pieces_of(backend, file.pieces)))


def _write_all(backend: Backend, manifest: Manifest, root: Path, linked: Proofs | None) -> None:
    bits = stat.S_IMODE(root.stat().st_mode)
    if manifest.modes:
        root.chmod(0o700)  # Until each file has its own mode.
    folders = _make_folders(manifest, root)
    _tell_apart(manifest, root)
    files = [file for file in manifest.files if file.target is None]
    if linked is not None:
        # A link has the mode of the stored file.
        done = _link_all(
            backend, [file for file in files if file.path not in manifest.modes], root, linked
        )
        files = [file for file in files if file.path not in done]
    size_bytes = sum(piece.length for file in files for piece in file.pieces)
    with counted("Writing files", size_bytes, in_bytes=True) as advance:
        _do(partial(_fill, backend, advance=advance), _jobs(files, str(root)))
    if linked is not None:
        for file in files:
            os.chmod(root / file.path, 0o555 if file.executable else 0o444)
    written = folders.union(file.path for file in manifest.files if file.target is None)
    # Less what the saved mode denies to others; the owner can always read.
    for path in written & manifest.modes.keys():
        mode = stat.S_IMODE(os.stat(root / path).st_mode)
        os.chmod(root / path, mode & (manifest.modes[path] | 0o700))
    root.chmod(bits)
    # Last, so that nothing above can have been written through one.
    for file in manifest.files:
        if file.target is not None:
            os.symlink(file.target, root / file.path)


def _tell_apart(manifest: Manifest, root: Path) -> None:
    """Raise UsageError if two files would be one there, as "a" and "A" are on some disks.

    Only what could be the same is tried: written together, they would be a mixture of both.
    """
    count = Counter(_folded(file.path) for file in manifest.files)
    alike = [file.path for file in manifest.files if count[_folded(file.path)] > 1]
    for path in alike:
        try:
            os.close(os.open(root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        except FileExistsError:
            raise UsageError(
                f"{path!r} and another file that was saved beside it have one name on the disk of "
                f"{root.parent}; load them into a directory of another disk"
            ) from None
    for path in alike:
        os.unlink(root / path)


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFKC", path.casefold())


def _make_folders(manifest: Manifest, root: Path) -> set[str]:
    """Make the folders of a tree, and return them."""
    made = {""}
    for folder in (*manifest.folders, *(file.path.rpartition("/")[0] for file in manifest.files)):
        if folder not in made:
            os.makedirs(root / folder, exist_ok=True)
        while folder not in made:
            made.add(folder)
            folder = folder.rpartition("/")[0]
    return made


def _link_all(backend: Backend, files: list[File], root: Path, proofs: Proofs) -> set[str]:
    """Link all linkable files, verified; return their paths."""
    backend.prefetch([blob_name(blob) for file in files if (blob := whole_blob(file)) is not None])
    found = [(file, link) for file in files if (link := linkable(backend, file)) is not None]
    known = proofs.recall({link.blob for _, link in found})
    unproven = {
        link.blob: (file, link) for file, link in found if known.get(link.blob) != link.state
    }
    _do(partial(_check, backend), [file for file, _ in unproven.values()])
    proofs.remember({blob: link.state for blob, (_, link) in unproven.items()})
    done = set()
    for file, link in found:
        # Not every file system can link, nor each file any number of times.
        with suppress(OSError):
            os.link(link.source, root / file.path)
            done.add(file.path)
    return done


def _check(backend: Backend, file: File) -> None:
    for _ in pieces_of(backend, file.pieces):
        pass


def _do(act: Callable[[T], None], each: Iterable[T]) -> None:
    check = stop_check()

    def checked(one: T) -> None:
        check()
        act(one)

    for_each(checked, each, threads=_THREADS)


@dataclass(slots=True)
class _Part:
    """A part of a file for one thread to write; the whole file if it is not large."""

    path: str
    file: File
    start: int
    pieces: Sequence[Piece]


def _jobs(files: Iterable[File], root: str) -> list[list[_Part]]:
    """Divide the parts into jobs that are large enough for a thread."""
    jobs: list[list[_Part]] = []
    left = 0
    for file in files:
        start = first = 0
        path = f"{root}/{file.path}"
        for count, length in enumerate([piece.length for piece in file.pieces] or [0], start=1):
            if left <= 0:
                if count > first + 1:
                    jobs[-1].append(_Part(path, file, start, file.pieces[first : count - 1]))
                    start += sum(piece.length for piece in file.pieces[first : count - 1])
                    first = count - 1
                jobs.append([])
                left = _JOB_BYTES
            left -= length
        left -= _FILE_BYTES
        jobs[-1].append(_Part(path, file, start, file.pieces[first:]))
    return jobs


def _fill(backend: Backend, parts: list[_Part], advance: Advance) -> None:
    """Write parts of files; the first part of a file creates it."""
    views = pieces_of(backend, [piece for part in parts for piece in part.pieces])
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    for part in parts:
        opened = os.open(part.path, flags, 0o777 if part.file.executable else 0o666)
        try:
            if part.file.inline is not None:
                os.write(opened, part.file.inline)
            at, end = part.start, part.start + sum(piece.length for piece in part.pieces)
            while at < end:
                view = next(views)
                is_large = len(view) >= _LEAST_HOLE_BYTES
                if is_large and not (view[0] or view[-1]) and bytes(view) == bytes(len(view)):
                    # A hole of zeros: nothing else writes here, and the file is new.
                    os.ftruncate(opened, part.file.size_bytes)
                    at += len(view)
                else:
                    at = _write(opened, view, at)
            advance(end - part.start)
        finally:
            os.close(opened)


def _write(opened: int, view: memoryview, at: int) -> int:
    while view:
        count = os.pwrite(opened, view, at)
        view, at = view[count:], at + count
    return at


def pieces_of(backend: Backend, pieces: Sequence[Piece]) -> Iterator[memoryview]:
    """Yield the bytes of each piece, proven, each time in the same memory."""
    memory = memoryview(bytearray(max(_STEP_BYTES, *(piece.length for piece in pieces), 0)))
    for blob, of_one in groupby(pieces, key=attrgetter("blob")):
        file = backend.open(blob_name(blob))
        if file is None:
            raise LostBlobError(blob)
        with file:
            for run in _runs(of_one):
                _read_run(file, run, memory)
                at = 0
                for piece in run:
                    view = memory[at : at + piece.length]
                    if xxh3_of(view) != piece.xxh3:
                        raise DamagedBlobError(blob)
                    yield view
                    at += piece.length


def _runs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield groups of parts that are adjacent in their blob, up to the size of one read."""
    run: list[Piece] = []
    end = length = 0
    for piece in pieces:
        if run and (piece.offset != end or length + piece.length > _STEP_BYTES):
            yield run
            run, length = [], 0
        run.append(piece)
        length += piece.length
        end = piece.offset + piece.length
    if run:
        yield run


def _read_run(file: BinaryIO, run: list[Piece], memory: memoryview) -> None:
    length = sum(piece.length for piece in run)

    def fill() -> None:
        file.seek(run[0].offset)
        filled = 0
        while filled < length:
            count = file.readinto(memory[filled:length])  # type: ignore[attr-defined]
            if not count:
                raise DamagedBlobError(run[0].blob)
            filled += count

    reread(blob_name(run[0].blob), fill)


def _move(draft: Path, into: Path) -> None:
    """Give the draft its name, in one step unless somebody else made that directory meanwhile."""
    try:
        os.rename(draft, into)
    except OSError:
        if not into.is_dir():
            raise
        _merge(draft, into)


def _merge(draft: Path, into: Path) -> None:
    """Move everything from the draft into an existing directory, which keeps its identity."""
    _check_places(draft, into)
    _put(draft, into)


def _check_places(draft: Path, into: Path) -> None:
    """Raise UsageError if a file has the place of a folder, or the other way round.

    Links and others count as well. What lies there may be dear to somebody: nothing is touched.
    """
    for entry in os.scandir(draft):
        target = into / entry.name
        try:
            there = os.lstat(target).st_mode
        except FileNotFoundError:
            continue
        mine = entry.stat(follow_symlinks=False).st_mode
        if stat.S_IFMT(mine) != stat.S_IFMT(there):
            raise UsageError(
                f"{target} is a {kind(there)}, and a {kind(mine)} is to be written there; move it "
                "away, or load into another directory"
            )
        if stat.S_ISDIR(mine):
            _check_places(Path(entry.path), target)


def _put(draft: Path, into: Path) -> None:
    for entry in list(os.scandir(draft)):
        target = into / entry.name
        if entry.is_dir(follow_symlinks=False) and target.is_dir():
            _put(Path(entry.path), target)
        else:
            os.replace(entry.path, target)
