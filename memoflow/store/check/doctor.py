"""Doctor: whether a store's surroundings are what it counts on, and what to do where they are not.

What is tried is written under a name that nothing else has, and deleted again; no store is made
where there is none.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from memoflow.backends import Backend, Local, exclusive
from memoflow.dataclass import dataclass
from memoflow.errors import BackendError, FormatError, IntegrityError, MemoflowError, UsageError
from memoflow.index import SQLITE_VERSION, Index, network_file_system
from memoflow.store.format import NAME, VERSION, Format, read_format
from memoflow.store.refs.refs import QUARANTINE
from memoflow.store.refs.signing import Keyring
from memoflow.units import flag, readable, size, span

_PREFIX = "METAFLOW_MEMOFLOW_"
_MODES = ("on", "off", "read-only", "only")
_LOADS = ("eager", "fresh", "none")
_OLDEST_PYTHON = (3, 10)
_OLDEST_METAFLOW = (2, 19, 23)
_SKEW_SECONDS = 60.0
_LEAST_FREE_BYTES = 2 << 30
_FICLONE = 0x40049409  # of linux/fs.h


class Severity(Enum):
    """How bad it is: a warning costs time or space, trouble costs results or saves."""

    FINE = "fine"
    WARNING = "warning"
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and what to do about it; "" if nothing."""

    name: str
    verdict: Severity
    what: str
    advice: str = ""


def examine(
    backend: Backend,
    *,
    settings: Mapping[str, str],
    cache: Path,
    clock: Callable[[], float] = time.time,
    versions: Mapping[str, str | None] | None = None,
) -> list[Check]:
    """Return what was found about a store, the settings that hold, and this machine.

    `settings` are those of METAFLOW_MEMOFLOW_*, from the environment and from Metaflow's
    configuration; `cache` is where this machine keeps index and copies. `versions` are those of
    installed packages, None for one that is not; by default it looks.
    """
    checks = [*of_settings(settings), *_who_reads_keys(settings)]
    checks += [*of_versions(versions or installed())]
    try:
        checks += _of_backend(backend, cache, clock)
    except MemoflowError as error:
        checks.append(_trouble("store", str(error), "see that it can be reached, then try again"))
    return [*checks, *_of_machine(backend, cache)]


def _fine(name: str, what: str) -> Check:
    return Check(name, Severity.FINE, what)


def _warning(name: str, what: str, advice: str) -> Check:
    return Check(name, Severity.WARNING, what, advice)


def _trouble(name: str, what: str, advice: str) -> Check:
    return Check(name, Severity.TROUBLE, what, advice)


# Settings and versions


def _mode(option: str, value: str) -> None:
    if value not in _MODES:
        raise UsageError(f"{option} is one of {', '.join(_MODES)}, not {value!r}")


def _load(option: str, value: str) -> None:
    if value not in _LOADS:
        raise UsageError(f"{option} is one of {', '.join(_LOADS)}, not {value!r}")


def _any(option: str, value: str) -> None:
    pass


SETTINGS: Mapping[str, Callable[[str, str], Any]] = {
    f"{_PREFIX}ROOT": _any,
    f"{_PREFIX}MODE": _mode,
    f"{_PREFIX}REFRESH": _any,
    f"{_PREFIX}CHECKPOINT": flag,
    f"{_PREFIX}CHECKPOINT_LOAD": _load,
    f"{_PREFIX}MAX_SIZE": size,
    f"{_PREFIX}INSTALL": flag,
    f"{_PREFIX}LEGACY": flag,
    f"{_PREFIX}CACHE_DIR": _any,
    f"{_PREFIX}CACHE_SIZE": size,
    f"{_PREFIX}SIGNING_KEY": Keyring.parse,
}


