"""Ref file: a key's answer as stored; no bit of it can change unnoticed.

One line of JSON, one with its signature if whoever wrote it had a key to sign with, and one with
the SHA-256 of what is above:

    {"format":1,"key":"memo/...","created":1.5,"expires":null,"size_bytes":9,"new_bytes":0,
     "meta":{...},"manifest":{...}}
    hmac-sha256:...
    sha256:...

A manifest above 64 KiB is a blob, and "manifest" its digest. The first refs had no "new_bytes",
and "meta" in their manifest.

On a disk that takes `Train` and `train` for one, the file under a key's name may be of another key,
which differs only by case: its content tells. A key whose name is taken by such another lies beside
it, as `+<digest>`, which is no part of any key.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from memoflow.backends import Backend, Found
from memoflow.dataclass import dataclass
from memoflow.errors import (
    BadKeyError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UnsignedError,
    UsageError,
)
from memoflow.fields import Fields, check_extent, text
from memoflow.names import Digest, Key, Ref
from memoflow.objects import parsed
from memoflow.store.format import NAME
from memoflow.store.refs.signing import SIGNATURE_BYTES, Keyring, is_signature

FORMAT = 1
LARGEST_INLINE_BYTES = 64 << 10
LARGEST_BYTES = 16 << 20  # of a whole ref
_MANIFEST_BLOB = re.compile(r"sha256:[0-9a-f]{64}")
_SEAL_BYTES = len("sha256:") + 64
_NO_KEYS = Keyring()
_FIELDS = {"format", "key", "created", "expires", "size_bytes", "manifest"}
_LATER_FIELDS = {"new_bytes", "meta"}
FOLDER = "refs"
_HEAD = re.compile(rb'\{"format":[0-9]+,"key":"([^"\\]+)"')
_HEAD_BYTES = 16 << 10  # A key has some parts, of 240 bytes at most.
_BESIDE = re.compile(r"\+[0-9a-f]{32}")


class OtherKeyError(NotFoundError):
    """A ref that is whole, and of a key that differs from the one asked for only by case."""

    def __init__(self, key: Key, asked: Key) -> None:
        super().__init__(f"what lies under {asked} is of {key}, which differs only by case")
        self.key = key


@dataclass(frozen=True)
class Stored:
    """A ref as read: with its manifest, as JSON-able data or as the digest of a blob.

    `meta` None means that it is in the manifest.
    """

    ref: Ref
    manifest: dict[str, Any] | Digest
    meta: dict[str, Any] | None = None

    @property
    def manifest_blob(self) -> Digest | None:
        return self.manifest if isinstance(self.manifest, Digest) else None


def encode(
    key: Key,
    manifest: dict[str, Any] | Digest,
    *,
    meta: dict[str, Any],
    size_bytes: int,
    new_bytes: int,
    created: float,
    expires: float | None,
    keyring: Keyring = _NO_KEYS,
) -> tuple[Ref, bytes]:
    """Return the ref, and the bytes that store it; UsageError if those are far too many."""
    body = json.dumps(
        {
            "format": FORMAT,
            "key": str(key),
            "created": created,
            "expires": expires,
            "size_bytes": size_bytes,
            "new_bytes": new_bytes,
            "meta": meta,
            "manifest": manifest,
        },
        separators=(",", ":"),
        allow_nan=False,
    ).encode()
    signature = keyring.sign(body)
    head = b"%b\n%b" % (body, signature) if signature else body
    data = b"%b\n%b\n" % (head, Digest.of(head).encode())
    if len(data) > LARGEST_BYTES:
        raise UsageError(
            f"what is noted about {key} takes {len(data)} bytes, more than the {LARGEST_BYTES} "
            "that a ref can hold; put it into a file and save that"
        )
    return Ref(key, Digest.of(data), size_bytes, created, expires, new_bytes), data


def decode(key: Key, data: bytes, keyring: Keyring = _NO_KEYS) -> Stored:
    """Return the ref stored for the key.

    IntegrityError if it is not what `encode` wrote; UnsignedError, without a look at what it says,
    if it is whole and none of the keys has signed it; OtherKeyError if it is whole, and of one that
    a disk may take for this one; FormatError if a newer memoflow wrote it.
    """
    head, end = data[: -_SEAL_BYTES - 2], data[-_SEAL_BYTES - 2 :]
    if len(data) > LARGEST_BYTES or end != b"\n%b\n" % Digest.of(head).encode():
        raise IntegrityError(f"the ref of {key} is damaged: its bytes do not have its digest")
    body, signature = head, b""
    if head[-SIGNATURE_BYTES - 1 : -SIGNATURE_BYTES] == b"\n":
        body, signature = head[: -SIGNATURE_BYTES - 1], head[-SIGNATURE_BYTES:]
    if not keyring.vouches(body, signature):
        raise UnsignedError(
            f"{key} is {'signed by somebody else' if signature else 'not signed'}, and only "
            "entries signed with a key of METAFLOW_MEMOFLOW_SIGNING_KEY are used"
        )
    try:
        if signature and not is_signature(signature):
            raise ValueError("it has a line that is no signature")
        fields = parsed(check_extent(body))
        if not isinstance(fields, dict) or type(fields.get("format")) is not int:
            raise ValueError("it has no format")
        if fields["format"] > FORMAT:
            raise FormatError(
                f"the ref of {key} has format {fields['format']}, this memoflow knows {FORMAT}; "
                "upgrade memoflow"
            )
        if not _FIELDS <= fields.keys() <= _FIELDS | _LATER_FIELDS:
            raise ValueError("its fields are malformed")
        if (other := Key.parse(text(fields["key"], "key"))) != key:
            if are_alike(other, key):
                raise OtherKeyError(other, key)
            raise ValueError("it is of another key")
        manifest = fields["manifest"]
        if isinstance(manifest, str):
            if not _MANIFEST_BLOB.fullmatch(manifest):
                raise ValueError("its manifest is no blob that it can be")
            manifest = Digest(manifest)
        elif not isinstance(manifest, dict):
            raise ValueError("it has no manifest")
        meta = fields.get("meta")
        if not isinstance(meta, dict | None):
            raise ValueError("meta is no mapping")
        typed = Fields(fields)
        size_bytes = typed.whole("size_bytes")
        ref = Ref(
            key,
            Digest.of(data),
            size_bytes,
            typed.number("created"),
            None if fields["expires"] is None else typed.number("expires"),
            typed.whole("new_bytes", size_bytes),
        )
    except (ValueError, TypeError, AttributeError, RecursionError, BadKeyError) as error:
        raise IntegrityError(f"the ref of {key} is damaged: {error}") from None
    return Stored(ref, manifest, meta)


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
            self._is_case_blind = self._backend.folds_case(NAME)
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
            key = parsed_key(found.name[len(FOLDER) + 1 :])
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
        named = parsed_key(name[len(FOLDER) + 1 :])
        head = _HEAD.match(data)
        owner = None if head is None else parsed_key(head[1].decode(errors="replace"))
        if named is None:
            is_beside = owner is not None and _beside(owner).casefold() == name.casefold()
            return owner if is_beside else None
        # Damaged, if it is of another key altogether: then it is for whoever reads it to say so.
        return owner if owner is not None and are_alike(owner, named) else named


def _beside(key: Key) -> str:
    *above, _ = key.parts
    folder = f"{ref_name(Key(tuple(above)))}/" if above else f"{FOLDER}/"
    return f"{folder}+{Digest.of(str(key).encode()).hex[:32]}"


def parsed_key(text: str) -> Key | None:
    """Return the key in a text; None if it holds none."""
    try:
        return Key.parse(text)
    except (BadKeyError, UnicodeDecodeError):
        return None


def _folded(key: Key) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in key.parts)
