"""Leases: claims on a key that lapse by themselves if their holder dies.

    leases/<key>/n=<generation>   who holds it, written anew at each heartbeat

A lease saves work that somebody is doing already; what is stored never depends on one. The
highest generation holds. Whoever waits watches its bytes by a clock of its own, since clocks of
machines may be days apart: unchanged for two heartbeats, and the next generation may be claimed,
by writing a name that only one can be first to write. Then all is listed once more: a claim
stands if it is the highest and if below it is only what was given up for dead. So of a release
and a takeover at the same moment not both succeed.

Of two leases of one holder that died, the second is not watched all over again: what is known of
the first tells for how long nothing can have been heard of the second. Of a process of this
machine the kernel tells at once that it has ended.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta
from functools import cached_property

from memoflow import events
from memoflow.backends import Backend, Found
from memoflow.dataclass import dataclass
from memoflow.errors import BackendError, BadKeyError, LeaseLostError
from memoflow.fields import Fields, loaded
from memoflow.log import log
from memoflow.names import Key
from memoflow.process import has_ended, this_process

FOLDER = "leases"
# Half a minute until a dead holder is noticed: less than that some C code keeps other threads
# from running, and a beat costs three requests.
HEARTBEAT = timedelta(seconds=15)
_LONGEST_HEARTBEAT_SECONDS = 600.0
_REMIND_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 1.0
_LET_GO_SECONDS = 10.0
_LOOK_SECONDS = 0.25  # between two looks at leases without a thread
_IDLE_LOOKS = 40
_LARGEST_BYTES = 64 << 10
# "=" is quoted in keys: so a generation is never taken for a key that goes on.
_GENERATION = re.compile(r"n=[0-9]{8}")


@dataclass(frozen=True)
class _Claim:
    """The content of a generation. `every_s` is the time between two of its holder's heartbeats."""

    id: str
    who: str
    host: str
    pid: int
    every_s: float
    beat: int = 0
    lifted: bool = False
    lasting: bool = False
    process: str = ""  # see `memoflow.process`

    @property
    def holder(self) -> tuple[str, str, int]:
        return self.who, self.host, self.pid

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def other(self, data: bytes) -> _Claim:
        """Return the claim in a file; one of nobody, with our heartbeat, for damaged bytes."""
        with suppress(ValueError):
            fields = Fields(loaded(data))
            found = fields.number("every_s", most=_LONGEST_HEARTBEAT_SECONDS)
            if found > 0:
                return _Claim(
                    fields.text("id"),
                    fields.text("who"),
                    fields.text("host"),
                    fields.whole("pid"),
                    found,
                    fields.whole("beat", 0),
                    fields.flag("lifted", False),
                    fields.flag("lasting", False),
                    fields.text("process", ""),
                )
        return _Claim("", "another process", "a machine unknown", 0, self.every_s)

    def __str__(self) -> str:
        return f"{self.who} on {self.host}"


# Of the holders that this process gave up for dead: when a file of theirs was written, by the
# clock of the backend, and since when nothing was heard of them, by ours.
Silences = dict[tuple[str, str, int], tuple[float, float]]


class Lease:
    """A claim on a key. It is not held if there was nothing to hold it for; see `Store.lease`."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.id = ""
        self.is_held = False

    def check(self) -> None:
        """Raise LeaseLostError if another process took the key over."""

    def lift(self, *, lasting: bool = False) -> None:
        """Release those waiting for the key at once, and later ones too if `lasting`."""

    def release(self) -> None:
        """Let the key go; more than once is fine."""


class _YoungLeases:
    """The leases without a thread: most work is done before one has to be kept up.

    One thread looks after all of them, and gives those that get older one of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # A handler of a signal may release one, too.
        self._leases: dict[str, _HeldLease] = {}
        self._is_running = False

    def add(self, lease: _HeldLease) -> None:
        with self._lock:
            self._leases[lease.id] = lease
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._look_after, name="leases", daemon=True).start()

    def drop(self, lease: _HeldLease) -> bool:
        """Forget a lease; False if it has a thread of its own by now."""
        with self._lock:
            return self._leases.pop(lease.id, None) is not None

    def _look_after(self) -> None:
        idle = 0
        while True:
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                idle = 0 if self._leases else idle + 1
                if idle > _IDLE_LOOKS:
                    self._is_running = False
                    return
                for lease in [each for each in self._leases.values() if each.is_getting_old]:
                    del self._leases[lease.id]
                    lease.keep_up()


_young = _YoungLeases()


