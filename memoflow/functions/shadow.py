"""Shadow: calls that run although they have a stored result, and are compared with it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import field
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError
from memoflow.fingerprint.difference import difference
from memoflow.functions.call import Call
from memoflow.functions.values import Items
from memoflow.kinds.decision import Decision, would_hit
from memoflow.kinds.memo import MemoEntry
from memoflow.log import log
from memoflow.masking import without_passwords
from memoflow.pickling import load


@dataclass
class ShadowedCalls:
    """The calls of one function in shadow mode, in this process.

    `find` returns the stored result of a call, `load` its value. `line` is about the last call
    that had one.
    """

    name: str
    find: Callable[[Call], MemoEntry | None]
    load: Callable[[Call, MemoEntry], Any]
    say: Callable[[str], None]
    line: str = ""
    is_summed: bool = True  # in a line at the end of the process
    calls: int = 0
    hits: int = 0
    differing: int = 0
    saved_s: float = 0.0
    lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def begin(self, call: Call) -> MemoEntry | None:
        """Return the stored result of a call that is about to run."""
        with self.lock:
            if not self.calls and self.is_summed:
                atexit.register(self._say_all)
            self.calls += 1
        try:
            return self.find(call)
        except (MemoflowError, OSError) as error:
            self.say(f"shadow: no lookup: {error}")
            return None

    def end(self, call: Call, entry: MemoEntry, value: Any) -> None:
        """Compare the value of a call that has run with its stored result."""
        try:
            stored = _whole(self.load(call, entry))
            found = difference(stored, _whole(value), mask=call.place.mask)
        except Exception as error:  # Whatever a user's class does when it is loaded.
            self._note(entry, f"cannot be compared: {type(error).__name__}: {error}")
        else:
            self._note(entry, f"differs: {found}" if found else "")

    def fail(self, entry: MemoEntry, error: BaseException) -> None:
        """Note that a call with a stored result has raised."""
        self._note(entry, f"raised {type(error).__name__}: {' '.join(str(error).split()):.200}")

    def _note(self, entry: MemoEntry, found: str) -> None:
        decision = Decision.shadow(entry.origin, entry.ref.created, entry.run_time_s, found)
        self.line = without_passwords(decision.log_line)
        with self.lock:
            self.hits += 1
            self.saved_s += entry.run_time_s
            self.differing += bool(found)
        if found:
            self.say(self.line)

    @property
    def summary(self) -> str:
        """The calls so far in one line."""
        calls = f"{self.calls} call{'s' * (self.calls != 1)}"
        return would_hit(self.hits, calls, self.saved_s, self.differing)

    def _say_all(self) -> None:
        log.warning("[memoize] %s: shadow: %s", self.name, self.summary)


def _whole(value: Any) -> Any:
    """Return a value to be compared; that of a generator with its items unpickled."""
    if not isinstance(value, Items):
        return value
    return [*map(load, value.items), load(value.returned)]
