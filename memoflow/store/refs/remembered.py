"""Remembered refs: a view of a store through this machine's index and its reads in bulk.

Refs expire by the clock that dates their files. The clock of whoever wrote a ref and that of
whoever reads it may be days apart, so neither counts: a ref is over as long after it was written
there as lay between its `created` and its `expires`. Only refs that expire are looked at, with one
listing of the folder that they lie in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memoflow.backends import Found
from memoflow.errors import (
    BackendError,
    FormatError,
    IntegrityError,
    UnsignedError,
)
from memoflow.names import Key, Ref
from memoflow.store.clock import StoreClock
from memoflow.store.refs.ref_file import OtherKeyError, Stored, decode
from memoflow.store.refs.refs import Refs

_NUMBER = re.compile(r"[0-9]{8}(-[0-9a-f]+)?")


class Remembered:
    """The refs that this machine knows, asked of the backend only where it knows none.

    May be out of date: another machine may have added to a series, or forgotten a ref since.
    """

    def __init__(self, refs: Refs, clock: StoreClock) -> None:
        self._refs = refs
        self._index = refs.index
        self.expiry = Expiry(refs, clock)

    def prefetch(self, prefix: Key) -> list[Ref]:
        """Read the refs below a prefix in a few requests, before many of them are asked for.

        For an hour this view takes them as they were then, and for a minute it believes that there
        is no more. Nothing is read where asking costs nothing: then, nothing is returned.
        """
        if not self._refs.backend.takes_round_trips:
            return []
        keys = self._refs.prefetch.look(prefix, self._refs.listed(prefix))
        stored = map(self._read_or_warn, keys)
        return [each.ref for each in stored if each is not None]

    def lookup(self, key: Key) -> Ref | None:
        """Return the ref of the key, expired or not; see `Store.find`."""
        ref = self._index.lookup(key)
        if ref is not None:
            return ref
        stored = self._read_or_warn(key)
        return None if stored is None else stored.ref

    def find(self, key: Key) -> Ref | None:
        """Return the ref of the key unless it has expired; see `Store.find`."""
        ref = self.lookup(key)
        return None if ref is None or self.expiry.is_over(ref) else ref

    def latest(self, series: Key) -> Ref | None:
        """Return the ref with the highest number directly below `series` that is not expired."""
        ref = self._index.last(series)
        if ref is not None and not self.expiry.is_over(ref):
            return ref
        return first(map(self.find, numbered(self.listed(series), series)))

    def last(self, series: Key) -> Ref | None:
        """Return the ref with the highest number directly below `series`, expired or not."""
        return self._index.last(series) or first(
            map(self.lookup, numbered(self.listed(series), series))
        )

    def keys(self, prefix: Key) -> list[Key]:
        """Return every key below the prefix, in order, as the backend listed them last."""
        return sorted((key for key, _ in self.listed(prefix)), key=str)

    def listed(self, prefix: Key) -> Iterable[tuple[Key, Found]]:
        """Return every key below the prefix, and its file, as the backend listed them last."""
        known = self._refs.prefetch.listed(prefix)
        return self._refs.listed(prefix) if known is None else known

    def read_same(self, ref: Ref) -> Stored:
        """Return the stored form of a ref; NotFoundError if that is no longer there."""
        return self.copied(ref) or self._refs.read_same(ref)

    def copied(self, ref: Ref) -> Stored | None:
        """Return the stored form of a ref from a read in bulk; None if none has it."""
        stored = self._copy(ref.key)
        return stored if stored is not None and stored.ref.digest == ref.digest else None

    def _read_or_warn(self, key: Key) -> Stored | None:
        return self._refs.or_warn(self._read, key)

    def _read(self, key: Key) -> Stored | None:
        stored = self._copy(key)
        if stored is not None:
            return self._refs.remember(stored)
        return None if self._refs.prefetch.is_absent(key) else self._refs.read(key)

    def _copy(self, key: Key) -> Stored | None:
        data = self._refs.prefetch.data(key)
        try:
            return None if data is None else decode(key, data, self._refs.keyring)
        except UnsignedError:
            raise
        except (IntegrityError, FormatError, OtherKeyError):
            return None  # Only a copy, which says nothing of the ref.


def first(refs: Iterable[Ref | None]) -> Ref | None:
    """Return the first ref that is there; None if there is none."""
    return next((ref for ref in refs if ref is not None), None)


def numbered(listed: Iterable[tuple[Key, Found]], series: Key) -> list[Key]:
    """Return the listed keys directly below a series, the highest number first."""
    depth = len(series.parts) + 1
    keys = [
        key for key, _ in listed if len(key.parts) == depth and _NUMBER.fullmatch(key.parts[-1])
    ]
    return sorted(keys, key=str, reverse=True)


class Expiry:
    """The times of writing of refs, as this process knows them."""

    def __init__(self, refs: Refs, clock: StoreClock) -> None:
        self._refs = refs
        self._clock = clock
        self._written: dict[Key, float] = {}

    def is_over(self, ref: Ref) -> bool:
        """Tell whether a ref has expired."""
        return ref.expires is not None and self.is_older(ref, ref.expires - ref.created)

    def may_be_over(self, ref: Ref) -> bool:
        """Tell whether a ref has expired, or says so: put back from a backup its file is young."""
        says_so = ref.expires is not None and ref.expires <= self._clock.now()
        return says_so or self.is_over(ref)

    def is_older(self, ref: Ref, seconds: float) -> bool:
        """Tell whether a ref was written so long ago, or longer."""
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
            known = None if folder is None else self._refs.prefetch.listed(folder)
            there = {each: file.modified for each, file in known or ()}
            if key not in there:
                there = {each: file.modified for each, file in self._refs.listed(folder)}
        except BackendError:
            return None
        self._written.update(there)
        return there.get(key)
