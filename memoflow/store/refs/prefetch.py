"""Prefetch: refs read in bulk, before many of them are asked for one by one.

Where asking takes a round trip, whoever reads many refs leaves a copy of them in one file,
`bundles/<prefix>/<digest>`: gzip of lines of JSON, each the ref's key, the version of its file, and
what is in that file. The next machine then needs a listing, which tells what is there and in which
version, and these few files. A bundle is a copy to be thrown away at any time.
"""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import timedelta
from functools import partial

from memoflow.backends import Backend, Found
from memoflow.dataclass import dataclass
from memoflow.errors import BackendDeniedError, BackendError, BadKeyError
from memoflow.fields import loaded
from memoflow.log import log
from memoflow.names import Digest, Key
from memoflow.store.refs.ref_file import LARGEST_BYTES
from memoflow.threads import Pool

FOLDER = "bundles"
# Presence is trusted longer than absence: what others have just saved is to be found soon.
_PRESENT = timedelta(hours=1)
_ABSENT = timedelta(minutes=1)
_AT_ONCE = 16
_WORTH_BUNDLING = 32  # refs that are in no bundle
_MOST_BUNDLES = 4
_MOST_BUNDLES_READ = 64
LARGEST_BUNDLE_BYTES = 64 << 20
_LEAST_LINE_BYTES = 1 << 10  # as which a shorter line counts: millions take minutes
_UNPACKED_BYTES = 256 << 20  # of what is in one: anybody may have written it
_LONGEST_LINE = 1 << 20
_MOST_READ = 10_000  # refs, one by one; what is beyond is read when it is wanted
_KEPT_BYTES = 64 << 20  # of these


@dataclass
class _Looked:
    """The files seen below a prefix, and the time."""

    at: float
    found: dict[Key, Found]
    data: dict[Key, bytes] = field(default_factory=dict)


