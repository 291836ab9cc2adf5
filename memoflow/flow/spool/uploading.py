"""Uploads of `save(wait=False)` in the background, in the order of the saves.

One thread of low priority uploads. A second one does nothing until the process is told to end by
SIGTERM; then it uploads what is newest first, since that is what the next attempt goes on from.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import field
from datetime import timedelta
from importlib import import_module
from queue import SimpleQueue
from types import FrameType
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import BackendError, MemoflowError
from memoflow.flow.spool import spool
from memoflow.flow.spool.entry import Entry
from memoflow.flow.spool.spool import Own, SpoolEntry
from memoflow.kinds import checkpoint
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.log import log
from memoflow.names import Key
from memoflow.store import Store
from memoflow.threads import lower_priority, start, stop_check

MOST_PENDING = 2
# More than one that large never waits; the first always may.
MOST_PENDING_BYTES = 16 << 30

# A spot instance has two minutes from its notice to its end.
_LAST_WORDS = timedelta(seconds=110)
_OTHERS_PATIENCE = timedelta(hours=1)
_LOOK_EVERY = timedelta(milliseconds=20)
_STEP = timedelta(milliseconds=100)
# Whoever saved goes on first: else it would wait for Python's lock.
_BREATH = timedelta(milliseconds=2)

# What becomes of an entry: what was saved, or the error.
Then = Callable[[SavedCheckpoint | Exception], None]


@dataclass(eq=False)
class Pending:
    """An entry under way; `settled` is set once it is uploaded or has failed."""

    entry: Entry
    store: Store
    then: Then
    settled: threading.Event = field(default_factory=threading.Event)
    in_hand: threading.Lock = field(default_factory=threading.Lock)


class Uploader:
    """The uploads of this process, in order; `of_this_process` returns it.

    Saves come from threads of their own, so that the main thread never holds a lock of this: the
    handler of a signal, which may save as well, runs in the middle of whatever that is doing.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._pending: list[Pending] = []
        self._failure: tuple[Pending, Exception] | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._last_orders: SimpleQueue[threading.Event] = SimpleQueue()
        self._ending = False
        self._owns: dict[tuple[str, Key], Own] = {}
        self._given: dict[tuple[str, Key], int] = {}
        self._listed: dict[tuple[str, Key], int] = {}
        self._lock = threading.Lock()
        # Here, or this process may fork in the middle of its import by a thread.
        import_module("memoflow.objects.packing")
        for work in (self._upload_in_order, self._upload_newest_first):
            start(work)
        # Before interpreters shut down what uploads need, which `atexit` comes after.
        getattr(threading, "_register_atexit", atexit.register)(self._drain_at_exit)

    def own(self, store: Store, series: Key) -> Own:
        """Return this process's folder for a series; OSError if there can be none."""
        place = (store.id, series)
        with self._lock:
            if place not in self._owns:
                self._owns[place] = Own(store, series)
            return self._owns[place]

    def next_number(self, store: Store, series: Key) -> int:
        """Return the number of the next save, above all known numbers, without a request.

        The backend is asked once, and again after each upload.
        """
        place = (store.id, series)
        with self._lock:
            if place not in self._listed:
                self._listed[place] = checkpoint.last_number(store, series)
            last = store.index.last(series)
            known = (
                self._listed[place],
                self._given.get(place, 0),
                0 if last is None else checkpoint.number_of(last.key),
                spool.last_number(store, series),
            )
            self._given[place] = max(known) + 1
            return self._given[place]

    def wait_for_room(self, size_bytes: int) -> None:
        """Wait until another entry of this size may be added; raise an earlier failure."""
        self.raise_failure()
        while pending := list(self._pending):
            held = sum(one.entry.size_bytes for one in pending)
            if len(pending) < MOST_PENDING and held + size_bytes <= MOST_PENDING_BYTES:
                return
            self._wait_for(pending[0])

    def add(self, store: Store, entry: Entry, then: Then) -> None:
        self._pending.append(Pending(entry, store, then))
        self._wake.put(None)

    def drain(self) -> None:
        """Wait until all entries are uploaded; after one retry raise if one cannot be."""
        self._try_again()
        for one in list(self._pending):
            self._wait_for(one)

    def _wait_for(self, one: Pending) -> None:
        """Wait until an entry is uploaded; raise the failure that holds it up."""
        check = stop_check()
        while not one.settled.wait(_STEP.total_seconds()):
            # Also where another thread has raised it once: it was tried again, and failed again.
            self.raise_failure()
            check()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise the latest failure once; the upload is retried then."""
        failure = self._failure
        if failure is None:
            return
        self._try_again()
        one, error = failure
        raise BackendError(
            f"{one.entry.key} was saved without waiting, and could not be stored: {error}; it is "
            f"kept in {one.entry.place}, from where the next save, or the end of the task, tries "
            f"again{', or its next attempt on this machine' * isinstance(one.entry, SpoolEntry)}"
        ) from error

    def has(self, store: Store, series: Key | None, wanted: Callable[[Entry], bool]) -> bool:
        """Tell whether a matching entry of a series, or of any, is under way."""
        return any(
            one.store.id == store.id and series in (None, one.entry.series) and wanted(one.entry)
            for one in list(self._pending)
        )

    def let_go(self) -> None:
        """Disable this uploader, in a forked child."""
        for own in self._owns.values():
            own.let_go()

    def _try_again(self) -> None:
        if self._failure is not None:
            # A new one, since the thread may be about to set the old one only now.
            self._failure[0].settled = threading.Event()
            self._failure = None
            self._wake.put(None)

    def _upload_in_order(self) -> None:
        lower_priority()
        while True:
            self._wake.get()
            time.sleep(_BREATH.total_seconds())
            for one in list(self._pending):
                if self._failure is not None or self._ending or not self._upload(one):
                    break

    def _upload_newest_first(self) -> None:
        while True:
            done = self._last_orders.get()
            left = list(self._pending)
            for one in reversed(left):
                self._upload(one)
            for one in left:
                with one.in_hand:  # By the other thread, perhaps.
                    pass
            done.set()

    def _upload(self, one: Pending) -> bool:
        """Upload an entry unless the other thread does or did; False if it cannot be."""
        if not one.in_hand.acquire(blocking=False):
            return True
        settled = one.settled
        try:
            if one not in self._pending:
                return True
            saved = one.entry.upload(one.store)
        except Exception as error:  # Whatever it is: it is raised where somebody waits for it.
            self._tell(one, error)
            self._failure = one, error
            return False
        else:
            self._pending.remove(one)
            self._tell(one, saved)
            with contextlib.suppress(Exception):  # Or nobody would upload what is left.
                # What others saved meanwhile, on other machines.
                seen = checkpoint.last_number(one.store, one.entry.series)
                self._listed[one.store.id, one.entry.series] = seen
            return True
        finally:
            one.in_hand.release()
            settled.set()

    def _tell(self, one: Pending, outcome: SavedCheckpoint | Exception) -> None:
        try:
            one.then(outcome)
        except Exception as error:  # It is stored, or not, all the same.
            log.warning(
                "after the upload of %s: %s: %s", one.entry.key, type(error).__name__, error
            )

    def _drain_at_exit(self) -> None:
        if os.getpid() != self._process or not self._pending:
            return
        try:
            self.drain()
        except MemoflowError as error:
            log.error("%s", error)

    def upload_before_the_end(self) -> None:
        """Upload the newest entries first, within the time that an ending process has."""
        # A second signal does not wait.
        if not self._pending or self._ending:
            return
        self._ending = True
        count = len(self._pending)
        # Not by print: this may run in the middle of one.
        os.write(2, b"[@checkpoint] SIGTERM: uploading %d saved before, newest first\n" % count)
        done = threading.Event()
        self._last_orders.put(done)
        until, check = time.monotonic() + _LAST_WORDS.total_seconds(), stop_check()
        # In steps, between which signals for this thread are handled.
        while not done.wait(_STEP.total_seconds()) and time.monotonic() < until:
            check()
        self._ending = False
        self._wake.put(None)


_uploader: Uploader | None = None
_uploader_lock = threading.Lock()
_before_us: Any = None  # the former handler of SIGTERM
_watches = False
_forking = threading.local()  # of a thread that forks: the signals that it had blocked before


def of_this_process() -> Uploader:
    """Return the uploader of this process; the first call starts its threads."""
    global _uploader
    with _uploader_lock:
        if _uploader is None:
            _uploader = Uploader()
        return _uploader


def watch_for_sigterm() -> None:
    """Upload pending entries first when this process receives SIGTERM.

    Only the main thread can; elsewhere the end of the task, or the next attempt, has to do.
    """
    global _before_us, _watches
    if _watches or threading.get_ident() != threading.main_thread().ident:
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is None or before is _on_sigterm:
        return  # It is not Python's, and could not be called; or a signal came right here.
    _before_us = before
    signal.signal(signal.SIGTERM, _on_sigterm)
    _watches = True


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    if _uploader is not None:
        _uploader.upload_before_the_end()
    if callable(_before_us):
        _before_us(number, frame)
    elif _before_us == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def drain() -> None:
    """Wait until all saves of this process are uploaded; see `Uploader.drain`."""
    if _uploader is not None:
        _uploader.drain()


def settle(store: Store, series: Key | None, wanted: Callable[[Entry], bool]) -> None:
    """Wait until the matching entries of a series are uploaded, from any process here.

    `series` None is any. What processes left that died is uploaded by this one.
    """
    if _uploader is not None and _uploader.has(store, series, wanted):
        _uploader.drain()
    until, check = time.monotonic() + _OTHERS_PATIENCE.total_seconds(), stop_check()
    while time.monotonic() < until:
        left = [(entry, lives) for entry, lives in spool.pending(store, series) if wanted(entry)]
        for orphaned in {entry.series for entry, lives in left if not lives}:
            try:
                spool.rescue(store, orphaned)
            except MemoflowError as error:
                log.warning("checkpoints of a killed process were not uploaded: %s", error)
        if all(entry.has_failed or not lives for entry, lives in left):
            return
        check()
        time.sleep(_LOOK_EVERY.total_seconds())


def _before_fork() -> None:
    """Hold SIGTERM back until the child has the handler that it would have without this module.

    Python forgets a signal that reaches a child before it is set up, and the handler of this
    process would wait there for threads that only the parent has.
    """
    if _watches:
        _forking.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    blocked = _forking.__dict__.pop("blocked", None)
    if blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _after_fork_in_child() -> None:
    global _uploader, _uploader_lock, _watches
    _uploader_lock = threading.Lock()
    if _uploader is not None:
        _uploader.let_go()
        _uploader = None
    if _watches and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, _before_us)
        _watches = False  # Its own first save without waiting watches anew.
    _release_sigterm()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_release_sigterm,
    after_in_child=_after_fork_in_child,
)
