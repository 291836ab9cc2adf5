"""Legacy: the saves of metaflow-checkpoint in a datastore, to read only.

    mf.checkpoints/checkpoints/artifacts/<flow>/<step>/<scope>/<identifier>/<save>   tar or folder
      .../artifact_metadata/<flow>/<step>/<scope>/<identifier>/<save>.metadata       its reference
      .../metadata/<flow>/<run>/<step>/<task>/<save without hash>.metadata           the same again
    mf.huggingface_hub/checkpoints/...                                               as above
    mf.models/models/{artifacts/<id>, artifact_metadata/<id>.metadata}

`<save>` is <pathspec hash>.<attempt>.<name>.<version>. Each folder of references also holds one
called `latest`: that of the last save that a load policy may take.

Nothing is trusted: a path that leaves the tree, a device or a link that leads outside refuses the
whole. There are no digests, so a size is all there is to tell whether bytes are missing.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, BinaryIO

from memoflow.backends import Backend
from memoflow.backends.failures import translated
from memoflow.dataclass import dataclass
from memoflow.errors import BadKeyError, IntegrityError, NotFoundError, UnsignedError, UsageError
from memoflow.fields import loaded
from memoflow.kinds.about import Reference, Saves
from memoflow.log import log
from memoflow.objects import drafted
from memoflow.objects.paths import check_path, check_tree

_SAVE = r"[0-9a-f]{8}\.(?P<attempt>[0-9]{1,9})\.(?P<name>.*)\.(?P<version>[0-9]{1,9})"
# Whatever stands before `mf.` is dropped, as the url of a save is a key with the root before it.
_KEY = re.compile(
    r"(?:.*/)?(?P<place>"
    rf"mf\.(?:checkpoints|huggingface_hub)/checkpoints/artifacts/(?:[^/]+/){{4}}{_SAVE}"
    r"|mf\.models/models/artifacts/.+)"
)
_CHECKPOINTS = "mf.checkpoints/checkpoints"
_LARGEST_REFERENCE_BYTES = 32 << 20
_ALLOW = "METAFLOW_MEMOFLOW_LEGACY=1 uses it, if you trust all who can write there"
_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512  # of a tar
# What tarfile raises for hostile bytes, and check_tree for hostile paths.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, MemoryError)


@dataclass(frozen=True)
class _Save:
    """The parts of a key: the place of the bytes below the root, and the save of its task."""

    place: str
    attempt: int = 0
    name: str = ""  # none of a model
    version: int = 0

    @property
    def note(self) -> str:
        """The name of the reference."""
        return self.place.replace("/artifacts/", "/artifact_metadata/", 1) + ".metadata"


def is_key(text: str) -> bool:
    """Tell whether metaflow-checkpoint could have given this key to a checkpoint, hub or model."""
    return _save(text) is not None


class Legacy(Saves):
    """The saves of metaflow-checkpoint, to find and load; never written.

    `backend` is rooted where `mf.checkpoints` and its siblings lie. A reference is the dict that
    `save` returned then, except that `attempt` is a number even where a subprocess saved. Unless it
    `is_trusted` no save is used: its writer is not known, and loading may run code. Searches pass
    over such saves with a warning; a load by key raises UnsignedError.
    """

    def __init__(self, backend: Backend, *, is_trusted: bool = True) -> None:
        self.backend = backend
        self._is_trusted = is_trusted
        self._has_passed_over = False

    def reference(self, key: str) -> Reference | None:
        """Return the reference of a key, or None: then no save under this key was ever finished.

        Raises BadKeyError for what is no key, IntegrityError for a damaged reference.
        """
        save = _known(key)
        self._check_trusted(save)
        data = self._read(save.note)
        return None if data is None else _parse(save.note, data)[1]

    def load(self, reference: Reference | str, into: Path, *, writable: bool = True) -> Path:
        """Write a save into a directory; see `Saves.load`. The files belong to the caller.

        Raises NotFoundError if it is gone, IntegrityError if it is damaged or would leave `into`.
        """
        key = reference if isinstance(reference, str) else reference.get("key")
        save = _known(key)
        self._check_trusted(save)
        if isinstance(reference, str) or "storage_format" not in reference:
            found = self.reference(save.place)
            if found is None:
                raise _missing(save)
            reference = found
        form = reference.get("storage_format")
        write = _WRITERS.get(str(form))
        if write is None:
            raise UsageError(
                f"{save.place} was saved as {form!r}; only {' and '.join(_WRITERS)} can be loaded"
            )
        size = reference.get("size")
        into = Path(os.path.abspath(into))
        with drafted(into) as draft:
            if not write(self.backend, save.place, size if type(size) is int else None, draft):
                raise _missing(save)
        return into

    def contents(self, key: str) -> dict[str, Hashable] | None:
        return None  # It noted no digests.

    def delete(self, key: str) -> bool:
        raise UsageError(
            f"{key} was saved by metaflow-checkpoint, which memoflow only reads from; delete it "
            "with that package, or its files"
        )

    def candidates(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str, policy: str
    ) -> Iterator[Reference]:
        """Yield the checkpoints that a load policy may take: of the task, then by `eager` of all.

        In each part the newest for load policies, then all others, newest first.
        """
        for of_task in (task, None) if policy == "eager" else (task,):
            latest = self.latest(flow, step, scope, identifier, task=of_task)
            if latest is not None:
                yield latest
                found = self.of_scope(flow, step, scope, identifier, task=of_task)
                yield from (each for each in found if each["key"] != latest["key"])

    def latest(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str | None = None
    ) -> Reference | None:
        """Return the newest checkpoint that a load policy may take, or None.

        With `task`, a pathspec Flow/run/step/task, the newest of that task, in whatever scope.
        """
        folder = _task_folder(task) if task else _scope_folder(flow, step, scope, identifier)
        data = self._read(f"{folder}/latest") if self._may_use(folder) else None
        if data is None:
            return None  # Nothing was saved, or nothing with latest=True.
        try:
            save, reference = _parse(f"{folder}/latest", data)
            if self.backend.has(save.note):
                return reference
            log.warning("%s was deleted and is still the latest; taking the newest", save.place)
        except IntegrityError as error:
            log.warning("%s; taking the newest instead", error)
        # A save writes its own reference first, so a `latest` cut short was to name the newest.
        found = self.of_scope(flow, step, scope, identifier, task=task)
        return next(iter(found), None)

    def of_scope(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str | None = None
    ) -> list[Reference]:
        """Return the checkpoints of a task identity; see `Saves.of_scope`.

        By the clocks of those who saved: they noted no time zone. With `task` in any scope.
        """
        if task:
            return self.of_task(task)
        found = list(self._references(_scope_folder(flow, step, scope, identifier)))
        found.sort(key=lambda each: (_created(each[1]), each[0].attempt, each[0].version))
        return [reference for _, reference in reversed(found)]

    def of_task(self, task: str) -> list[Reference]:
        """Return the checkpoints of a task (Flow/run/step/task) in all attempts, newest first."""
        found = list(self._references(_task_folder(task)))
        # Attempts run one after another, whatever the clocks of their machines say.
        found.sort(key=lambda each: (each[0].attempt, _created(each[1]), each[0].version))
        return [reference for _, reference in reversed(found)]

    def _read(self, name: str) -> bytes | None:
        return self.backend.read(name, most_bytes=_LARGEST_REFERENCE_BYTES)

    def _check_trusted(self, save: _Save) -> None:
        if not self._is_trusted:
            raise UnsignedError(
                f"{save.place} was saved by metaflow-checkpoint, which signs nothing: only "
                f"saves signed with a key of METAFLOW_MEMOFLOW_SIGNING_KEY are used; {_ALLOW}"
            )

    def _may_use(self, folder: str) -> bool:
        """Return whether a folder may be used, with a warning for the first that is passed over."""
        if not self._is_trusted and not self._has_passed_over:
            found = next(iter(self.backend.list(folder)), None)
            if found is not None:
                self._has_passed_over = True
                log.warning(
                    "the saves of metaflow-checkpoint in %s are not signed and are passed over; %s",
                    folder,
                    _ALLOW,
                )
        return self._is_trusted

    def _references(self, folder: str) -> Iterator[tuple[_Save, Reference]]:
        if not self._may_use(folder):
            return
        for found in self.backend.list(folder):
            if not found.name.endswith(".metadata"):
                continue
            data = self._read(found.name)
            if data is None:
                continue  # Deleted since it was listed.
            try:
                yield _parse(found.name, data)
            except IntegrityError as error:
                log.warning("%s; it is left out", error)


def _save(key: object) -> _Save | None:
    match = _KEY.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        return None
    try:
        check_path(match["place"])
    except ValueError:
        return None
    if match["version"] is None:
        return _Save(match["place"])
    return _Save(match["place"], int(match["attempt"]), match["name"], int(match["version"]))


def _known(key: object) -> _Save:
    save = _save(key)
    if save is None:
        raise BadKeyError(
            f"{key!r} is no key of metaflow-checkpoint; pass a reference that it returned, "
            "or the reference's `key`"
        )
    return save


def _parse(name: str, data: bytes) -> tuple[_Save, Reference]:
    try:
        reference = loaded(data)
    except ValueError as error:
        raise IntegrityError(f"{name} holds no reference: {error}") from None
    save = _save(reference.get("key")) if isinstance(reference, dict) else None
    if save is None:
        raise IntegrityError(f"{name} holds no reference of metaflow-checkpoint")
    held = name.rpartition("/")[2].removesuffix(".metadata")
    if held != "latest" and not save.place.endswith(held):
        raise IntegrityError(f"{name} holds the reference of {save.place}")
    if isinstance(reference.get("attempt"), str):
        reference["attempt"] = save.attempt  # A subprocess knew it as text.
    return save, reference


def _created(reference: Reference) -> str:
    created = reference.get("created_on")
    return created if isinstance(created, str) else ""


def _scope_folder(flow: str, step: str, scope: str, identifier: str) -> str:
    return f"{_CHECKPOINTS}/artifact_metadata/{flow}/{step}/{scope}/{identifier}"


def _task_folder(pathspec: str) -> str:
    if pathspec.count("/") != 3:
        raise UsageError(f"{pathspec!r} is no task; name it as Flow/run/step/task")
    return f"{_CHECKPOINTS}/metadata/{pathspec}"


def _missing(save: _Save) -> NotFoundError:
    return NotFoundError(
        f"metaflow-checkpoint's {save.place} is not here: it was deleted, never finished, or saved "
        "to another datastore; load another one, or use the datastore that it was saved to"
    )


@dataclass(frozen=True)
class _File:
    path: str
    size_bytes: int
    executable: bool
    open: Callable[[], IO[bytes] | None]


def _write_tar(backend: Backend, name: str, size_bytes: int | None, root: Path) -> bool:
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


def _write_files(backend: Backend, name: str, size_bytes: int | None, root: Path) -> bool:
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


_WRITERS = {"tar": _write_tar, "files": _write_files}
