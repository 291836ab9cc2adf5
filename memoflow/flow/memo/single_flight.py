"""The single-flight lock: of equal tasks one computes the result, and the others wait for it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable

from memoflow.errors import BackendError, BackendUnreachableError, LeaseLostError
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.task.process import tell
from memoflow.log import WARNING
from memoflow.names import Key
from memoflow.store import Lease, Store

# Told to processes that a memoized step starts: the leases that are held until they end.
LEASES = "MEMOFLOW_LEASES"


class SingleFlightLock:
    """The leases of one task, held until its result is recorded; none before `take`."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []
        self._held = contextlib.ExitStack()

    def take(
        self, store: Store, keys: Iterable[Key], *, who: str, is_done: Callable[[], bool]
    ) -> None:
        """Lease each key before the next is asked for, or wait until the work `is_done` elsewhere.

        Raises BackendUnreachableError; without a lease for another reason the task goes on.
        """
        outer = os.environ.get(LEASES, "").split()
        left_s = signal.alarm(0)  # Time spent here does not count for @timeout, the step's limit.
        try:
            for key in keys:
                lease = self._held.enter_context(
                    store.lease(key, who=who, on_wait=_say_for_whom, is_done=is_done, within=outer)
                )
                if not lease.is_held:
                    break
                self._leases.append(lease)
        except (BackendError, UndecidedError) as error:
            if isinstance(error, BackendUnreachableError):
                raise
            tell(f"[memoize] going on without a lease: {error}", WARNING)
        except BaseException:
            self.close()
            raise
        finally:
            signal.alarm(left_s)
        os.environ[LEASES] = " ".join([*outer, *(lease.id for lease in self._leases)])

    def check(self) -> None:
        """Say in the log which leases another process has taken over."""
        for lease in self._leases:
            try:
                lease.check()
            except LeaseLostError as error:
                tell(f"[memoize] {error}", WARNING)

    def lift(self, *, lasting: bool) -> None:
        """Let those who wait go on at once, and with `lasting` those to come: no result follows."""
        for lease in self._leases:
            lease.lift(lasting=lasting)

    def close(self) -> None:
        self._held.close()


def _say_for_whom(holder: str) -> None:
    tell(f"[memoize] waiting for {holder}, which computes the same")
