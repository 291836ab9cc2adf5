"""Contact: the first questions to a server, on its answers and its conditions.

The wait for its first answer has a bound. The clients' own time limits are none: names with many
addresses, logins and proxies each have a patience of their own.
"""

from __future__ import annotations

import queue
import threading
import time

from memoflow.backends.backend import Backend
from memoflow.errors import BackendUnreachableError

_LONGEST_S = 18.0
_AGAIN_AFTER_S = 6.0  # on another connection: one that stalls says nothing of the next


def first_read(backend: Backend, name: str, *, most_bytes: int) -> bytes | None:
    """Return the result of `backend.read`; BackendUnreachableError if it takes too long."""
    if not backend.takes_round_trips:
        return backend.read(name, most_bytes=most_bytes)
    answers: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(backend.read(name, most_bytes=most_bytes))
        except BaseException as error:
            answers.put(error)

    began = time.monotonic()
    while time.monotonic() - began < _LONGEST_S:
        # Daemons: a process that goes on without an answer does not wait for it at its end.
        threading.Thread(target=ask, name="memoflow-contact", daemon=True).start()
        left_s = began + _LONGEST_S - time.monotonic()
        try:
            answer = answers.get(timeout=min(_AGAIN_AFTER_S, max(0.0, left_s)))
        except queue.Empty:
            continue
        if isinstance(answer, BaseException):
            raise answer
        return answer
    raise BackendUnreachableError(
        f"cannot reach {backend}: no answer within {_LONGEST_S:.0f} s; check the address and the "
        "network, and whether the server works"
    )


def honours_conditions(backend: Backend, probe: str) -> bool:
    """Tell whether a write that must not replace anything does not.

    On a server that is tried: `probe` is overwritten.
    """
    if not backend.takes_round_trips:
        return True
    # Not deleted: who may not delete may have a store, too. It is there for the next one to ask.
    backend.write(probe, b"")
    return not backend.write(probe, b"again", if_absent=True)
