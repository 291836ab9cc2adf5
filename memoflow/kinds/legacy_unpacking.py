"""Legacy unpacking: a tar or a folder that metaflow-checkpoint stored, back into files.

Nothing is trusted: a path that leaves the tree, a device or a link that leads outside refuses the
whole. It noted no digests, so a size is all there is to tell whether bytes are missing.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, BinaryIO

from memoflow.backends import Backend
from memoflow.backends.failures import translated
from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.log import log
from memoflow.objects.paths import check_tree

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512  # of a tar
# What tarfile raises for hostile bytes, and check_tree for hostile paths.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, MemoryError)


@dataclass(frozen=True)
class _File:
    path: str
    size_bytes: int
    executable: bool
    open: Callable[[], IO[bytes] | None]


def write_tar(backend: Backend, name: str, size_bytes: int | None, root: Path) -> bool:
    """Write the content of a tar into an empty directory; False if nothing has this name."""
    opened = backend.open(name)
    if opened is None:
        return False
    with opened, _refused(name):
        with translated("read", name):
            actual = opened.seek(0, os.SEEK_END)
            if size_bytes not in (None, actual):
                raise IntegrityError(_differs(name, actual, size_bytes))
            opened.seek(0)
            tar = tarfile.TarFile(fileobj=opened)
            members = _members(tar, opened, actual)
        _write_members(tar, members, root)
    return True


def write_files(backend: Backend, name: str, size_bytes: int | None, root: Path) -> bool:
    """Write the files of a folder into an empty directory; False if there are none to be.

    Two processes may have saved under one name: then there is more than was noted, and it is
    loaded with a warning, as it was then.
    """
    with _refused(name):
        files = list(_stored(backend, name))
        check_tree([file.path for file in files], (), {})
        actual = sum(file.size_bytes for file in files)
        if size_bytes is not None and files and actual < size_bytes:
            raise IntegrityError(_differs(name, actual, size_bytes))
        if size_bytes is not None and actual > size_bytes:
            log.warning("%s; loading all of it", _differs(name, actual, size_bytes))
        for file in files:
            _write(file, root)
    return bool(files) or size_bytes == 0


def _stored(backend: Backend, name: str) -> Iterator[_File]:
    """Yield the files below a name.

    On this machine by looking there: no backend knows names with a leading dot, and every
    snapshot of the Hub holds some.
    """
    folder = backend.path(name)
    if folder is not None:
        with translated("list", folder):
            yield from _walk(str(folder), "")
        return
    for found in backend.list(name):
        yield _File(
            found.name[len(name) + 1 :],
            found.size_bytes,
            executable=False,
            open=partial(backend.open, found.name),
        )


def _walk(folder: str, prefix: str) -> Iterator[_File]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        path = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            info = entry.stat(follow_symlinks=False)
            yield _File(
                path,
                info.st_size,
                executable=bool(info.st_mode & 0o100),
                open=partial(FileIO, entry.path),
            )
        else:
            raise ValueError(f"{path!r} is neither a file nor a folder")


def _members(tar: tarfile.TarFile, opened: BinaryIO, length: int) -> list[tarfile.TarInfo]:
    """Return the members of a tar; ValueError if its end is missing or damaged."""
    members = []
    end = 0
    for member in tar:
        if member.offset < end or member.size < 0:
            raise ValueError("its headers lead backwards")
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise ValueError(f"{member.name!r} is a device or of an unknown type")
        if member.issparse():
            raise ValueError(f"{member.name!r} is sparse, as no file in its tars is")
        size = member.size if member.isreg() else 0
        end = member.offset_data + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
        if end > length:
            raise ValueError(f"it is cut short within {member.name!r}")
        members.append(member)
    # tarfile takes a damaged header for the end, and a missing end for one.
    opened.seek(end)
    if opened.read(2 * _BLOCK_BYTES) != bytes(2 * _BLOCK_BYTES):
        raise ValueError(f"it is cut short or damaged after {end} bytes")
    return members


def _write_members(tar: tarfile.TarFile, members: list[tarfile.TarInfo], root: Path) -> None:
    files = {member.name: member for member in members if member.isreg()}
    # A saved folder is a member too, without a name.
    folders = [member.name for member in members if member.isdir() and member.name not in ("", ".")]
    links = {member.name: member.linkname for member in members if member.issym()}
    paths = [member.name for member in members if member.isreg() or member.islnk()]
    if len(links) < sum(member.issym() for member in members):
        raise ValueError("a link is there twice")
    check_tree(paths, folders, links)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for member in members:
        if not (member.isreg() or member.islnk()):
            continue
        held = files.get(member.linkname) if member.islnk() else member
        if held is None:
            raise ValueError(f"{member.name!r} links to {member.linkname!r}, which it lacks")
        opened = partial(tar.extractfile, held)
        _write(_File(member.name, held.size, bool(held.mode & 0o100), opened), root)
    # Last, so that nothing above can have been written through one.
    for path, target in links.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, root / path)


def _write(file: _File, root: Path) -> None:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o777 if file.executable else 0o666
    with translated("read", file.path):
        source = file.open()
    if source is None:
        raise ValueError(f"{file.path!r} was deleted during the load")
    written = 0
    with source, open(path, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as target:
        while True:
            with translated("read", file.path):
                chunk = source.read(_CHUNK_BYTES)
            if not chunk:
                break
            written += target.write(chunk)
    if written != file.size_bytes:
        raise ValueError(f"{file.path!r} has {written} bytes instead of {file.size_bytes}")


def _differs(name: str, actual: int, noted: int | None) -> str:
    return f"{name} has {actual} bytes, and {noted} were saved; load another checkpoint"


@contextmanager
def _refused(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise IntegrityError(f"{name} cannot be loaded: {error}; load another checkpoint") from None
