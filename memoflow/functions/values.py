"""Values: results as bytes and back, each time another object.

Pickle protocol 5 (PEP 574), with large buffers out of band: they are files of their own, and
mapped from the store instead of read.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from memoflow.dataclass import dataclass

PROTOCOL = 5
# From here on a file of a save is a blob of its own, which can be mapped.
OUT_OF_BAND_BYTES = 1 << 20


class UnpicklableError(Exception):
    """A value without a pickle."""


@dataclass(frozen=True)
class Pickled:
    """A value as a stream of pickle, and its large buffers.

    The stream is in parts: a large `bytes` or `bytearray` of the value is one, in place of a copy.
    """

    parts: tuple[bytes, ...]
    buffers: tuple[memoryview, ...] = ()
    portable: bytes = b""  # the same with the classes of `__main__` in it, for other scripts

    @property
    def stream(self) -> bytes:
        return b"".join(self.parts)

    @property
    def whole(self) -> bytes:
        """The value as one stream, without buffers."""
        return (
            self.stream
            if not self.buffers
            else pickle.dumps(load(self.stream, self.buffers), PROTOCOL)
        )


@dataclass(frozen=True)
class Items:
    """The items of a generator, each by itself, and its return value."""

    items: tuple[bytes, ...]
    returned: bytes


def dump(value: Any, codec: str = "auto") -> Pickled:
    """Return a value as bytes; UnpicklableError if it cannot be.

    What lives in `__main__` or has no name, such as a lambda, is pickled by cloudpickle: another
    process could not import it.
    """
    found = None
    if codec != "cloudpickle":
        try:
            found = _dumped(pickle, value)
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
            return _dumped(cloudpickle, value)
        return Pickled(found.parts, found.buffers, cloudpickle.dumps(value, PROTOCOL))
    except Exception as error:
        raise UnpicklableError(f"{type(error).__name__}: {error}") from error


class _Parts(list[bytes]):
    write = list.append


def _names_main(pickled: Pickled) -> bool:
    # A name is never in two parts: pickle begins another one between its instructions.
    return any(b"__main__" in part for part in pickled.parts)


def _dumped(module: Any, value: Any) -> Pickled:
    buffers: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # It is not contiguous.
            return True
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    parts = _Parts()
    module.Pickler(parts, PROTOCOL, buffer_callback=is_small).dump(value)
    return Pickled(tuple(parts), tuple(buffers))


def load(stream: bytes, buffers: Sequence[Any] = ()) -> Any:
    """Return the value, in the memory of the buffers."""
    return pickle.loads(stream, buffers=buffers)
