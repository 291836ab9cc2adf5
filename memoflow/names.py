"""Names: Digest for bytes, Key for a request, Ref for its answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from memoflow.display import html_rows
from memoflow.errors import BadKeyError, WrongTypeError
from memoflow.fields import HALF_CHARACTER
from memoflow.units import moment, readable

_DIGEST = re.compile(r"(?:sha256|sha1|xxh3):[0-9a-f]{32,64}")
_LONGEST_PART = 240  # bytes; file systems allow 255 a name, and a temporary file needs a suffix
_PLAIN_PART = f"[A-Za-z0-9_~-][A-Za-z0-9_.~-]{{0,{_LONGEST_PART - 1}}}"
_PLAIN = re.compile(f"{_PLAIN_PART}(?:/{_PLAIN_PART})*")


class Digest(str):
    """A hash written with its algorithm: `sha256:...`, `sha1:...` or `xxh3:...`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that `text` spells; ValueError if it spells none."""
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"{text!r} is no digest: expected algorithm:hex")
        return cls(text)

    @classmethod
    def of(cls, data: bytes | memoryview) -> Digest:
        """Name bytes the way blobs are named, by SHA-256."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The hash algorithm: `sha256`, `sha1` or `xxh3`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hash alone."""
        return self.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Key:
    """The name of a thing to find or save: a kind, and parts that identify it within the kind.

    Any text may be a part; `str(key)` quotes what a file name or an S3 key cannot hold.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, *parts: str) -> Key:
        """Return the key of these parts; BadKeyError for none, an empty or an overlong one."""
        if not parts:
            raise BadKeyError("a key needs at least its kind")
        for part in parts:
            _check(part)
        return cls(parts)

    @classmethod
    def parse(cls, text: str) -> Key:
        """Return the key that `str(key)` wrote; BadKeyError if nothing wrote it."""
        if not isinstance(text, str):
            raise WrongTypeError(f"a key is parsed from a text, not from {text!r:.60}")
        if _PLAIN.fullmatch(text):
            return cls(tuple(text.split("/")))  # Nothing in it was quoted.
        key = cls.of(*(unquote(part) for part in text.split("/")))
        if str(key) != text:
            raise BadKeyError(f"{text!r} is no key")
        return key

    @property
    def kind(self) -> str:
        """The first part: `memo`, `checkpoint`, `model` or `hub`, of those that memoflow makes."""
        return self.parts[0]

    def __truediv__(self, part: str) -> Key:
        _check(part)
        return Key((*self.parts, part))

    def __str__(self) -> str:
        return "/".join(map(_quote, self.parts))

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)


@dataclass(frozen=True, slots=True)
class Ref:
    """The answer to a key: small enough to pass between steps.

    `digest` is the SHA-256 of the stored ref, so whoever holds a Ref can prove what it reads.
    `size_bytes` is the logical size of the payload, `new_bytes` how many of them the store did
    not hold yet when it was saved. Times are Unix seconds; `expires` None means never.
    """

    key: Key
    digest: Digest
    size_bytes: int
    created: float
    expires: float | None = None
    new_bytes: int = 0

    def __repr__(self) -> str:
        return f"<Ref {self.key}, {readable(self.size_bytes)}, created {moment(self.created)}>"

    def _repr_html_(self) -> str:
        return html_rows(
            "Ref",
            [
                ("key", str(self.key)),
                ("size", readable(self.size_bytes)),
                ("created", moment(self.created)),
                ("expires", "never" if self.expires is None else moment(self.expires)),
            ],
        )


def _check(part: str) -> None:
    if not isinstance(part, str):
        raise WrongTypeError(f"a part of a key is a text, not {part!r:.60}")
    if not part:
        raise BadKeyError("a part of a key is empty")
    if not part.isascii() and HALF_CHARACTER.search(part):  # Which nothing can write.
        raise BadKeyError(f"a part of a key is no text: {part[:60]!r}")
    if len(_quote(part)) > _LONGEST_PART:
        raise BadKeyError(
            f"a part of a key is longer than {_LONGEST_PART} bytes when quoted: {part[:60]!r}..."
        )


@lru_cache(maxsize=4096)
def _quote(part: str) -> str:
    if part.isalnum() and part.isascii():
        return part
    quoted = quote(part, safe="")
    # A leading dot would make "..", ".", or a hidden temporary file of the local backend.
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def entry_facts(ref: Ref) -> dict[str, Any]:
    """Return the fields of a reference in an event."""
    return {
        "kind": ref.key.kind,
        "key": str(ref.key),
        "entry": ref.digest.hex[:8],
        "size_bytes": ref.size_bytes,
    }
