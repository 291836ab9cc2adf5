"""Ref file: a key's answer as stored; no bit of it can change unnoticed.

One line of JSON, and one with its SHA-256:

    {"format":1,"key":"memo/...","created":1.5,"expires":null,"size_bytes":9,"new_bytes":0,
     "meta":{...},"manifest":{...}}
    sha256:...

A manifest above 64 KiB is a blob, and "manifest" its digest. The first refs had no "new_bytes",
and "meta" in their manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from memoflow.errors import BadKeyError, FormatError, IntegrityError
from memoflow.names import Digest, Key, Ref

FORMAT = 1
LARGEST_INLINE_BYTES = 64 << 10
_FIELDS = {"format", "key", "created", "expires", "size_bytes", "manifest"}
_LATER_FIELDS = {"new_bytes", "meta"}


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
) -> tuple[Ref, bytes]:
    """Return the ref, and the bytes that store it."""
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
    data = b"%b\n%b\n" % (body, Digest.of(body).encode())
    return Ref(key, Digest.of(data), size_bytes, created, expires, new_bytes), data


def decode(key: Key, data: bytes) -> Stored:
    """Return what was stored for the key.

    IntegrityError if it is not what `encode` wrote; FormatError if a newer memoflow wrote it.
    """
    body, _, seal = data.partition(b"\n")
    if seal != b"%b\n" % Digest.of(body).encode():
        raise IntegrityError(f"the ref of {key} is damaged: its bytes do not have its digest")
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict) or type(fields.get("format")) is not int:
            raise ValueError("it has no format")
        if fields["format"] > FORMAT:
            raise FormatError(
                f"the ref of {key} has format {fields['format']}, this memoflow knows {FORMAT}; "
                "upgrade memoflow"
            )
        if not _FIELDS <= fields.keys() <= _FIELDS | _LATER_FIELDS:
            raise ValueError("its fields are not what they should be")
        if Key.parse(fields["key"]) != key:
            raise ValueError("it is of another key")
        manifest = fields["manifest"]
        if isinstance(manifest, str):
            manifest = Digest.parse(manifest)
        elif not isinstance(manifest, dict):
            raise ValueError("it has no manifest")
        meta = fields.get("meta")
        if not isinstance(meta, dict | None):
            raise ValueError("meta is no mapping")
        size_bytes = _number(fields["size_bytes"], int)
        ref = Ref(
            key,
            Digest.of(data),
            size_bytes,
            _number(fields["created"], int, float),
            None if fields["expires"] is None else _number(fields["expires"], int, float),
            _number(fields.get("new_bytes", size_bytes), int),
        )
    except (ValueError, TypeError, AttributeError, RecursionError, BadKeyError) as error:
        raise IntegrityError(f"the ref of {key} is damaged: {error}") from None
    return Stored(ref, manifest, meta)


def _number(value: Any, *types: type) -> Any:
    if type(value) not in types or not 0 <= value < 1e18:
        raise ValueError(f"{value!r} is no number that can be here")
    return value
