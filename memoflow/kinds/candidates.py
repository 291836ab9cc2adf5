"""Candidates: the results that a task may find under the code of its step, in one trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import NamedTuple

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fingerprint import Fingerprint, Part, of_references
from memoflow.kinds import memo, task_log
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.memo_fields import free_texts
from memoflow.masking import ANY, Mask
from memoflow.names import Key, Ref
from memoflow.store import Remembered, Store

_MOST = 64
_NO_REFERENCES = of_references(()).hex


class OutdatedEntry(NamedTuple):
    """A result for the same inputs that read something else, and the same reads as of now."""

    entry: MemoEntry
    now: tuple[Part, ...]


# Returns the reads of an entry as they are now.
Ask = Callable[[MemoEntry], Sequence[Part]]


class Candidates:
    """The read-sets and results below one code key, as one process has read them.

    A read-set is named by its content, so it is read once. Those known are tried first: whether
    there are more is asked where none of them led to a result. A result is read each time.
    """

    def __init__(self, store: Store, code_key: Key, *, mask: Mask = ANY) -> None:
        self._store = store
        self._view: Store | Remembered = store.remembered
        self._code_key = code_key
        self._mask = mask
        self._code = code_key / memo.CODE
        self._results = code_key / memo.RESULTS
        self._read_sets: dict[Key, tuple[str, ...]] = {}

    def anew(self) -> Candidates:
        """Return the same candidates, listed by the backend now instead of remembered here."""
        others = copy(self)
        others._view = self._store
        return others

    def read_sets(self) -> Iterator[tuple[str, ...]]:
        """Yield the read-sets that steps of this code_key were seen with; nearly always one.

        Read `anew` in the order of their keys, which is the same in each process.
        """
        known = () if self._view is self._store else tuple(self._read_sets.values())
        yield from known
        for key in self._view.keys(self._code_key / memo.READ_SETS):
            names = self._read_sets[key] if key in self._read_sets else self._read(key)
            if names is not None and names not in known:
                yield names

    def _read(self, key: Key) -> tuple[str, ...] | None:
        ref = self._store.find(key)
        if ref is None:
            return None
        try:
            names = free_texts(self._store.manifest(ref).meta.get("names"))
        except (NotFoundError, IntegrityError, ValueError):
            return None  # The results below it are misses now, and will be recorded again.
        self._read_sets[key] = names
        return names

    def find(
        self,
        inputs: Iterable[Part],
        *,
        ask: Ask = lambda entry: entry.reads,
    ) -> MemoEntry | OutdatedEntry | None:
        """Return the latest entry for these input values that reads the same now, or None.

        If all entries read something else, the one that differs least. Raises IntegrityError if
        the entry is damaged; it is quarantined by then.
        """
        results = (*self._results.parts, Fingerprint.of(inputs).hex)
        ref = self._view.latest(Key((*results, _NO_REFERENCES)))
        if ref is not None:
            return memo.read(self._store, ref)
        outdated: OutdatedEntry | None = None
        for folder, ref in self._latest(Key(results)):
            entry = memo.read(self._store, ref)
            if of_references(entry.refs, mask=self._mask).hex != folder.partition(".")[0]:
                continue
            now = tuple(ask(entry))
            unlike = _unlike(entry.reads, now)
            if not unlike:
                return entry
            if outdated is None or unlike < _unlike(outdated.entry.reads, outdated.now):
                outdated = OutdatedEntry(entry, now)
        return outdated

    def _latest(self, results: Key) -> list[tuple[str, Ref]]:
        """Return the latest result of each folder and the folder's name, newest first.

        Mostly few: the files that a step reads were others, or the class of a value was edited.
        """
        folders = {Key(key.parts[:-1]) for key in self._view.keys(results)}
        found = [(folder.parts[-1], self._view.latest(folder)) for folder in folders]
        known = [(name, ref) for name, ref in found if ref is not None]
        return sorted(known, key=lambda each: (-each[1].created, each[0]))[:_MOST]

    def touch(self, entry: MemoEntry) -> None:
        """Note the use of a result and of the notes that lead to it; eviction spares them."""
        keys = [*self._read_sets, self._code, entry.ref.key, task_log.key(entry.ref.key)]
        if entry.refs:
            references = entry.ref.key.parts[-2].partition(".")[0]
            keys.append(self._code_key / memo.REFERENCES / references)
        self._store.index.touch(*keys)


def _unlike(before: Sequence[Part], now: Sequence[Part]) -> int:
    """Return the number of reads that changed."""
    if len(before) != len(now):
        return max(len(before), len(now))
    return sum(one.digest != other.digest for one, other in zip(before, now, strict=True))
