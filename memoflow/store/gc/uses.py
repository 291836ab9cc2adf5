"""Uses: the days on which machines used refs, noted in bulk, so that eviction anywhere knows.

    uses/<day>/<machine>           what a machine used on a day, as its index knows; what is too
                                   much for one file in <machine>.1 and so on
    uses/<day>/<machine>-<token>   the same of a process, written once
    uses/merged/<sha256>           notes of days that are over, in one file, named by its bytes

Each file is lines and a checksum: a day, then the first 16 hex digits of the SHA-256 of each key
that was used on it, then the next day. Days are of UTC, by the backend's clock. A note is only a
reason to keep a ref: anybody may leave one, nobody can make a ref go by one.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter

from memoflow.backends import Backend, Found
from memoflow.errors import BackendDeniedError, BackendError
from memoflow.index import Index
from memoflow.log import log
from memoflow.names import Digest, Key
from memoflow.store.clock import StoreClock
from memoflow.store.marker_file import content, sealed
from memoflow.threads import Pool

FOLDER = "uses"
MERGED = f"{FOLDER}/merged"
LARGEST_BYTES = 8 << 20
_MOST_KEYS = 400_000  # in a file: each takes 17 bytes, and a day of them 11 more
_DAY_SECONDS = 86400
_NOTED = "uses noted"
_MACHINE = "uses machine"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NAME = re.compile(
    rf"{FOLDER}/(?:merged/[0-9a-f]{{64}}|(?P<day>\d{{4}}-\d{{2}}-\d{{2}})"
    r"/(?P<machine>[0-9a-f]{32})(?:(?P<token>-[0-9a-f]{8})|\.[0-9]{1,4})?)",
    re.ASCII,
)
_LINE = re.compile(rb"[0-9a-f]{16}\n")
# A machine writes its file of today and that of yesterday: an older one is never written again.
_OVER_DAYS = 3
_LAST_SECONDS = 253402300799.0  # the last that a calendar has
_WORTH_MERGING = 8  # files that are never written again
_AT_ONCE = 16
_TRIES = 4

_Days = dict[int, set[str]]  # digests by the day, counted from 1970


def note(backend: Backend, index: Index, clock: StoreClock, *, once: bool) -> None:
    """Note the uses on this machine since the last note; nothing if that cannot be written.

    `once` is for a machine that may not be there again: its file is never written anew.
    """
    index.flush()
    began = int(clock.ours())
    known = index.get([_NOTED, _MACHINE])
    since = 0
    with suppress(ValueError):
        noted = int(known.get(_NOTED) or 0)
        since = noted if noted <= began else 0  # Else the clock was set back.
    if not index.used_since(since):
        return
    machine = _machine(index, known.get(_MACHINE))
    try:
        if once:
            _write_once(backend, machine, _by_day(index, clock, since))
        else:
            _write(backend, index, clock, machine, since)
    except BackendError as error:
        log.debug("the uses by this machine are not noted in the store: %s", error)
        return
    index.set({_NOTED: str(began)})


def _write(backend: Backend, index: Index, clock: StoreClock, machine: str, since: int) -> None:
    """Write the files of today and yesterday, and one of its own for older days."""
    today = _day_of(clock.now())
    first = int((today - 1) * _DAY_SECONDS - clock.ahead)
    late = _by_day(index, clock, since)
    late = {day: digests for day, digests in late.items() if day < today - 1}
    if late:
        _write_once(backend, machine, late)
    written: _Days = {}
    for _ in range(_TRIES):
        # Again until nothing is new: another process of this machine may have written less since.
        found = _by_day(index, clock, min(first, since))
        todo = {day: found[day] for day in (today, today - 1) if day in found}
        if todo == written:
            return
        for day, digests in todo.items():
            if digests != written.get(day):
                for number, data in enumerate(_files({day: digests})):
                    name = f"{FOLDER}/{_text(day)}/{machine}" + f".{number}" * (number > 0)
                    backend.write(name, data, durable=False)
        written = todo


def _write_once(backend: Backend, machine: str, days: _Days) -> None:
    for data in _files(days):
        name = f"{FOLDER}/{_text(max(days))}/{machine}-{os.urandom(4).hex()}"
        backend.write(name, data, durable=False)


def _by_day(index: Index, clock: StoreClock, since: int) -> _Days:
    days: _Days = defaultdict(set)
    today = _day_of(clock.now())
    for key, used in index.used_since(since):
        days[min(_day_of(used + clock.ahead), today)].add(_digest(key))
    return days


def latest(
    backend: Backend, index: Index, keys: Iterable[Key], *, known: Collection[Key], now: float
) -> dict[Key, float]:
    """Return until when keys were in use at most, as far as machines have noted it.

    Of what is `known` of our own use the index says more than our own notes.
    """
    files = list(backend.list(FOLDER))
    if not files:
        return {}
    wanted = {_digest(str(key)): key for key in keys}
    own = index.get([_MACHINE]).get(_MACHINE)
    own = None if own is None else _named(own)
    used: dict[Key, float] = {}
    for file, data in _read(backend, files, now):
        is_own = own is not None and f"/{own}" in file.name
        for day, digest in _lines(data):
            key = wanted.get(digest)
            if key is not None and not (is_own and key in known):
                until = min(float((day + 1) * _DAY_SECONDS), file.modified)
                used[key] = max(used.get(key, 0.0), until)
    return used


def merge(backend: Backend, listed: Callable[[], Iterable[tuple[Key, Found]]], now: float) -> None:
    """Put notes that nobody writes to any more into one file; `listed` lists all refs.

    What is read is written under a name that its bytes decide before it is deleted under its own.
    So of two that merge at the same time each leaves a file with all that it deletes elsewhere.
    """
    over = _day_of(now) - _OVER_DAYS
    files = [file for file in backend.list(FOLDER) if _is_over(file, over, now)]
    is_due = any(not file.name.startswith(MERGED) for file in files) and (
        len(files) > _WORTH_MERGING or any(_day_of(file.modified) <= over for file in files)
    )
    if not is_due:
        return
    unread: set[str] = set()
    noted = list(_read(backend, files, now, unread))
    last = {_digest(str(key)): _day_of(file.modified) for key, file in listed()}
    days: dict[str, int] = {}
    for _, data in noted:
        for day, digest in _lines(data):
            # A ref that was written later has been in use since then anyway.
            if digest in last and day >= last[digest]:
                days[digest] = max(days.get(digest, day), day)
    merged: _Days = defaultdict(set)
    for digest, day in days.items():
        merged[day].add(digest)
    kept = set()
    for data in _files(merged):
        kept.add(f"{MERGED}/{Digest.of(data).hex}")
        backend.write(f"{MERGED}/{Digest.of(data).hex}", data)
    backend.delete([file.name for file in files if file.name not in kept | unread])


def damaged(backend: Backend) -> Iterator[str]:
    """Yield the names of notes that cannot be read: `verify` tells of them."""
    for file in backend.list(FOLDER):
        with suppress(BackendDeniedError):
            if _content(backend, file, _LAST_SECONDS) is None:
                yield file.name


def _is_over(file: Found, over: int, now: float) -> bool:
    match = _NAME.fullmatch(file.name)
    if match is None:  # Of nobody that writes here: gone once it is no young mistake.
        return file.modified < now - _OVER_DAYS * _DAY_SECONDS
    if match["token"] or not match["day"]:
        return True
    return (_day(match["day"]) or 0) <= over and _day_of(file.modified) <= over


def _read(
    backend: Backend, files: list[Found], now: float, unread: set[str] | None = None
) -> Iterator[tuple[Found, bytes]]:
    """Yield the readable notes, and log the others in one line.

    `unread` gets the names of those that are perhaps whole.
    """
    bad = []

    def read(file: Found) -> bytes | BackendError | None:
        try:
            return _content(backend, file, now)
        except BackendError as error:
            return error

    with Pool(_AT_ONCE if backend.takes_round_trips else 1) as pool:
        for start in range(0, len(files), _AT_ONCE):
            batch = files[start : start + _AT_ONCE]
            for file, data in zip(batch, pool.map(read, batch), strict=True):
                if isinstance(data, bytes):
                    yield file, data
                    continue
                bad.append(file.name)
                if data is not None and unread is not None:
                    unread.add(file.name)
    if bad:
        more = f" and {len(bad) - 1} more" * (len(bad) > 1)
        log.warning(
            "%a%s: damaged or unreadable notes of uses; they are ignored, and gc removes damaged "
            "ones after %d days",
            *(bad[0], more, _OVER_DAYS),
        )


def _content(backend: Backend, file: Found, now: float) -> bytes | None:
    """Return the lines of a note; b"" if it went, None if it is none."""
    if file.size_bytes > LARGEST_BYTES or not _NAME.fullmatch(file.name):
        return None
    try:
        data = backend.read(file.name, most_bytes=LARGEST_BYTES)
        if data is None:
            return b""
        found = content(data)
    except ValueError:
        return None
    last, is_first = _day_of(now) + 1, True
    for line in io.BytesIO(found):
        if _LINE.fullmatch(line):
            if is_first:
                return None
        else:
            day = _day(line[:-1].decode("ascii", "replace")) if line.endswith(b"\n") else None
            if day is None or day > last:
                return None
            is_first = False
    return found


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    day = 0
    for line in io.BytesIO(data):
        text = line[:-1].decode()
        if len(text) == 16:
            yield day, text
        else:
            day = _day(text) or 0


def _files(days: _Days) -> Iterator[bytes]:
    """Yield files that list these digests, as many as they take."""
    pairs = [(day, digest) for day in sorted(days) for digest in sorted(days[day])]
    for start in range(0, len(pairs), _MOST_KEYS):
        lines: list[str] = []
        for day, group in groupby(pairs[start : start + _MOST_KEYS], key=itemgetter(0)):
            lines += [_text(day), *(digest for _, digest in group)]
        yield sealed("".join(f"{line}\n" for line in lines).encode())


def _machine(index: Index, known: str | None) -> str:
    """Return this machine's name in notes, which identifies nobody."""
    if known is None:
        known = uuid.uuid4().hex
        index.set({_MACHINE: known})
        # Another process may have been first.
        known = index.get([_MACHINE]).get(_MACHINE, known)
    return _named(known)


def _named(id: str) -> str:
    # With the host: an image may bring an index along, to many machines.
    return hashlib.sha256(f"{id} {platform.node()}".encode()).hexdigest()[:32]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _day_of(seconds: float) -> int:
    return int(min(max(seconds, 0.0), _LAST_SECONDS) // _DAY_SECONDS)


def _day(text: str) -> int | None:
    if not _DAY.fullmatch(text):
        return None
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        return None


def _text(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
