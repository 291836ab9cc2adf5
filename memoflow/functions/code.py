"""Code: the fingerprint of a function, taken anew after a change in memory."""

from __future__ import annotations

import io
import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import Fingerprint, Part, watched
from memoflow.fingerprint.name_resolution import dotted
from memoflow.fingerprint.witness import Witness
from memoflow.functions.options import FunctionOptions
from memoflow.kinds import memo
from memoflow.log import log
from memoflow.masking import Mask

_KEEP_SECONDS = 1.0  # that a function without a fingerprint is believed to have none
# Of these the class says nothing: they give another thing each time.
_STATEFUL = frozenset(
    f"{each.__module__}.{each.__qualname__}"
    for each in (
        io.BufferedRandom, io.BufferedReader, io.FileIO, io.TextIOWrapper, itertools.count,
        queue.LifoQueue, queue.PriorityQueue, queue.Queue, queue.SimpleQueue, threading.local,
        ContextVar,
    )
) | {"sqlite3.Connection", "sqlite3.Cursor"}  # fmt: skip
_SLOW_SECONDS = 0.02


class FunctionCode:
    """The code of one function, with its environment and options."""

    def __init__(
        self,
        function: Callable[..., Any],
        options: FunctionOptions,
        mask: Callable[[], Mask],
        arguments: Collection[str] = (),
    ) -> None:
        self._function = function
        self._options = options
        # A global of its own module goes by its name there, too, unless an argument does.
        own = {each for each in options.ignore.difference(arguments) if each.isidentifier()}
        self._ignore = options.ignore | {dotted(function.__module__, each) for each in own}
        self._mask = mask
        self.begin()
        self._known: tuple[Fingerprint, Witness] | None = None
        self._error: tuple[NoFingerprintError, float] | None = None
        self._said = False

    def begin(self) -> None:
        """Begin in a process: in its parent a thread may have held the lock."""
        self._lock = threading.RLock()

    def now(self) -> Fingerprint:
        """Return the fingerprint of the code as it is in memory; NoFingerprintError if none."""
        with self._lock:
            known = self._known
            if known is not None and not known[1].has_loaded and self.change(known[0]) is None:
                return known[0]
            if self._error is not None and time.monotonic() - self._error[1] < _KEEP_SECONDS:
                raise self._error[0]
            try:
                found, witness = watched(self._function, ignore=self._ignore, mask=self._mask())
            except NoFingerprintError as error:
                self._known, self._error = None, (error, time.monotonic())
                raise
            for part in found.by_class:
                if part.summary.partition(" ")[0] in _STATEFUL:
                    reason = f"a {part.summary} changes as it is used"
                    no = NoFingerprintError(part.name, reason)
                    self._known, self._error = None, (no, time.monotonic())
                    raise no
            self._known = self._with_options(found), witness
            return self._known[0]

    @property
    def has_loaded(self) -> bool:
        """True after the loading of a module since `now`, which gives it another fingerprint."""
        return self._known is not None and self._known[1].has_loaded

    def change(self, since: Fingerprint) -> str | None:
        """Return the name of a change since `now` returned this, None without one."""
        known = self._known
        if known is None or known[0] != since:
            return self._function.__qualname__
        began = time.thread_time()
        changed = known[1].change()
        took = time.thread_time() - began
        if took > _SLOW_SECONDS and not self._said:
            self._said = True
            log.warning(
                "[memoize] %s: to compare the globals that it reads takes %.2f s at each call; "
                "pass the largest as an argument, or name it in ignore=",
                self._function.__qualname__,
                took,
            )
        return changed

    def changes(self) -> set[str] | None:
        """Return the names of the changes since `now` was asked, None if it has no answer."""
        return None if self._known is None else set(self._known[1].changes())

    def held(self) -> list[Any]:
        """Return the globals, defaults and constants of the code, as of `now`."""
        return [] if self._known is None else list(self._known[1].held())

    def _with_options(self, found: Fingerprint) -> Fingerprint:
        options, parts = self._options, list(found.parts)
        if not options.environment:
            parts = [part for part in parts if part.kind not in ("package", "python")]
        parts.append(Part("option", "key schema", f"function {memo.SCHEMA}"))
        if options.version:
            parts.append(Part("option", "version", options.version, summary=options.version))
        return Fingerprint.of(parts)
