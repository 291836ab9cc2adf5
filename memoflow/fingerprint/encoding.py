"""Encoding: scalars as bytes, and the encoder as those see it that encode one kind of values."""

from __future__ import annotations

import array
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
    def attributes(self, state: dict[Any, Any]) -> bytes: ...
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


def _int(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return struct.pack("<cI", b"i", len(data)) + data


def blob(tag: bytes, data: Any) -> bytes:
    size = len(data)
    if size > 64:
        return tag.upper() + struct.pack("<q", size) + xxh3_128_digest(data)
    return tag + struct.pack("<q", size) + bytes(data)


def text_bytes(value: str) -> bytes:
    return blob(b"s", value.encode("utf-8", "surrogatepass"))


SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    type(Ellipsis): lambda value: b".",
    type(NotImplemented): lambda value: b"!",
    bool: lambda value: b"1" if value else b"0",
    int: _int,
    float: lambda value: struct.pack("<cd", b"f", value),
    complex: lambda value: struct.pack("<cdd", b"j", value.real, value.imag),
    str: text_bytes,
    bytes: lambda value: blob(b"b", value),
    bytearray: lambda value: blob(b"y", value),
}


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
        return b"s", struct.pack("<q", len(items)), lengths, data
    return None
