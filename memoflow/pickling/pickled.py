"""Pickled values: a stream of pickle protocol 5 (PEP 574), and large buffers beside it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.pickling.storages import storage_pickler

PROTOCOL = 5
IN_BAND = sys.maxsize  # as the least bytes of a buffer out of band


class UnpicklableError(Exception):
    """A value without a pickle."""


@dataclass(frozen=True)
class Pickled:
    """A value as a stream of pickle, and its large buffers, views of its own memory.

    The stream is in parts: a large `bytes`, `bytearray` or buffer of the value is one, in place of
    a copy.
    """

    parts: tuple[bytes | memoryview, ...]
    buffers: tuple[memoryview, ...] = ()
    portable: bytes = b""  # the same with the classes of `__main__` in it, for other scripts

    @property
    def stream(self) -> bytes:
        return b"".join(self.parts)


def dump(value: Any, codec: str = "auto", *, least_bytes: int) -> Pickled:
    """Return a value as bytes, with buffers from `least_bytes` on out of band.

    What lives in `__main__` or has no name, such as a lambda, is pickled by cloudpickle: another
    process could not import it. UnpicklableError if it cannot be.
    """
    found = None
    if codec != "cloudpickle":
        try:
            found = _dumped(pickle, value, least_bytes)
        except RecursionError as error:
            raise UnpicklableError("it is nested too deeply") from error
        except MemoryError as error:
            raise UnpicklableError("too little memory is left") from error
        except Exception as error:  # Of `__reduce__` and its kin, which may raise what they like.
            if codec == "pickle":
                raise UnpicklableError(f"{type(error).__name__}: {error}") from error
        if found is not None and (codec == "pickle" or not _names_main(found)):
            return found
    import cloudpickle  # Here, as few results need it and it takes a while to import.

    try:
        if found is None:
            return _dumped(cloudpickle, value, least_bytes)
        portable = _dumped(cloudpickle, value, IN_BAND).stream
        return Pickled(found.parts, found.buffers, portable)
    except Exception as error:
        raise UnpicklableError(f"{type(error).__name__}: {error}") from error


class _Parts(list[Any]):
    write = list.append


def _names_main(pickled: Pickled) -> bool:
    # A name is never in two parts: pickle begins another one between its instructions.
    return any(b"__main__" in part for part in pickled.parts if isinstance(part, bytes))


def large_view(buffer: pickle.PickleBuffer, least_bytes: int) -> memoryview | None:
    """Return the bytes of a buffer; None for fewer than these, or not contiguous ones."""
    try:
        view = buffer.raw()
    except BufferError:
        return None
    return view if view.nbytes >= least_bytes else None


def _dumped(module: Any, value: Any, least_bytes: int) -> Pickled:
    buffers: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        view = large_view(buffer, least_bytes)
        buffers.extend([] if view is None else [view])
        return view is None

    pickler = storage_pickler(module.Pickler) if "torch" in sys.modules else module.Pickler
    parts = _Parts()
    pickler(parts, PROTOCOL, buffer_callback=is_small).dump(value)
    return Pickled(tuple(map(_plain, parts)), tuple(buffers))


def _plain(part: Any) -> bytes | memoryview:
    return part if isinstance(part, bytes) else pickle.PickleBuffer(part).raw()


def load(stream: bytes, buffers: Sequence[Any] = ()) -> Any:
    """Return the value, in the memory of the buffers."""
    return pickle.loads(stream, buffers=buffers)