def _forget_young() -> None:
    global _young
    _young = _YoungLeases()  # Those of the process that forked are not ours, nor is its thread.


os.register_at_fork(after_in_child=_forget_young)


class _HeldLease(Lease):
    """A claim that stands, kept up by a thread if it lasts."""

    def __init__(self, key: Key, backend: Backend, name: str, claim: _Claim) -> None:
        super().__init__(key)
        self.id = claim.id
        self.is_held = True
        self._backend = backend
        self._name = name
        self._claim = claim
        self._lost_to = ""
        self._stop = threading.Event()
        # The process: a forked child has no thread to keep this up, and it is not its to release.
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        _young.add(self)
        atexit.register(self.release)

    @property
    def is_getting_old(self) -> bool:
        """True if its first heartbeat is due soon."""
        return time.monotonic() - self._began > self._claim.every_s / 4

    def keep_up(self) -> None:
        """Have a thread of its own keep it up."""
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.key}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost_to:
            raise LeaseLostError(
                f"{self._lost_to} took over, as nothing was heard of this process for "
                f"{2 * self._claim.every_s:.0f} s: its work is done twice"
            )

    def lift(self, *, lasting: bool = False) -> None:
        self._claim = replace(self._claim, lifted=True, lasting=lasting)

    def release(self) -> None:
        if os.getpid() != self._pid or self._stop.is_set():
            return
        atexit.unregister(self.release)
        self.is_held = False
        self._stop.set()
        if _young.drop(self):
            self._try_to_let_go()
        elif self._thread is not None:
            # It lets go, so that no heartbeat on its way comes after that.
            self._thread.join(_LET_GO_SECONDS)

    def _keep(self) -> None:
        due_s = self._claim.every_s - (time.monotonic() - self._began)
        while not self._lost_to and not self._stop.wait(max(0.0, due_s)):
            due_s = self._claim.every_s
            # No answer is no loss: the next heartbeat tells.
            with suppress(BackendError):
                self._beat()
        self._try_to_let_go()

    def _try_to_let_go(self) -> None:
        try:
            self._let_go()
        except BackendError as error:
            log.warning(
                "the lease on %s could not be released, others wait for it %.0f s: %s",
                self.key,
                2 * self._claim.every_s,
                error,
            )

    def _beat(self) -> None:
        found = _generations(self._backend, self.key)
        highest = max(found, default="")
        if highest > self._name or not self._is_ours():
            data = _read(self._backend, highest) if highest else None
            self._lost_to = "another process" if data is None else str(self._claim.other(data))
            return
        self._claim = replace(self._claim, beat=self._claim.beat + 1)
        self._backend.write(self._name, self._claim.to_bytes(), durable=False)

    def _let_go(self) -> None:
        if not self._is_ours():
            return
        if self._claim.lifted and not self._lost_to:
            self._backend.write(self._name, self._claim.to_bytes(), durable=False)
        else:
            self._backend.delete([self._name])

    def _is_ours(self) -> bool:
        data = _read(self._backend, self._name)
        return data is not None and self._claim.other(data).id == self.id


