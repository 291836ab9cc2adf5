"""Value files: the value of a function as a file that needs no memoflow to read.

Pickles of torch's tensors do: they name `memoflow.pickling`.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

from memoflow.errors import IntegrityError
from memoflow.fields import Fields
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.store import Store

_BYTEARRAY8 = b"\x96"
_ITEMS = ("memoflow.functions.values", "Items")
# All that arrays are pickled by.
_OF_ARRAYS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    ),
}


class ValueFile(NamedTuple):
    """A value as a file: an array of numbers as .npy, else `pieces` of pickle.

    Of a generator, each item is a pickle of its own, one after the other.
    """

    name: str
    array: Any
    pieces: Sequence[bytes | memoryview]

    def write(self, file: IO[bytes]) -> None:
        if self.array is None:
            file.writelines(self.pieces)
            return
        import numpy as np  # Here, since only arrays need it.

        np.save(file, self.array, allow_pickle=False)


def value_file(store: Store, entry: MemoEntry) -> ValueFile:
    """Return the value of a function's result as a file, without running its pickle.

    Raises like `pickled`.
    """
    stream, buffers = pickled(store, entry)
    plain = _plain(stream, buffers)
    if isinstance(plain, _Items):
        return ValueFile("items.pickle", None, plain.items)
    if getattr(getattr(plain, "dtype", None), "hasobject", True):
        try:
            return ValueFile("value.pickle", None, joined(stream, buffers))
        except ValueError as error:
            raise IntegrityError(f"the value of {entry.ref.key} is damaged: {error}") from None
    return ValueFile("value.npy", plain, ())


def pickled(store: Store, entry: MemoEntry) -> tuple[bytes, list[memoryview]]:
    """Return the value of a function's result as a stream of pickle and its buffers.

    NotFoundError or IntegrityError if they are gone or damaged.
    """
    try:
        count = Fields(entry.value).whole("buffers", 0)
    except ValueError as error:
        raise IntegrityError(f"the description of {entry.ref.key} is damaged: {error}") from None
    manifest = entry.manifest
    stream = store.read_file(manifest, f"{memo.VALUE}stream")
    return stream, [store.map_file(manifest, f"{memo.VALUE}{i}") for i in range(count)]


def joined(stream: bytes, buffers: Sequence[memoryview]) -> list[bytes | memoryview]:
    """Return a stream of pickle with its buffers in it, in pieces.

    Together `pickle.load` takes them by itself. Nothing of it is run. ValueError if it is none.
    """
    if not buffers:
        return [stream]
    found: list[bytes | memoryview] = []
    remaining = iter(buffers)
    operations = [(op.name, at) for op, _, at in pickletools.genops(stream)]
    for (name, at), end in zip(
        operations, [*(at for _, at in operations[1:]), len(stream)], strict=True
    ):
        if name == "NEXT_BUFFER":
            buffer = next(remaining, None)
            if buffer is None:
                raise ValueError("it has fewer buffers than its stream names")
            found += [_BYTEARRAY8, struct.pack("<Q", buffer.nbytes), buffer]
        elif name != "FRAME":  # Its length would be another, and no reader needs it.
            found.append(stream[at:end])
    return found


def _plain(stream: bytes, buffers: Sequence[memoryview]) -> Any:
    """Return the value if it is an array, plain data or of a generator; None for all else."""
    try:
        return _PlainUnpickler(io.BytesIO(stream), buffers=buffers).load()
    except Exception:  # Of a pickle of anything else.
        return None


class _Items:
    """The items of a generator, each pickled: `functions.values.Items`, which lies above."""

    items: tuple[bytes, ...] = ()


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles arrays, plain data and the items of a generator, which runs no code of others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _ITEMS:
            return _Items
        if (module, name) not in _OF_ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