class Prefetch:
    """The refs that this process has read in bulk."""

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._looked: dict[Key, _Looked] = {}
        self._lock = threading.Lock()

    def look(self, prefix: Key, listed: Iterable[tuple[Key, Found]]) -> list[Key]:
        """Read the `listed` refs below a prefix, at most once a minute; return their keys."""
        with self._lock:
            known = self._looked.get(prefix)
            if known is not None and self._clock() - known.at < _ABSENT.total_seconds():
                return list(known.found)
            looked = _Looked(self._clock(), dict(listed))
            bundles = self._bundles(prefix)
            looked.data = self._copies(bundles, looked.found)
            single = [key for key in looked.found if key not in looked.data][:_MOST_READ]
            single = list(_within(_KEPT_BYTES, single, looked.found))
            self._read(looked, single)
            self._looked[prefix] = looked
        if len(single) >= _WORTH_BUNDLING:
            # Those of the folders below are what others live by, who look there.
            folder = f"{FOLDER}/{prefix}"
            own = [each for each in bundles if each.name.rpartition("/")[0] == folder]
            self._bundle(prefix, looked, single, own)
        return list(looked.found)

    def copies(self, prefix: Key, found: Mapping[Key, Found]) -> dict[Key, bytes]:
        """Return the copies in bundles of the files that were just `found` below a prefix.

        Of each the version that was found, which nobody vouches for: anybody may leave a bundle.
        """
        return self._copies(self._bundles(prefix), found)

    def data(self, key: Key) -> bytes | None:
        """Return the content of a ref's file, if it was read not long ago."""
        looked = self._covering(key, _PRESENT)
        return None if looked is None else looked.data.get(key)

    def is_absent(self, key: Key) -> bool:
        """Tell whether just now nothing had this key."""
        looked = self._covering(key, _ABSENT)
        return looked is not None and key not in looked.found

    def listed(self, prefix: Key) -> list[tuple[Key, Found]] | None:
        """Return the files just listed below a prefix; None if that is not known."""
        looked = self._covering(prefix, _ABSENT)
        if looked is None:
            return None
        depth = len(prefix.parts)
        return [
            (key, found) for key, found in looked.found.items() if key.parts[:depth] == prefix.parts
        ]

    def add(self, key: Key, found: Found) -> None:
        """Note that a key leads somewhere that was not there before."""
        looked = self._covering(key, _PRESENT)
        if looked is not None and key not in looked.found:
            looked.found[key] = found

    def forget(self, keys: Iterable[Key]) -> None:
        """Note that these keys lead nowhere any more, or elsewhere."""
        for key in keys:
            for looked in self._looked.values():
                looked.found.pop(key, None)
                looked.data.pop(key, None)

    def _covering(self, key: Key, age: timedelta) -> _Looked | None:
        if not self._looked:
            return None
        for count in range(len(key.parts), 0, -1):
            looked = self._looked.get(Key(key.parts[:count]))
            if looked is not None and self._clock() - looked.at < age.total_seconds():
                return looked
        return None

    def _read(self, looked: _Looked, keys: list[Key]) -> None:
        with Pool(_AT_ONCE) as pool:
            names = [looked.found[key].name for key in keys]
            read = partial(self._backend.read, most_bytes=LARGEST_BYTES)
            for key, data in zip(keys, pool.map(read, names), strict=True):
                if data is None:
                    del looked.found[key]  # It went since it was listed.
                else:
                    looked.data[key] = data

    def _bundles(self, prefix: Key) -> list[Found]:
        try:
            found = list(self._backend.list(f"{FOLDER}/{prefix}"))
        except BackendDeniedError:
            return []  # They can be done without.
        # Its own before those of the folders below.
        return sorted(found, key=lambda each: each.name.count("/"))

    def _copies(self, bundles: list[Found], found: Mapping[Key, Found]) -> dict[Key, bytes]:
        data: dict[Key, bytes] = {}
        left = _UNPACKED_BYTES
        for key, version, text in self._bundled(bundles):
            file = found.get(key)
            # By its version: a key can lead elsewhere since it was bundled.
            if file is not None and file.version and file.version == version:
                left -= len(text)
                if left < 0:
                    break
                data[key] = text
        return data

    def _bundled(self, bundles: list[Found]) -> Iterator[tuple[Key, str, bytes]]:
        for bundle in bundles[:_MOST_BUNDLES_READ]:
            if bundle.size_bytes > LARGEST_BUNDLE_BYTES:
                continue
            try:
                data = self._backend.read(bundle.name, most_bytes=LARGEST_BUNDLE_BYTES)
                # Under its digest, so that damage to it shows.
                if data is None or Digest.of(data).hex != bundle.name.rpartition("/")[2]:
                    continue
                for line in _lines(data):
                    key, version, text = loaded(line)
                    yield Key.parse(key), str(version), text.encode()
            except (
                *(OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError),
                *(RecursionError, BadKeyError, BackendDeniedError),
            ) as error:
                log.debug("%s cannot be read and is done without: %s", bundle.name, error)

    def _bundle(
        self, prefix: Key, looked: _Looked, single: list[Key], bundles: list[Found]
    ) -> None:
        """Leave a copy of the refs read one by one, or of all if there are many such copies."""
        merged = len(bundles) >= _MOST_BUNDLES
        lines = []
        left = _UNPACKED_BYTES // 4
        for key in list(looked.data) if merged else single:
            with suppress(KeyError, UnicodeDecodeError):  # It went, or is damaged.
                text = looked.data[key].decode()
                line = json.dumps([str(key), looked.found[key].version, text])
                if len(line) > _LONGEST_LINE:
                    continue  # It is read by itself.
                left -= max(len(line), _LEAST_LINE_BYTES)
                if left < 0:
                    break
                lines.append(line)
        packed = gzip.compress("\n".join(lines).encode(), compresslevel=1, mtime=0)
        try:
            name = f"{FOLDER}/{prefix}/{Digest.of(packed).hex}"
            self._backend.write(name, packed, durable=False)
            if merged:
                self._backend.delete([bundle.name for bundle in bundles if bundle.name != name])
        except BackendError as error:
            log.debug("the refs of %s are not bundled: %s", prefix, error)


def _within(most_bytes: int, keys: Iterable[Key], found: Mapping[Key, Found]) -> Iterator[Key]:
    """Yield keys while their refs are small, and all of them within so many bytes."""
    for key in keys:
        size_bytes = found[key].size_bytes
        if size_bytes > _LONGEST_LINE:
            continue  # It is read by itself.
        most_bytes -= size_bytes
        if most_bytes < 0:
            return
        yield key


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines that were packed; ValueError for more than there can be."""
    left = _UNPACKED_BYTES
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
        while line := unpacked.readline(2 * LARGEST_BYTES):
            left -= max(len(line), _LEAST_LINE_BYTES)
            if left < 0 or len(line) == 2 * LARGEST_BYTES:
                raise ValueError("it unpacks to more than it can hold")
            yield line
