"""Ref names: the place of the ref of a key, also on a disk that takes `Train` and `train` for one.

There what lies under a key's name may be of another key, which differs only by case: so whose it is
is told by its content. A key whose name is taken by such another lies beside it, as `+<digest>`,
which is no part of any key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from memoflow.backends import Backend, Found
from memoflow.errors import BadKeyError
from memoflow.names import Digest, Key
from memoflow.store.format import NAME as FORMAT

FOLDER = "refs"
_HEAD = re.compile(rb'\{"format":[0-9]+,"key":"([^"\\]+)"')
_HEAD_BYTES = 16 << 10  # A key has some parts, of 240 bytes at most.
_BESIDE = re.compile(r"\+[0-9a-f]{32}")


def ref_name(key: Key) -> str:
    """Return the name of a ref, or of the folder of refs below a key, in a backend."""
    return f"{FOLDER}/{key}"


def are_alike(one: Key, other: Key) -> bool:
    """Tell whether keys differ in nothing but case, or in the spelling of their accents."""
    return _folded(one) == _folded(other)


class RefNames:
    """The names of refs in a backend, and whose they are."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._is_case_blind: bool | None = None
        self._owners: dict[str, tuple[str, Key]] = {}  # by name: version, and whose it is

    @property
    def is_case_blind(self) -> bool:
        """Tell whether names that differ by case are one in this place."""
        if self._is_case_blind is None:
            self._is_case_blind = self._backend.folds_case(FORMAT)
        return self._is_case_blind

    def of(self, key: Key) -> str:
        """Return the name under which a key's ref lies, or would be written now."""
        name = ref_name(key)
        if not self.is_case_blind:
            return name
        beside = _beside(key)
        owner = self._owner(name)
        if owner == key or (owner is None and not self._backend.has(beside)):
            return name
        return beside

    def all_of(self, keys: Iterable[Key]) -> list[str]:
        """Return the names to delete of these keys, and of no others."""
        if not self.is_case_blind:
            return [ref_name(key) for key in keys]
        names = []
        for key in keys:
            names += [name for name in (ref_name(key), _beside(key)) if self._owner(name) == key]
        return names

    def write_new(self, key: Key, data: bytes, *, durable: bool) -> bool:
        """Write a key's ref; False if it has one."""
        name = self.of(key)
        while not self._backend.write(name, data, if_absent=True, durable=durable):
            other = self.of(key)
            if other == name:
                return False
            name = other  # One that differs by case was faster.
        return True

    def listed(self, prefix: Key | None) -> Iterator[tuple[Key, Found]]:
        """Yield each key below a prefix that the backend lists, and its file."""
        depth = 0 if prefix is None else len(prefix.parts)
        for found in self._backend.list(FOLDER if prefix is None else ref_name(prefix)):
            key = _parsed(found.name[len(FOLDER) + 1 :])
            if self.is_case_blind:
                key = self._owner_of(found, key)
                if key is not None and prefix is not None and key.parts[:depth] != prefix.parts:
                    continue
            if key is not None:  # Else no memoflow wrote it: a file that a person left here.
                yield key, found

    def _owner_of(self, found: Found, named: Key | None) -> Key | None:
        known = self._owners.get(found.name)
        if known is not None and found.version and known[0] == found.version:
            return known[1]
        if named is None and not _BESIDE.fullmatch(found.name.rpartition("/")[2]):
            return None
        owner = self._owner(found.name) or named
        if owner is not None:
            self._owners[found.name] = (found.version, owner)
        return owner

    def _owner(self, name: str) -> Key | None:
        """Return the key of the ref under a name; None if there is none, or none that says so."""
        data = self._backend.read(name, most_bytes=_HEAD_BYTES)
        if data is None:
            return None
        named = _parsed(name[len(FOLDER) + 1 :])
        head = _HEAD.match(data)
        owner = None if head is None else _parsed(head[1].decode(errors="replace"))
        if named is None:
            is_beside = owner is not None and _beside(owner).casefold() == name.casefold()
            return owner if is_beside else None
        # Damaged, if it is of another key altogether: then it is for whoever reads it to say so.
        return owner if owner is not None and are_alike(owner, named) else named


def _beside(key: Key) -> str:
    *above, _ = key.parts
    folder = f"{ref_name(Key(tuple(above)))}/" if above else f"{FOLDER}/"
    return f"{folder}+{Digest.of(str(key).encode()).hex[:32]}"


def _parsed(text: str) -> Key | None:
    try:
        return Key.parse(text)
    except (BadKeyError, UnicodeDecodeError):
        return None


def _folded(key: Key) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in key.parts)
