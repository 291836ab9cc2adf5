"""Doctor: checks of a store's surroundings, each with a remedy.

What is tried is written under a name that nothing else has, and deleted again; no store is made
where there is none.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from memoflow.backends import Backend, Local, exclusive
from memoflow.backends.local import share_blocks
from memoflow.dataclass import dataclass
from memoflow.errors import BackendError, FormatError, IntegrityError, MemoflowError, UsageError
from memoflow.index import SQLITE_VERSION, Index, network_file_system
from memoflow.store.format import NAME, VERSION, Format, read_format
from memoflow.store.refs.refs import QUARANTINE
from memoflow.store.refs.signing import Keyring
from memoflow.units import flag, readable, size, span

_PREFIX = "METAFLOW_MEMOFLOW_"
_OLDEST_PYTHON = (3, 10)
_OLDEST_METAFLOW = (2, 19, 23)
_SKEW_SECONDS = 60.0
_LEAST_FREE_BYTES = 2 << 30


class Severity(Enum):
    """Severity of a finding: `warn` costs time or space, `fail` costs results or saves."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding: its severity, the subject, the fact, and the remedy ("" for none)."""

    verdict: Severity
    name: str
    what: str
    advice: str = ""


_ok = partial(Check, Severity.OK)
_warn = partial(Check, Severity.WARN)
_fail = partial(Check, Severity.FAIL)


def examine(
    backend: Backend,
    *,
    settings: Mapping[str, str],
    cache: Path,
    clock: Callable[[], float] = time.time,
    versions: Mapping[str, str | None] | None = None,
) -> list[Check]:
    """Return the findings about a store, the settings that hold, and this machine.

    `settings` are those of METAFLOW_MEMOFLOW_*, from the environment and from Metaflow's
    configuration; `cache` is where this machine keeps index and copies. `versions` are those of
    installed packages, None for one that is not; by default it looks.
    """
    checks = [*of_settings(settings), *_who_reads_keys(settings)]
    checks += of_versions(versions or installed())
    try:
        checks += _of_backend(backend, cache, clock)
    except MemoflowError as error:
        checks.append(
            _fail("store", str(error), "make sure that it can be reached, then try again")
        )
    return [*checks, *_of_machine(backend, cache)]


# Settings and versions


def _one_of(*values: str) -> Callable[[str, str], None]:
    def check(option: str, value: str) -> None:
        if value not in values:
            raise UsageError(f"{option} is one of {', '.join(values)}, not {value!r}")

    return check


def _any(option: str, value: str) -> None:
    pass


SETTINGS: Mapping[str, Callable[[str, str], Any]] = {
    f"{_PREFIX}ROOT": _any,
    f"{_PREFIX}MODE": _one_of("on", "off", "read-only", "only", "shadow"),
    f"{_PREFIX}REFRESH": _any,
    f"{_PREFIX}CHECKPOINT": flag,
    f"{_PREFIX}CHECKPOINT_LOAD": _one_of("eager", "fresh", "none"),
    f"{_PREFIX}MAX_SIZE": size,
    f"{_PREFIX}INSTALL": flag,
    f"{_PREFIX}LEGACY": flag,
    f"{_PREFIX}CACHE_DIR": _any,
    f"{_PREFIX}CACHE_SIZE": size,
    f"{_PREFIX}SIGNING_KEY": Keyring.parse,
}


def of_settings(settings: Mapping[str, str]) -> Iterator[Check]:
    """Yield the wrong settings, or that all are valid; the value of a key is not shown."""
    wrong = False
    for name, value in sorted(settings.items()):
        if not value:
            continue
        if name not in SETTINGS:
            wrong = True
            near = difflib.get_close_matches(name, SETTINGS, 1)
            advice = f"use {near[0]}" if near else f"unset it; settings are {', '.join(SETTINGS)}"
            yield _warn("settings", f"{name} is not a setting and has no effect", advice)
            continue
        try:
            SETTINGS[name](name, value)
        except UsageError as error:
            wrong = True
            yield _fail("settings", str(error), f"correct {name}, or unset it")
    if not wrong:
        names = [name for name in sorted(settings) if settings[name]]
        yield _ok("settings", f"{', '.join(names)}: valid" if names else "all defaults")


def _who_reads_keys(settings: Mapping[str, str]) -> Iterator[Check]:
    words = settings.get(f"{_PREFIX}SIGNING_KEY", "").replace("\n", ",").split(",")
    for path in (word.strip()[1:] for word in words if word.strip().startswith("@")):
        with suppress(OSError):
            mode = stat.S_IMODE(os.stat(os.path.expanduser(path)).st_mode)
            if mode & 0o077:
                what = f"other users of this machine can read or replace the keys in {path}"
                yield _warn("settings", f"{what} (mode {mode:04o})", f"chmod 600 {path}")


