"""Encoding: scalars as bytes, and the encoder as those see it that encode one kind of values."""

from __future__ import annotations

import array
import functools
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from xxhash import xxh3_128_digest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.project import Anchors


class Unstable(Exception):
    """A value, or one inside it, has no stable meaning; `steps` lead to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str] = []

    def at(self, name: str) -> NoFingerprintError:
        return NoFingerprintError(name + "".join(reversed(self.steps)), str(self))


def class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


class EncoderInterface(Protocol):
    """The part of `values.Encoder` that encoders of one kind of values use."""

    live: bool
    opaque: Any

    def encode(self, value: Any) -> bytes: ...
    def node(self, tag: bytes, pieces: Iterable[bytes]) -> bytes: ...
    def sequence(self, tag: bytes, items: Any) -> bytes: ...
    def mapping(self, tag: bytes, items: Any) -> bytes: ...
    def attributes(
        self, state: dict[Any, Any], names: list[tuple[str, bytes]] | None = None
    ) -> bytes: ...
    def named(self, cls: type) -> bytes: ...
    def instance(self, value: Any, content: Handler) -> bytes: ...


Handler = Callable[[Any, Any], bytes]


class Library:
    """A library by its name, which is loaded wherever there are values of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(sys.modules[self._name], attribute)


def handler_among(known: Iterable[tuple[str, str, Handler]], kind: type) -> Handler | None:
    """Return the first handler for `kind`, given each with the module and name of its class."""
    for module, name, handler in known:
        base = getattr(sys.modules.get(module), name, None)  # Not loaded, it has no values.
        if isinstance(base, type) and issubclass(kind, base):
            return handler
    return None


length_bytes = struct.Struct("<q").pack
_LONGEST = 64  # bytes that are written out; of more there is a digest
_TEXT = frozenset({str})
_HEADS = tuple(b"s" + length_bytes(size) for size in range(_LONGEST + 1))
_TEXT_HEADS = tuple(head.decode() for head in _HEADS)
_INT_HEADS = tuple(struct.pack("<cI", b"i", size) for size in range(9))


def _large_int(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return struct.pack("<cI", b"i", len(data)) + data


_SMALL_INTS = tuple(map(_large_int, range(1024)))


def _int(value: int) -> bytes:
    if 0 <= value < 1024:
        return _SMALL_INTS[value]
    size = (value.bit_length() + 8) // 8
    if size > 8:
        return _large_int(value)
    return _INT_HEADS[size] + length_bytes(value)[:size]


def blob(tag: bytes, data: Any) -> bytes:
    size = len(data)
    if size > _LONGEST:
        return tag.upper() + length_bytes(size) + xxh3_128_digest(data)
    return tag + length_bytes(size) + bytes(data)


def text_bytes(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = value.encode("utf-8", "surrogatepass")
    size = len(data)
    return _HEADS[size] + data if size <= _LONGEST else blob(b"s", data)


_float = functools.partial(struct.Struct("<cd").pack, b"f")

SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    type(Ellipsis): lambda value: b".",
    type(NotImplemented): lambda value: b"!",
    bool: lambda value: b"1" if value else b"0",
    int: _int,
    float: _float,
    complex: lambda value: struct.pack("<cdd", b"j", value.real, value.imag),
    str: text_bytes,
    bytes: lambda value: blob(b"b", value),
    bytearray: lambda value: blob(b"y", value),
}


def are_texts(items: Iterable[Any]) -> bool:
    return _TEXT.issuperset(map(type, items))


def attributes_head(count: int) -> bytes:
    return b"attributes\0" + length_bytes(count)


def attribute_names(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Return the names of attributes in order, each with the bytes that precede its value.

    There is at least one, and the first has the head of all before it.
    """
    encoded = [(name, text_bytes(name)) for name in sorted(names)]
    name, first = encoded[0]
    encoded[0] = name, attributes_head(len(names)) + first
    return encoded


def short_texts(items: list[str], anchors: Anchors | None) -> bytes | None:
    """Return the encodings of texts one after another; None unless all are short and ASCII.

    Those have as many bytes as characters, so their lengths are known before they are encoded.
    """
    try:
        heads = [_TEXT_HEADS[len(item)] for item in items]
    except IndexError:
        return None
    pieces = [""] * (2 * len(items))
    pieces[::2], pieces[1::2] = heads, items
    joined = "".join(pieces)
    if not joined.isascii() or (anchors is not None and anchors.inside(joined)):
        return None
    return joined.encode()


def flat(items: Any, anchors: Anchors | None) -> tuple[bytes, ...] | None:
    """Return the bytes of many floats, small ints or texts, or None for anything else."""
    kinds = set(map(type, items))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is float:
        return b"d", array.array("d", items).tobytes()
    if kind is int:
        try:
            return b"q", array.array("q", items).tobytes()
        except OverflowError:
            return None
    if kind is str:
        joined = "".join(items)
        if anchors is not None and anchors.inside(joined):
            return None
        lengths = array.array("q", map(len, items)).tobytes()
        data = joined.encode("utf-8", "surrogatepass")
        return b"s", length_bytes(len(items)), lengths, data
    return None
