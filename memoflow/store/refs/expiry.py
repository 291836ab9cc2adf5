"""Expiry: the age of refs, by the clock that dates their files.

The clock of whoever wrote a ref and that of whoever reads it may be days apart, so neither counts:
a ref is over as long after it was written there as lay between its `created` and its `expires`.
Only refs that expire are looked at, with one listing of the folder that they lie in.
"""

from __future__ import annotations

from memoflow.backends import Found
from memoflow.errors import BackendError
from memoflow.names import Key, Ref
from memoflow.store.clock import StoreClock
from memoflow.store.refs.refs import Refs


class Expiry:
    """The times of writing of refs, as this process knows them."""

    def __init__(self, refs: Refs, clock: StoreClock) -> None:
        self._refs = refs
        self._clock = clock
        self._written: dict[Key, float] = {}

    def is_over(self, ref: Ref, file: Found | None = None) -> bool:
        """Tell whether a ref has expired; `file` is its file if it was just listed."""
        return ref.expires is not None and self.is_older(ref, ref.expires - ref.created, file)

    def may_be_over(self, ref: Ref) -> bool:
        """Tell whether a ref has expired, or says so: put back from a backup its file is young."""
        says_so = ref.expires is not None and ref.expires <= self._clock.now()
        return says_so or self.is_over(ref)

    def is_older(self, ref: Ref, seconds: float, file: Found | None = None) -> bool:
        """Tell whether a ref was written so long ago, or longer."""
        if file is not None:
            return self._age(ref, file.modified) >= seconds
        known = self._written.get(ref.key)
        # What was written anew since is younger, so only an old one is looked at again.
        if known is not None and self._age(ref, known) < seconds:
            return False
        return self._age(ref, self._look(ref.key)) >= seconds

    def _age(self, ref: Ref, written: float | None) -> float:
        # What is not there, or cannot be listed now, is as old as it says.
        return self._clock.ours() - ref.created if written is None else self._clock.now() - written

    def _look(self, key: Key) -> float | None:
        folder = Key(key.parts[:-1]) if len(key.parts) > 1 else None
        try:
            # What was listed not long ago will do, unless it came after that.
            for fresh in (False, True):
                there = {
                    each: file.modified for each, file in self._refs.listed(folder, fresh=fresh)
                }
                self._written.update(there)
                if key in there:
                    break
        except BackendError:
            return None
        return there.get(key)