@dataclass(eq=False)
class Contender:
    """One that wants a key, until it has it or needs it no more; see `Store.lease`."""

    backend: Backend
    key: Key
    who: str
    on_wait: Callable[[str], None]
    is_done: Callable[[], bool]
    within: Collection[str]
    heartbeat: timedelta
    silences: Silences
    _said_at: float | None = None
    _has_waited: bool = False

    @contextmanager
    def hold(self) -> Iterator[Lease]:
        """Wait until the key is free and hold it."""
        lease = self._contend()
        try:
            if lease.is_held and self.is_done():
                lease.release()
            yield lease
        finally:
            lease.release()

    @cached_property
    def _claim(self) -> _Claim:
        id, host, every_s = uuid.uuid4().hex, socket.gethostname(), self.heartbeat.total_seconds()
        return _Claim(id, self.who, host, os.getpid(), every_s, process=this_process())

    def _contend(self) -> Lease:
        while True:
            found = _generations(self.backend, self.key)
            highest = max(found, default="")
            if highest:
                seen, silent_s = self._watch(highest)
                if seen is None:
                    if self.is_done():
                        return Lease(self.key)
                    continue
                claim = self._claim.other(seen)
                if self._is_open(claim):
                    return Lease(self.key)
                found = _generations(self.backend, self.key)
                # Read after listing: what is listed is as it was while nothing was heard.
                if max(found, default="") != highest or _read(self.backend, highest) != seen:
                    continue
                if 2 * claim.every_s < silent_s < math.inf:
                    since = time.monotonic() - silent_s
                    self.silences[claim.holder] = found[highest].modified, since
            name = f"{FOLDER}/{self.key}/n={int(highest[-8:] or 0) + 1:08d}"
            if self._win(name, found):
                return _HeldLease(self.key, self.backend, name, self._claim)

    def _is_open(self, claim: _Claim) -> bool:
        """Tell whether nobody need wait for a claim, or its holder waits for this process."""
        is_over = claim.lifted and (claim.lasting or self._has_waited)
        return is_over or claim.id in self.within

    def _watch(self, name: str) -> tuple[bytes | None, float]:
        """Return the last bytes of a dead holder, and the seconds of its silence.

        None once it let go.
        """
        seen, silent_s, asked_at = None, 0.0, time.monotonic()
        pause_s = min(0.05, self._claim.every_s / 100)
        while (data := _read(self.backend, name)) is not None:
            claim, now = self._claim.other(data), time.monotonic()
            # Of a pause not all counts: this process may have been stopped, and the holder, too.
            silent_s += min(now - asked_at, claim.every_s / 2)
            asked_at = now
            if data != seen:
                silent_s = self._known_silence(claim, name) if seen is None else 0.0
                seen = data
            # Of the same name is only an earlier attempt, which is dead once there is a later one.
            if self._is_open(claim) or claim.lifted or claim.who == self._claim.who:
                return data, silent_s
            if has_ended(claim.process):
                return data, math.inf
            self._has_waited = True
            if silent_s > 2 * claim.every_s:
                return data, silent_s
            self._say(claim)
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, self._claim.every_s / 15, _LONGEST_PAUSE_SECONDS)
        return None, 0.0

    def _known_silence(self, claim: _Claim, name: str) -> float:
        """Return the known seconds of silence of a claim that was just read."""
        if claim.holder not in self.silences:
            return 0.0
        # Listed after it was read: a heartbeat in between makes the silence shorter, not longer.
        file = _generations(self.backend, self.key).get(name)
        if file is None:
            return 0.0
        # Between the files by one clock, whichever it is: that by which both were written.
        written, since = self.silences[claim.holder]
        return max(0.0, time.monotonic() - since - max(0.0, file.modified - written))

    def _say(self, claim: _Claim) -> None:
        now = time.monotonic()
        if self._said_at is None or now - self._said_at > _REMIND_SECONDS:
            self._said_at = now
            events.emit("lock_wait", key=str(self.key), line=f"waiting for {claim}")
            self.on_wait(str(claim))

    def _win(self, name: str, before: Mapping[str, Found]) -> bool:
        """Claim a generation over those there before; False if others were quicker."""
        body = self._claim.to_bytes()
        try:
            is_first = self.backend.write(name, body, if_absent=True, durable=False)
            # Read, because the answer to a first try may be lost, and a second one finds it.
            if not is_first and _read(self.backend, name) != body:
                return False
            others = _generations(self.backend, self.key)
            others.pop(name, None)
            stands = all(
                each in before and before[each].version == file.version
                for each, file in others.items()
            )
            left = list(others) if stands else [name]
            if left:
                self.backend.delete(left)
        except BackendError:
            with suppress(BackendError):
                if _read(self.backend, name) == body:
                    self.backend.delete([name])
            raise
        return stands


def leased(backend: Backend) -> Callable[[Key], bool]:
    """Return a test for keys: leased now, or below one that is."""
    keys = set()
    for file in backend.list(FOLDER):
        text = file.name[len(FOLDER) + 1 :].rpartition("/")[0]
        with suppress(BadKeyError, UnicodeDecodeError):
            keys.add(Key.parse(text).parts)
    return lambda key: any(key.parts[:end] in keys for end in range(1, len(key.parts) + 1))


def drop_stale(backend: Backend, *, before: float) -> int:
    """Delete leases last written before a time of the backend's clock; return their number."""
    stale = [file.name for file in backend.list(FOLDER) if file.modified < before]
    backend.delete(stale)
    return len(stale)


def _read(backend: Backend, name: str) -> bytes | None:
    # What is larger than any claim is one of nobody's, and is not read to its end.
    return backend.read(name, most_bytes=_LARGEST_BYTES)


def _generations(backend: Backend, key: Key) -> dict[str, Found]:
    start = f"{FOLDER}/{key}"
    return {
        file.name: file
        for file in backend.list(start)
        if _GENERATION.fullmatch(file.name[len(start) + 1 :])
    }
