"""Reach: the blobs that each ref needs, read once for each version of a ref."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterator

from memoflow.backends import Found
from memoflow.names import Key
from memoflow.objects import blob_name
from memoflow.store.refs.refs import Refs
from memoflow.threads import Pool

_BUCKETS = [f"reach {number:03}" for number in range(256)]
_MOST_BLOBS = 2000  # of a ref that is remembered
_AT_ONCE = 16

_Version = str
_Seen = dict[str, tuple[_Version, frozenset[str]]]


class Reach:
    """The blobs that refs reach, remembered from sweep to sweep where reading is slow."""

    def __init__(self, refs: Refs) -> None:
        self._refs = refs
        self._is_remembered = refs.backend.takes_round_trips
        self._facts = refs.index.get(_BUCKETS) if self._is_remembered else {}
        self._seen = dict(_decoded(self._facts))

    @property
    def refs_seen(self) -> int:
        """Return the number of refs in the last look."""
        return len(self._seen)

    def look(
        self, beat: Callable[[], object] = lambda: None, *, without: Collection[Key] = ()
    ) -> set[str]:
        """Return the names of the blobs that refs reach which are listed now, `without` some."""
        before, self._seen = self._seen, {}
        new: list[tuple[Key, Found]] = []
        reached: set[str] = set()
        for key, found in self._refs.listed():
            beat()
            known = before.get(found.name)
            if key in without:
                if known is not None:
                    self._seen[found.name] = known
                continue
            # By its version: a key can lead elsewhere since it was last looked at.
            if known is not None and known[0] == _version(found):
                self._seen[found.name] = known
                reached |= known[1]
            else:
                new.append((key, found))
        for (_, found), (names, is_all) in zip(new, self._read(new), strict=True):
            beat()
            reached |= names
            if is_all and found.version:
                self._seen[found.name] = (_version(found), names)
        return reached

    def remember(self) -> None:
        """Keep the last look for the next sweep on this machine, without refs that went."""
        if not self._is_remembered:
            return
        buckets: dict[str, dict[str, list[str]]] = {bucket: {} for bucket in _BUCKETS}
        for name, (version, names) in sorted(self._seen.items()):
            if len(names) <= _MOST_BLOBS:
                buckets[_bucket(name)][name] = [version, *sorted(names)]
        facts = {bucket: json.dumps(rows) for bucket, rows in buckets.items()}
        empty = json.dumps({})
        self._refs.index.set(
            {name: text for name, text in facts.items() if self._facts.get(name, empty) != text}
        )

    def _read(self, new: list[tuple[Key, Found]]) -> Iterator[tuple[frozenset[str], bool]]:
        keys = [key for key, _ in new]
        if self._is_remembered and len(keys) >= _AT_ONCE:
            with Pool(_AT_ONCE) as pool:
                yield from pool.map(self._read_one, keys)
        else:
            yield from map(self._read_one, keys)

    def _read_one(self, key: Key) -> tuple[frozenset[str], bool]:
        """Return the blobs that a ref reaches, and True if these are all."""
        stored = self._refs.read_any(key, alike=True)
        if stored is None:
            return frozenset(), False
        blobs = self._refs.blobs(stored)
        # A manifest that is lost or damaged may be put back.
        is_all = stored.manifest_blob is None or len(blobs) > 1
        return frozenset(map(blob_name, blobs)), is_all


def _version(found: Found) -> str:
    return f"{found.version} {found.size_bytes} {found.modified}"


def _bucket(name: str) -> str:
    return _BUCKETS[zlib.crc32(name.encode()) % len(_BUCKETS)]


def _decoded(facts: dict[str, str]) -> Iterator[tuple[str, tuple[str, frozenset[str]]]]:
    for text in facts.values():
        try:
            rows = [
                (str(name), (str(version), frozenset(map(str, names))))
                for name, (version, *names) in json.loads(text).items()
            ]
        except (ValueError, TypeError, AttributeError):
            continue  # Damaged: read again.
        yield from rows
