"""Signing: refs bear a signature that only holders of a key can make, and are believed by it.

A key is a secret that people share, not one of the keys of a store. It is never written anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from typing import NoReturn

from memoflow.errors import UsageError

_PREFIX = b"hmac-sha256:"
_PURPOSE = b"memoflow ref\n"  # so that what else is signed with the same key is no ref
_SHORTEST = 16  # characters; shorter ones can be guessed from any signed ref
_MOST_KEYS = 16
_LONGEST_FILE_BYTES = 64 << 10
_SIGNATURE = rb"hmac-sha256:[0-9a-f]{64}"
SIGNATURE_BYTES = len(_PREFIX) + 64


class Keyring:
    """The first key signs, any of them vouches; with none, nothing is signed and all is used."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, option: str, text: str) -> Keyring:
        """Return the keys in a text, separated by commas; `@path` stands for those in a file.

        UsageError, which does not show them, if they cannot be used.
        """
        words: list[str] = []
        for word in _split(text):
            words += _split(_read(option, word[1:])) if word.startswith("@") else [word]
        # Of blanks, too: a secret that came out empty must not switch signatures off unseen.
        if text and not words:
            raise UsageError(f"{option} holds no key; unset it to go without signatures")
        if any(len(word) < _SHORTEST for word in words):
            raise UsageError(
                f"a key in {option} is shorter than {_SHORTEST} characters; make one with "
                "`python -c 'import secrets; print(secrets.token_hex(32))'`"
            )
        if len(words) > _MOST_KEYS:
            raise UsageError(f"{option} holds more than {_MOST_KEYS} keys; drop the oldest")
        return cls(word.encode("utf-8", "surrogateescape") for word in words)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled: they must not be written anywhere")

    @property
    def mark(self) -> str:
        """Return a mark of this set of keys, which does not give them away; "" for none."""
        if not self._keys:
            return ""
        marks = sorted(_hmac(key, b"memoflow mark") for key in self._keys)
        return hashlib.sha256("".join(marks).encode()).hexdigest()[:16]

    def sign(self, body: bytes) -> bytes:
        """Return the signature of a ref; empty without a key."""
        if not self._keys:
            return b""
        return _PREFIX + _hmac(self._keys[0], _PURPOSE + body).encode()

    def vouches(self, body: bytes, signature: bytes) -> bool:
        """Tell whether a holder of one of the keys wrote this."""
        if not self._keys:
            return True
        expected = (_PREFIX + _hmac(key, _PURPOSE + body).encode() for key in self._keys)
        # All are compared, each in constant time: how long it takes tells nothing.
        return sum(hmac.compare_digest(each, signature) for each in expected) > 0


def is_signature(text: bytes) -> bool:
    """Tell whether bytes have the form of a signature by `Keyring.sign`."""
    return re.fullmatch(_SIGNATURE, text) is not None


def _hmac(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def _split(text: str) -> list[str]:
    words = (part.strip() for line in text.splitlines() for part in line.split(","))
    return [word for word in words if word]


def _read(option: str, path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read(_LONGEST_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"{option} names a file of keys that cannot be read: {reason}") from None
    if len(text) > _LONGEST_FILE_BYTES:
        raise UsageError(f"{option} names a file that is too large to hold keys")
    return text