def installed() -> dict[str, str | None]:
    """Return the installed versions of the packages that matter here; None for a missing one."""
    found: dict[str, str | None] = {}
    for name in ("metaflow-memoflow", "metaflow", "metaflow-checkpoint", "ob-metaflow"):
        found[name] = None
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def of_versions(versions: Mapping[str, str | None]) -> Iterator[Check]:
    """Yield findings about versions: too old, or in conflict with each other."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield _fail("versions", f"Python {python} is too old", "use 3.10 or later")
    platform = versions.get("ob-metaflow")
    metaflow = versions.get("metaflow") or platform
    if platform is not None and versions.get("metaflow") is not None:
        what = f"metaflow {metaflow} and ob-metaflow {platform} have the same files"
        advice = (
            "pip uninstall metaflow, pip install --force-reinstall --no-deps ob-metaflow, and "
            "install metaflow-memoflow with --no-deps"
        )
        yield _fail("versions", what, advice)
    if metaflow is None:
        advice = "install metaflow: all but this command needs it"
        yield _warn("versions", "Metaflow is not installed here", advice)
    elif tuple(map(int, re.findall(r"[0-9]+", metaflow)[:3])) < _OLDEST_METAFLOW:
        yield _fail("versions", f"Metaflow {metaflow} is too old", "install 2.19.23 or later")
    beside = versions.get("metaflow-checkpoint")
    if beside is not None:
        what = f"metaflow-checkpoint {beside} is installed too; memoflow takes its place"
        advice = f"uninstall it, or give it the names of checkpoints with {_PREFIX}CHECKPOINT=0"
        yield _warn("versions", what, advice)
    mine = versions.get("metaflow-memoflow") or "from source"
    yield _ok(
        "versions",
        f"memoflow {mine}, Metaflow {metaflow}, Python {python}, SQLite "
        f"{SQLITE_VERSION}, format {VERSION}",
    )


# The store, where it is kept


def _of_backend(backend: Backend, cache: Path, clock: Callable[[], float]) -> Iterator[Check]:
    found = None
    if backend.read(NAME, most_bytes=1) is None:
        yield _ok("store", f"no store yet in {backend}; the first save creates it")
    else:
        try:
            found = read_format(backend, make=False)
        except FormatError as error:
            yield _fail("store", str(error), "upgrade memoflow")
        except IntegrityError as error:
            yield _fail("store", str(error), f"remove {NAME} if refs and blobs are whole")
        else:
            yield _ok("store", f"{found.id} in {backend}, format {VERSION}")
    if not isinstance(backend, Local) or os.path.isdir(backend.root):
        yield from _tried(backend, found, clock)
    else:
        # To try it would be to make it.
        yield _of_place_to_be(backend.root)
    quarantined = sum(1 for _ in backend.list(QUARANTINE))
    if quarantined:
        what = f"{quarantined} damaged files are in {QUARANTINE}/"
        yield _warn("quarantine", what, "run `memoflow verify` and check the disk")
    if found is not None:
        yield from _of_index(cache, found)


_WRITE = "give this user write access: until then hits work and nothing is saved"


def _of_place_to_be(root: Path) -> Check:
    """Return whether the directory of a store can be made that is not there."""
    there = _nearest(root)
    if not os.path.isdir(there):
        what = f"{root} cannot be created: {there} is not a directory"
        return _fail("permissions", what, "move that file, or keep the store elsewhere")
    if not os.access(there, os.W_OK | os.X_OK):
        what = f"{root} cannot be created: {there} is not writable"
        return _fail("permissions", what, _WRITE)
    return _ok("permissions", f"{there} is writable; the first save creates {root}")


def _nearest(place: Path) -> Path:
    """Return a path, or the nearest directory above it that exists."""
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def _tried(backend: Backend, found: Format | None, clock: Callable[[], float]) -> Iterator[Check]:
    name, before = f"gc/probe-{uuid.uuid4().hex}", clock()
    try:
        backend.write(name, b"first", durable=False)
    except BackendError as error:
        yield _fail("permissions", f"the store cannot be written: {error}", _WRITE)
        return
    after = clock()
    try:
        honoured = not backend.write(name, b"second", if_absent=True, durable=False)
        data = backend.read(name)
        times = [each.modified for each in backend.list("gc") if each.name == name]
    finally:
        try:
            backend.delete([name])
            left = backend.has(name)
        except BackendError:
            left = True
    if left:
        what = f"files cannot be deleted ({name} stays)"
        yield _fail("permissions", what, "give this user delete access: gc needs it")
    if data not in (b"first", b"second"):
        what = "files cannot be read back"
        yield _fail("permissions", what, "give this user read access")
    elif not left:
        yield _ok("permissions", "reading, writing, listing and deleting work")
    yield _of_conditions(honoured, found)
    if times:
        yield _of_clock(times[0], before, after)
    else:
        yield _fail("permissions", "files are not listed", "give this user list access")


def _of_conditions(honoured: bool, found: Format | None) -> Check:
    says = None if found is None else found.conditional
    if honoured and says is False:
        what = f"conditional writes work, and {NAME} says that they do not"
        return _warn(
            "conditions", what, "nothing to do: the server was upgraded since the store was created"
        )
    if honoured:
        return _ok("conditions", "conditional writes work")
    if says:
        what = f"conditional writes do not work, and {NAME} says that they do"
        advice = f'add "conditional": false to {NAME} and remove its "seal", or change the server'
        return _fail("conditions", what, advice)
    what = "conditional writes do not work; a step may run twice, no result is wrong"
    return _warn("conditions", what, "use a server that supports If-None-Match, if possible")


def _of_clock(there: float, before: float, after: float) -> Check:
    # A file system may date files by its last tick, a server by whole seconds.
    skew = max(before - 1.0 - there, there - after - 1.0, 0.0)
    if skew < _SKEW_SECONDS:
        return _ok("clock", "this machine's clock and the store's agree")
    way = "behind" if there > after else "ahead of"
    what = f"this machine's clock is {span(skew)} {way} the store's"
    return _warn("clock", what, "set the clock: expiry is judged by both")


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
            advice = "run `memoflow reindex`: the index is only a cache and is rebuilt"
            yield _warn("index", f"{path} {'; '.join(damage)}", advice)
        else:
            yield _ok("index", f"{path} is intact and has {rows} references")
    if not paths:
        yield _ok("index", f"no index yet in {cache}")


# This machine


def _of_machine(backend: Backend, cache: Path) -> Iterator[Check]:
    places = {"cache": cache}
    if isinstance(backend, Local):
        places["store"] = backend.root
        yield from _of_file_system(backend.root)
    kind = network_file_system(cache)
    if kind:
        what = f"{cache} is on {kind}, where SQLite loses data; the index is kept elsewhere"
        yield _warn("file system", what, f"set {_PREFIX}CACHE_DIR to a directory on a local disk")
    there = _nearest(cache)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        what = f"the cache cannot be in {cache}: {there} is not writable"
        yield _warn("permissions", what, f"give this user write access, or set {_PREFIX}CACHE_DIR")
    for name, place in places.items():
        yield from _of_space(name, place)
        yield from _of_privacy(name, place)


def _of_file_system(root: Path) -> Iterator[Check]:
    if not os.path.isdir(root):
        return
    kind = network_file_system(root)
    if kind:
        what = f"the store is on {kind}, where locks and times are less exact"
        yield _warn(
            "file system", what, "nothing to do: memoflow needs neither; a bucket may be faster"
        )
    try:
        folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=root))
    except OSError:
        return  # Which permissions say.
    try:
        file = folder / "file"
        file.write_bytes(b"probe")
        with suppress(OSError):
            os.link(file, folder / "link")
        links = (folder / "link").exists()
        with open(file, "rb", buffering=0) as source, open(folder / "copy", "wb") as copy:
            shares = share_blocks(copy.fileno(), source)
        way = exclusive.way_of(str(folder))
    except OSError:
        return  # Which space and permissions say.
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if links:
        yield _ok("file system", "hard links work: artifacts are stored once")
    else:
        what = "hard links do not work: artifacts and models are copied"
        yield _warn("file system", what, "put the store on ext4, XFS, btrfs or APFS")
    yield of_way(way)
    copies = (
        "copies share blocks" if shares else "copies are full copies: a load takes its size again"
    )
    yield _ok("file system", copies)


def of_way(way: exclusive.Way) -> Check:
    """Return the finding about exclusive names here: the way in which none is lost, or none."""
    if way is exclusive.by_look:
        what = "no hard links, locks or exclusive renames: one of two saves under one name at the "
        what += "same time may be lost"
        return _fail("file system", what, "put the store on ext4, XFS, btrfs or APFS")
    means: dict[exclusive.Way, str] = {
        exclusive.by_link: "by hard links",
        exclusive.by_rename: "by exclusive renames",
        exclusive.by_lock: "by a lock, among the processes of one machine",
    }
    return _ok("file system", f"files are never overwritten: {means[way]}")


def _of_space(name: str, place: Path) -> Iterator[Check]:
    there = _nearest(place)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return
    what = f"{readable(free)} free for the {name} in {place}"
    if free < _LEAST_FREE_BYTES:
        yield _warn("space", what, "run `memoflow gc --max-size SIZE`, or free some space")
    else:
        yield _ok("space", what)


def _of_privacy(name: str, place: Path) -> Iterator[Check]:
    try:
        info = place.stat()
    except OSError:
        return
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o002:
        what = f"any user of this machine can write to the {name} in {place}"
        yield _fail("privacy", what, f"chmod o-w {place}: a writer there decides results")
    elif mode & 0o077:
        what = f"other users of this machine can read the {name} in {place} (mode {mode:04o})"
        yield _warn("privacy", what, f"chmod 700 {place}, unless it is shared on purpose")
    else:
        yield _ok("privacy", f"only its owner can read the {name} in {place}")