def of_settings(settings: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is wrong with settings, or that nothing is; the value of a key is not shown."""
    wrong = False
    for name, value in sorted(settings.items()):
        if not value:
            continue
        if name not in SETTINGS:
            wrong = True
            near = difflib.get_close_matches(name, SETTINGS, 1)
            advice = f"use {near[0]}" if near else f"unset it; there are {', '.join(SETTINGS)}"
            yield _warning("settings", f"{name} is no setting, so it does nothing", advice)
            continue
        try:
            SETTINGS[name](name, value)
        except UsageError as error:
            wrong = True
            yield _trouble("settings", str(error), f"correct {name}, or unset it")
    if not wrong:
        names = [name for name in sorted(settings) if settings[name]]
        yield _fine("settings", f"{', '.join(names)} can be used" if names else "all as by default")


def _who_reads_keys(settings: Mapping[str, str]) -> Iterator[Check]:
    words = settings.get(f"{_PREFIX}SIGNING_KEY", "").replace("\n", ",").split(",")
    for path in (word.strip()[1:] for word in words if word.strip().startswith("@")):
        with suppress(OSError):
            mode = stat.S_IMODE(os.stat(os.path.expanduser(path)).st_mode)
            if mode & 0o077:
                what = f"others on this machine can read or replace the keys in {path}"
                yield _warning("settings", f"{what} (mode {mode:04o})", f"chmod 600 {path}")


def installed() -> dict[str, str | None]:
    """Return the versions of what memoflow works with; None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in ("metaflow-memoflow", "metaflow", "metaflow-checkpoint", "ob-metaflow"):
        found[name] = None
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def of_versions(versions: Mapping[str, str | None]) -> Iterator[Check]:
    """Yield whether these go together."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield _trouble("versions", f"Python {python} is too old", "use 3.10 or later")
    platform = versions.get("ob-metaflow")
    metaflow = versions.get("metaflow") or platform
    if platform is not None and versions.get("metaflow") is not None:
        what = f"metaflow {metaflow} and ob-metaflow {platform} have the same files"
        advice = (
            "pip uninstall metaflow, pip install --force-reinstall --no-deps ob-metaflow, and "
            "install metaflow-memoflow with --no-deps"
        )
        yield _trouble("versions", what, advice)
    if metaflow is None:
        advice = "install metaflow, for anything but this command"
        yield _warning("versions", "Metaflow is not installed here", advice)
    elif _numbers(metaflow) < _OLDEST_METAFLOW:
        yield _trouble("versions", f"Metaflow {metaflow} is too old", "install 2.19.23 or later")
    beside = versions.get("metaflow-checkpoint")
    if beside is not None:
        what = f"metaflow-checkpoint {beside} is installed beside; memoflow takes its place"
        advice = f"uninstall it, or leave the names of checkpoints to it by {_PREFIX}CHECKPOINT=0"
        yield _warning("versions", what, advice)
    yield _fine(
        "versions",
        f"memoflow {versions.get('memoflow')}, Metaflow {metaflow}, Python {python}, SQLite "
        f"{SQLITE_VERSION}, format {VERSION}",
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:3]
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in parts)


# The store, where it is kept


def _of_backend(backend: Backend, cache: Path, clock: Callable[[], float]) -> Iterator[Check]:
    found = None
    if backend.read(NAME, most_bytes=1) is None:
        yield _fine("store", f"there is none yet in {backend}; the first save makes one")
    else:
        try:
            found = read_format(backend, make=False)
        except FormatError as error:
            yield _trouble("store", str(error), "upgrade memoflow")
        except IntegrityError as error:
            yield _trouble("store", str(error), f"remove {NAME} if refs and blobs are whole")
        else:
            yield _fine("store", f"{found.id} in {backend}, format {VERSION}")
    if not isinstance(backend, Local) or os.path.isdir(backend.root):
        yield from _tried(backend, found, clock)
    else:
        # To try it would be to make it.
        yield _of_place_to_be(backend.root)
    aside = sum(1 for _ in backend.list(QUARANTINE))
    if aside:
        what = f"{aside} damaged files were set aside in {QUARANTINE}/"
        yield _warning("quarantine", what, "run `memoflow verify`, and look after the disk")
    if found is not None:
        yield from _of_index(cache, found)


_WRITE = "hits are served, nothing is saved; let this user write there"


def _of_place_to_be(root: Path) -> Check:
    """Return whether the directory of a store can be made that is not there."""
    there = _nearest(root)
    if not os.path.isdir(there):
        what = f"{root} cannot be made: {there} is no directory"
        return _trouble("permissions", what, "move that away, or keep the store elsewhere")
    if not os.access(there, os.W_OK | os.X_OK):
        what = f"{root} cannot be made: {there} cannot be written here"
        return _trouble("permissions", what, _WRITE)
    return _fine("permissions", f"{root} is made by the first save: {there} can be written")


def _nearest(place: Path) -> Path:
    """Return a place, or what there is of the directories above it."""
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def _tried(backend: Backend, found: Format | None, clock: Callable[[], float]) -> Iterator[Check]:
    name, before = f"gc/probe-{uuid.uuid4().hex}", clock()
    try:
        backend.write(name, b"first", durable=False)
    except BackendError as error:
        yield _trouble("permissions", f"it cannot be written: {error}", _WRITE)
        return
    after = clock()
    try:
        honoured = not backend.write(name, b"second", if_absent=True, durable=False)
        data = backend.read(name)
        times = [each.modified for each in backend.list("gc") if each.name == name]
    finally:
        try:
            backend.delete([name])
            left = backend.exists([name])[0]
        except BackendError:
            left = True
    if left:
        what = f"what was written cannot be deleted ({name} stays)"
        yield _trouble("permissions", what, "let this user delete: eviction and sweeps need it")
    if data not in (b"first", b"second"):
        what = "what was written cannot be read back"
        yield _trouble("permissions", what, "let this user read there")
    elif not left:
        yield _fine("permissions", "it can be read, written, listed and deleted from")
    yield _of_conditions(honoured, found)
    if times:
        yield _of_clock(times[0], before, after)
    else:
        yield _trouble("permissions", "what was written is not listed", "let this user list there")


def _of_conditions(honoured: bool, found: Format | None) -> Check:
    says = None if found is None else found.conditional
    if honoured and says is False:
        what = f"writes are conditional here, and {NAME} says that they are not"
        return _warning("conditions", what, "nothing is wrong; the server has learned it since")
    if honoured:
        return _fine("conditions", "what must not be overwritten is not")
    if says:
        what = f"the server overwrites what it must not, and {NAME} says that it does not"
        advice = f'add "conditional": false to {NAME} and remove its "seal", or change the server'
        return _trouble("conditions", what, advice)
    what = "the server overwrites what it must not; work may be done twice, no answer is wrong"
    return _warning("conditions", what, "use a server that knows If-None-Match, if there is one")


def _of_clock(there: float, before: float, after: float) -> Check:
    # A file system may date files by its last tick, a server by whole seconds.
    skew = max(before - 1.0 - there, there - after - 1.0, 0.0)
    if skew < _SKEW_SECONDS:
        return _fine("clock", "this machine's goes like the store's, as far as it matters")
    way = "behind" if there > after else "ahead of"
    what = f"this machine's clock is {span(skew)} {way} the store's"
    return _warning("clock", what, "set the clock: what expires is judged by both")


def _of_index(cache: Path, found: Format) -> Iterator[Check]:
    paths = sorted(cache.glob(f"{found.id}*.sqlite"))
    for path in paths:
        index = Index(path)
        try:
            damage = index.damage()
            rows = len(index.entries())
        finally:
            index.close()
        if damage:
            advice = "run `memoflow reindex`: it is only a memory, and made anew"
            yield _warning("index", f"{path} {'; '.join(damage)}", advice)
        else:
            yield _fine("index", f"{path} is whole and knows {rows} refs")
    if not paths:
        yield _fine("index", f"there is none yet in {cache}")


# This machine


def _of_machine(backend: Backend, cache: Path) -> Iterator[Check]:
    places = {"cache": cache}
    if isinstance(backend, Local):
        places["store"] = backend.root
        yield from _of_file_system(backend.root)
    kind = network_file_system(cache)
    if kind:
        what = f"{cache} is on {kind}, where SQLite loses data; the index is kept elsewhere"
        yield _warning("file system", what, "name a directory of a disk of this machine")
    yield from _of_cache(cache)
    for name, place in places.items():
        yield from _of_space(name, place)
        yield from _of_privacy(name, place)


def _of_file_system(root: Path) -> Iterator[Check]:
    if not os.path.isdir(root):
        return
    kind = network_file_system(root)
    if kind:
        what = f"the store is on {kind}, where locks and times are less exact"
        yield _warning("file system", what, "memoflow needs neither; a bucket may be faster")
    try:
        folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=root))
    except OSError:
        return  # Which permissions say.
    try:
        file = folder / "file"
        file.write_bytes(b"probe")
        links, shares = _links(file), _shares(file)
        way = exclusive.way_of(str(folder))
    except OSError:
        return  # Which space and permissions say.
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if links:
        yield _fine("file system", "it has hard links: artifacts are kept once")
    else:
        what = "it has no hard links: artifacts and models are copied"
        yield _warning("file system", what, "put the store on ext4, XFS, btrfs or APFS")
    yield of_way(way)
    copies = "shares blocks of copies" if shares else "copies byte by byte: loads cost their size"
    yield _fine("file system", f"it {copies}")


def of_way(way: exclusive.Way) -> Check:
    """Return by which way of giving names none is lost here, or that there is none."""
    if way is exclusive.by_look:
        what = "it has no hard links, locks, or renames that replace nothing: one of two saves "
        what += "under one name at the same time may be lost"
        return _trouble("file system", what, "put the store on ext4, XFS, btrfs or APFS")
    means: dict[exclusive.Way, str] = {
        exclusive.by_link: "hard links see to it",
        exclusive.by_rename: "renames that replace nothing see to it",
        exclusive.by_lock: "a lock sees to it, among the processes of one machine",
    }
    return _fine("file system", f"what has a name is not overwritten: {means[way]}")


def _links(file: Path) -> bool:
    try:
        os.link(file, file.with_name("link"))
    except OSError:
        return False
    return True


def _shares(file: Path) -> bool:
    try:
        with open(file, "rb") as source, open(file.with_name("copy"), "wb") as copy:
            fcntl.ioctl(copy, _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _of_cache(cache: Path) -> Iterator[Check]:
    there = _nearest(cache)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        what = f"the cache cannot be in {cache}: {there} cannot be written here"
        advice = f"let this user write there, or name another in {_PREFIX}CACHE_DIR"
        yield _warning("permissions", what, advice)


def _of_space(name: str, place: Path) -> Iterator[Check]:
    there = _nearest(place)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return
    what = f"{readable(free)} are free for the {name} in {place}"
    if free < _LEAST_FREE_BYTES:
        yield _warning("space", what, "run `memoflow gc --max-size`, or make room")
    else:
        yield _fine("space", what)


def _of_privacy(name: str, place: Path) -> Iterator[Check]:
    try:
        info = place.stat()
    except OSError:
        return
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o002:
        what = f"anybody on this machine can write to the {name} in {place}"
        yield _trouble("privacy", what, f"chmod o-w {place}: whoever writes there decides results")
    elif mode & 0o077:
        what = f"others on this machine can look into the {name} in {place} (mode {mode:04o})"
        yield _warning("privacy", what, f"chmod 700 {place}, unless you share it on purpose")
    else:
        yield _fine("privacy", f"the {name} in {place} is its owner's alone")
